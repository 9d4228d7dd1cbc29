"""kill -9 of workers, actors, nodes and the driver while a Ray cluster indexes: the end is as if nothing had happened.

    python benchmarks/cluster_kill.py --kills 30 [--files 300] [--seed 0] [--faults 0.02]

Three raylets (processes and object stores of their own) index short made-up files from an S3 server (moto) behind a
proxy that answers a share of the requests with 500, 503, a closed connection or half of the data. Meanwhile, at random
moments, the process that decodes, the actor around it, a node with all that runs on it, or the driver is killed; nodes
come back after some seconds, the driver is started again with the same command. After the driver's end the collection
must open, hold every file that was reported, undamaged; no file is indexed twice; in the end it must equal an
uninterrupted run on one machine. Prints one line and exits with 1 on any fault.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1] / "tests")]
from fakes.files import write_audio
from fakes.s3 import ENVIRONMENT, Faults, faulty, s3_server
from fakes.tiny import tiny_model
from kill import Content, check, content
from solfa.analysis.loudness import LoudnessExtractor
from solfa.analysis.protocol import Extractor, Observation
from solfa.collection import Collection, Progress
from solfa.core.types import Audio

_KINDS = {"worker": 0.35, "actor": 0.3, "node": 0.2, "driver": 0.15}  # and how often each is drawn


class Delayed(LoudnessExtractor):
    """Loudness, slowly: so that there is time to kill."""

    def observe(self, audio: Audio) -> Observation:
        time.sleep(float(os.environ.get("DELAY_S", "0")))
        return super().observe(audio)


def extractors() -> Sequence[Extractor]:
    return [Delayed()]


def child(directory: str) -> None:
    """The driver: index, and print each file once it is committed."""
    import cluster_kill  # by its name, which workers know; not __main__
    from solfa.cluster.ray_executor import RayExecutor
    from solfa.cluster.sources import RemoteFiles

    def say(progress: Progress) -> None:
        os.write(1, f"file\t{progress.path}\t{progress.reason}\n".encode())

    with Collection.open(directory, create=True) as collection:
        collection.add(
            ["s3://music"], model=tiny_model, extractors=cluster_kill.extractors, progress=say,
            executor=RayExecutor(timeout_s=30), source=RemoteFiles(),
        )  # fmt: skip


def make_music(count: int, url: str, folder: Path) -> None:
    import boto3

    client, rng = boto3.client("s3", endpoint_url=url, **_keys()), np.random.default_rng(7)
    client.create_bucket(Bucket="music")
    for i in range(count):
        time_s = np.arange(16_000 + 800 * (i % 10)) / 16_000
        samples = 0.3 * np.sin(2 * np.pi * (110 + 3 * i) * time_s) + 0.02 * rng.standard_normal(len(time_s))
        path = write_audio(folder / "a.flac", samples.astype(np.float32), 16_000)
        client.upload_file(str(path), "music", f"{i % 7}/{i:03d}.flac")
    client.put_object(Bucket="music", Key="0/bad.mp3", Body=b"not music")
    client.copy_object(Bucket="music", Key="1/copy.flac", CopySource={"Bucket": "music", "Key": "0/000.flac"})


def _keys() -> dict[str, str]:
    return {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}


class Victims:
    """The cluster and its driver, and ways to kill them."""

    def __init__(self, rng: np.random.Generator, directory: Path) -> None:
        from ray.cluster_utils import Cluster

        self.rng, self.directory = rng, directory
        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        self.nodes = [self.cluster.add_node(num_cpus=1) for _ in range(2)]
        self.kills, self.back_s = Counter[str](), 0.0
        self.reported: list[tuple[str, str]] = []
        self.start()

    def start(self) -> None:
        self.driver = subprocess.Popen(
            [sys.executable, __file__, "--child", str(self.directory)], stdout=subprocess.PIPE, text=True,
            env={**os.environ, "RAY_ADDRESS": self.cluster.address}, stderr=subprocess.PIPE,
        )  # fmt: skip
        self._said = list[str]()
        self._readers = [
            threading.Thread(target=self._read, args=(self.driver.stdout, self._files)),
            threading.Thread(target=self._read, args=(self.driver.stderr, self._said.append)),
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, pipe: Any, take: Any) -> None:
        for line in pipe:
            take(line)

    def _files(self, line: str) -> None:
        kind, path, reason = line.rstrip("\n").split("\t")
        assert kind == "file", line  # nothing else may be written to standard output
        self.reported.append((path, reason))

    def ended(self) -> str:
        """What the driver said on standard error, once it has ended."""
        self.driver.wait()
        for reader in self._readers:
            reader.join()
        return "".join(self._said)

    def kill(self, kind: str) -> bool:
        """Kill one; False where there is none at this moment."""
        if kind == "driver":
            self.driver.kill()
        elif kind == "node":
            node = self.nodes.pop(int(self.rng.integers(len(self.nodes))))
            self.cluster.remove_node(node, allow_graceful=False)
            self.back_s = time.monotonic() + float(self.rng.uniform(1, 4))
        else:
            found = self._processes("ray::_Worker" if kind == "actor" else "spawn_main")
            if not found:
                return False
            with suppress(psutil.NoSuchProcess):
                found[int(self.rng.integers(len(found)))].kill()
        self.kills[kind] += 1
        return True

    def come_back(self) -> None:
        """Start a killed node again when its time has come; Ray wants that in the main thread."""
        if len(self.nodes) < 2 and time.monotonic() > self.back_s:
            self.nodes.append(self.cluster.add_node(num_cpus=1))

    def _processes(self, text: str) -> list[psutil.Process]:
        found = []
        for node in [self.cluster.head_node, *self.nodes]:
            with suppress(psutil.NoSuchProcess, IndexError):
                raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
                found += [p for p in raylet.children(recursive=True) if text in " ".join(p.cmdline())]
        return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--faults", type=float, default=0.02, help="share of the requests for each kind of fault")
    parser.add_argument("--delay-s", type=float, default=0.3, help="added to each file, so that there is time to kill")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child)
        return 0
    os.environ.update(ENVIRONMENT, RAY_USAGE_STATS_ENABLED="0")
    os.environ["PYTHONPATH"] = os.pathsep.join([*sys.path[-2:], os.environ.get("PYTHONPATH", "")])
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        moto = stack.enter_context(s3_server())
        proxy = stack.enter_context(faulty(moto))
        make_music(args.files, moto, scratch)
        os.environ["AWS_ENDPOINT_URL"] = proxy.url
        from solfa.cluster.sources import RemoteFiles

        with Collection.open(scratch / "reference", create=True) as whole:
            whole.add(["s3://music"], model=tiny_model, extractors=extractors, source=RemoteFiles())
            whole.refresh()
            reference = content(whole)
        os.environ["DELAY_S"] = str(args.delay_s)
        return run(args, scratch, reference, proxy)


def run(args: argparse.Namespace, scratch: Path, reference: Content, proxy: Faults) -> int:
    rng, faults, runs, drivers, started_s = np.random.default_rng(args.seed), list[str](), 1, 1, time.monotonic()
    victims, kills = Victims(rng, scratch / "shelf1"), Counter[str]()
    proxy.often(args.seed, **dict.fromkeys(("500", "503", "drop", "partial"), args.faults))
    next_s, done = time.monotonic() + 3, False
    while not done:
        time.sleep(0.1)
        victims.come_back()
        if victims.driver.poll() is not None:
            said = victims.ended()
            if victims.driver.returncode > 0:
                print(f"the driver ended with {victims.driver.returncode}: {said.strip()[-300:]}", file=sys.stderr)
            faults += check(victims.directory, reference, [path for path, why in victims.reported if not outside(why)])
            finished = victims.driver.returncode == 0 and not any(outside(why) for _, why in victims.reported)
            if finished:
                faults += final(victims.directory, reference, victims.reported, args.files + 2)
                done = victims.kills.total() >= args.kills
                runs += not done
                victims.directory = scratch / f"shelf{runs}"
            victims.reported = [row for row in victims.reported if not finished and not outside(row[1])]
            if not done:
                drivers += 1
                victims.start()
            continue
        due = time.monotonic() > next_s and victims.kills.total() < args.kills and len(victims.nodes) == 2
        if due and victims.kill(str(rng.choice(list(_KINDS), p=list(_KINDS.values())))):
            next_s = time.monotonic() + float(rng.exponential(1.5))
    kills = victims.kills
    victims.cluster.shutdown()
    print(f"{kills.total()} kills ({', '.join(f'{kills[kind]} {kind}' for kind in _KINDS)}) in {runs} index runs of "
          f"{args.files + 2} files by {drivers} drivers, {sum(bool(fault) for *_, fault in proxy.seen)} faults of "
          f"{len(proxy.seen)} requests, {time.monotonic() - started_s:.0f} s: {len(faults)} wrong "
          f"{sorted(set(faults))[:5]}")  # fmt: skip
    return 1 if faults else 0


def outside(reason: str) -> bool:
    """Whether a file failed by no fault of its own, so that the next run tries it again."""
    return (
        reason.startswith(("the store failed", "no progress", "not found")) or "came" in reason or "died at" in reason
    )


def final(directory: Path, reference: Content, reported: list[tuple[str, str]], files: int) -> list[str]:
    """What is wrong with a collection that should be complete."""
    found = [f"twice {path}" for path, count in Counter(path for path, _ in reported).items() if count > 1]
    with Collection.open(directory) as collection:
        if content(collection) != reference:
            found.append("the resumed result differs from the uninterrupted one")
        if collection.stats().files != files - 1:
            found.append(f"{collection.stats().files} files")
    return found


if __name__ == "__main__":
    sys.exit(main())
