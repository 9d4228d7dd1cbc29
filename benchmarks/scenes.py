"""Sound scenes, measured: speed, signal-to-noise ratio from the stems, spans and their energy, distributions, leaks.

    python benchmarks/scenes.py DATASET --pool POOL [--scenes 300] [--seed 0]

DATASET is a folder of ``solfa data scenes``, POOL the folder its pool was kept in (SOLFA_HOME/scenes/...). Scenes are
drawn again from configuration and seed, compared with what lies in the shards, and taken apart.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from pathlib import Path

import numpy as np

from solfa.core.clip import SPLITS, Clip
from solfa.datagen.scenes.mixing import Scene
from solfa.datagen.scenes.pipeline import SceneConfig, SceneMaker, digest
from solfa.datasets.building import ShardTask
from solfa.datasets.phrases import music_bank, sound_bank
from solfa.datasets.shards import Dataset

TARGET = 100_000


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--scenes", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0, help="which scenes are taken apart")
    parser.add_argument("--bank", action="store_true", help="also assign phrases by MiniLM (half a minute)")
    args = parser.parse_args()
    dataset = Dataset.open(args.dataset)
    maker = SceneMaker(args.pool, config_of(dataset))
    if digest(maker.pool) != dataset.manifest["config"]["pool"]:
        raise SystemExit(f"{args.pool} is not the pool that {args.dataset} was made from.")
    speed(maker, dataset)
    stems(maker, dataset, args.scenes, args.seed)
    distributions([r for split in SPLITS for r in dataset.split(split)])
    leaks(dataset)
    if args.bank:
        assignment(args.seed)


def config_of(dataset: Dataset) -> SceneConfig:
    """The configuration that a data set was made with."""
    plain = dataset.manifest["config"]
    return SceneConfig(**{k: plain[k] for k in ("by_label", "noise_share", "per_shard")})


def speed(maker: SceneMaker, dataset: Dataset) -> None:
    """Scenes per second of one core: drawn and mixed; and with encoding, as a shard is made."""
    from tempfile import TemporaryDirectory

    from solfa.datasets.shards import write_shard

    task = ShardTask(split="train", number=0, seed=int(dataset.manifest["seed"]))
    maker.draw(task, 0)
    count = maker.config.per_shard
    start = time.process_time()
    for i in range(count):
        maker.draw(task, i)
    mixed = count / (time.process_time() - start)
    with TemporaryDirectory() as folder:
        start = time.process_time()
        write_shard(Path(folder) / "000000.tar", maker(task))
        written = count / (time.process_time() - start)
    print(f"one core: {mixed:.0f} scenes/s mixed, {written:.1f} scenes/s written")
    print(f"{TARGET} scenes: {TARGET / written / 60:.0f} min on one core, {TARGET / written / 60 / 16:.1f} min on 16")


def stems(maker: SceneMaker, dataset: Dataset, count: int, seed: int) -> None:
    """Ratios, spans and energies of scenes drawn again, and whether they are what the shards hold."""
    rng = np.random.default_rng(seed)
    names = [(s, n) for s in SPLITS for n in range(len(dataset.split(s)))]
    errors, outside, quiet, other, differing, events = [], 0, 0, 0, 0, 0
    above: list[bool] = []
    for pick in rng.choice(len(names), min(count, len(names)), replace=False):
        split, at = names[pick]
        record = dataset.split(split)[at]
        number, i = divmod(at, maker.config.per_shard)
        scene, _ = maker.draw(ShardTask(split=split, number=number, seed=int(dataset.manifest["seed"])), i)
        errors += [snr_db(scene, k) - event.snr_db for k, event in enumerate(scene.events)]
        events += len(scene.events)
        outside += sum(not 0 <= e.start < e.end <= len(scene.samples) for e in scene.events)
        floor = rms(scene.background)
        quiet += sum(rms(e.stem) <= floor for e in scene.events)
        above += [rms(f) > floor for e in scene.events for f in frames_of(e.stem, scene.sample_rate_hz)]
        other += sum(p not in scene.phrases() for p in record.phrases)
        kept = dataset.audio(record).samples
        differing += float(np.abs(kept - scene.samples).max()) > 1 / 32767
    worst = float(np.abs(errors).max())
    print(f"{events} events: measured SNR - drawn SNR at most {worst:.2e} dB, mean {np.mean(errors):.1e} dB")
    print(f"outside of the scene: {outside}; not above the background: {quiet}; spans unlike the record's: {other}")
    print(f"of {len(above)} whole frames of 0.16 s inside events {np.mean(above):.1%} are above the background")
    print(f"scenes unlike the shard's (by more than 16 bits): {differing} of {min(count, len(names))}")


def snr_db(scene: Scene, k: int) -> float:
    """What the stems say: the event against the background."""
    return 20 * float(np.log10(rms(scene.events[k].stem) / rms(scene.background)))


def frames_of(stem: np.ndarray, rate: int) -> list[np.ndarray]:
    """Whole frames of 0.16 s."""
    size = round(0.16 * rate)
    return [stem[at : at + size] for at in range(0, len(stem) - size + 1, size)]


def rms(samples: np.ndarray) -> float:
    """Root of the mean square."""
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


def distributions(records: list[Clip]) -> None:
    """Counts, lengths and ratios over the whole data set."""
    events = [e for r in records for e in r.attributes["scene"]["events"]]
    labels = Counter(p.text for r in records for p in r.phrases)
    lengths = [e["end_s"] - e["start_s"] for e in events]
    rows = {
        "phrases in a scene": Counter(len(r.phrases) for r in records),
        "spans of a phrase": Counter(len(p.spans_s) for r in records for p in r.phrases),
        "event length, s": np.percentile(lengths, (5, 25, 50, 75, 95)).round(2).tolist(),
        "SNR, dB": np.percentile([e["snr_db"] for e in events], (0, 25, 50, 75, 100)).round(1).tolist(),
        "onset, s": np.percentile([e["start_s"] for e in events], (0, 25, 50, 75, 100)).round(1).tolist(),
        "share of frames with any event": round(float(np.mean([covered(r) for r in records])), 3),
        "over noise": sum(r.attributes["scene"]["background"] == "noise" for r in records),
        "words in a caption": Counter(len(r.captions[0].split()) // 5 * 5 for r in records),
        "labels": f"{len(labels)}, most {labels.most_common(3)}, least {labels.most_common()[-1]}",
    }
    print(f"{len(records)} scenes, {len(events)} events")
    for name, value in rows.items():
        print(f"  {name}: {dict(sorted(value.items())) if isinstance(value, Counter) else value}")


def covered(record: Clip) -> float:
    """Share of 10 ms frames in which anything is heard."""
    frames = np.zeros(round(record.duration_s * 100), bool)
    for phrase in record.phrases:
        for start, end in phrase.spans_s:
            frames[round(start * 100) : round(end * 100)] = True
    return float(frames.mean())


def leaks(dataset: Dataset) -> None:
    """Sound files that are heard in two splits."""
    detected: dict[str, set[str]] = {}
    for split in SPLITS:
        for record in dataset.split(split):
            scene = record.attributes["scene"]
            for source in {scene["background"], *(e["source"] for e in scene["events"])} - {"noise"}:
                detected.setdefault(source, set()).add(split)
    seen = {s: {p.text for r in dataset.split(s) for p in r.phrases} for s in SPLITS}
    print(f"{len(detected)} sound files, in two splits: {sum(len(s) > 1 for s in detected.values())}")
    sizes = {split: len(labels) for split, labels in seen.items()}
    print(f"labels: {sizes}, in test and not in train: {len(seen['test'] - seen['train'])}")


def assignment(seed: int) -> None:
    """How often a phrase of our bank, taken as new, goes to its own cluster, or to one that may be true as well."""
    from solfa.encoders.minilm import MiniLM

    bank, encode = sound_bank(), MiniLM().encode
    known = {c.phrase for c in music_bank().clusters}
    pairs = [(i, a) for i, c in enumerate(bank.clusters) if c.phrase not in known for a in c.alternatives]
    picks = np.random.default_rng(seed).choice(len(pairs), min(600, len(pairs)), replace=False)
    centroids_KD = encode([c.phrase for c in bank.clusters])
    found = np.argmax(encode([pairs[k][1] for k in picks]) @ centroids_KD.T, axis=1)
    pairs_found = [(int(c), bank.clusters_of(pairs[k][1])) for c, k in zip(found, picks, strict=True)]
    own = np.mean([c in right for c, right in pairs_found])
    near = np.mean([any(c in bank.near(r) for r in right) for c, right in pairs_found])
    print(f"{len(bank)} clusters, {sum(len(c.texts) for c in bank.clusters)} phrases")
    print(f"nearest centroid of {len(picks)} phrases for sounds: own cluster {own:.1%}, own or related {near:.1%}")


if __name__ == "__main__":
    main()
