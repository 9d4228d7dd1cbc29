"""What verdicts teach: planted listeners on rendered music whose truth is known, held-out artists, three seeds.

    solfa data world WORLD --count 600 --seconds 15 --seed 7
    python benchmarks/listeners.py index WORLD WORK      # music with planted artists, and its collection, in WORK
    python benchmarks/listeners.py learn WORK            # nDCG@10 and kappa before and after 5, 20, 100 verdicts
    python benchmarks/listeners.py judge WORK            # the loop with the judge of rules: hard negatives a round
    python benchmarks/listeners.py flow WORK             # playlists against random orders

A listener is a formula over the truth of the music (drums and tempo; key and mode; the rest, but nothing with a choir),
blind to what was measured. It says of 5 tracks for an anchor, 3 of the nearest and 2 of the 50 nearest, whether they
are among the 15 % that fit best. Artists are planted, 6 tracks each; half of them are never shown and tested.
"""

import argparse
import json
import random
import shutil
import tarfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mutagen
import numpy as np
from numpy.typing import NDArray

import solfa
from solfa.collection import Collection
from solfa.collection.feedback import Sought, TrackVerdict
from solfa.core.theory import Key
from solfa.core.vocabulary import concepts, lineage
from solfa.encoders.registry import load_model
from solfa.evaluation.judges import cohen_kappa
from solfa.jobs import ProcessExecutor
from solfa.relevance import RuleJudge
from solfa.relevance.learn import Learnt, learn, lines, preference_of, track_vectors
from solfa.relevance.playlists import flow_order, transitions
from solfa.relevance.preference import Traits, fifths_apart, octaves_apart
from solfa.retrieval import Searcher

LISTENERS = ("drums", "harmony", "no vocals")
VERDICTS, SEEDS, FIT = (5, 20, 100), (0, 1, 2), 0.85
Matrix = NDArray[np.float64]


def make(world: Path, work: Path) -> None:
    """The clips of a data set as files with planted artists, and their collection."""
    (work / "music").mkdir(parents=True, exist_ok=True)
    for shard in sorted(world.rglob("*.tar")):
        with tarfile.open(shard) as tar:
            tar.extractall(work / "music", filter="data")
    clips = sorted((work / "music").glob("*.flac"))
    random.Random(0).shuffle(clips)
    for number, clip in enumerate(clips):
        tagged = mutagen.File(clip)
        tagged["artist"] = f"artist {number // 6}"
        tagged.save()
    with Collection.open(work / "collection", create=True) as music:
        print(solfa.index(music, [work / "music"], executor=ProcessExecutor(2)))


class Remembered:
    """A text tower that encodes the names of concepts, which every run asks for, once."""

    def __init__(self, tower: Any) -> None:
        self.tower, self.known = tower, dict[tuple[str, ...], Any]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tower, name)

    def encode(self, batch: Any) -> Any:
        if tuple(batch) not in self.known:
            self.known[tuple(batch)] = self.tower.encode(batch)
        return self.known[tuple(batch)]


class World:
    """The collection, its vectors, and the truth of its tracks."""

    def __init__(self, work: Path) -> None:
        self.directory = work / "collection"
        model = load_model("bridge")
        self.model = replace(model, text=Remembered(model.text))
        with Collection.open(self.directory) as music:
            self.ids = music.attributes().track_ids.tolist()
            rows = music.rows(self.ids)
            self.vectors = track_vectors(Searcher(music, lambda: self.model), self.ids)
        self.paths, artists = [row.paths[0] for row in rows], [row.tags.artist for row in rows]
        self.artists = np.unique(artists, return_inverse=True)[1]
        clips = [json.loads(path.with_suffix(".json").read_text()) for path in self.paths]
        self.captions = [clip["captions"][0] for clip in clips]
        self.told = np.random.default_rng(5).permutation(len(clips))[:100]
        self.texts = self.model.text.encode([self.captions[t] for t in self.told.tolist()]).global_BD
        truth = [clip["attributes"] for clip in clips]
        drums = {n for n in concepts() if {"drums", "percussion"} & {*lineage(n)}}
        drums |= {"handclaps", "cowbell", "claves", "shaker", "tambourine", "congas"}
        played = [set(one["instruments"]) for one in truth]
        named = [one["key"] if "key" in one else one.get("keys", ["C major"])[0] for one in truth]
        keys = [Key.parse(_plain(name)) for name in named]
        codes = np.array([key.tonic + 12 * (key.mode == "minor") for key in keys])
        tempo = np.array([one.get("tempo_bpm", 100.0) for one in truth])
        genre = np.array([(one.get("genre") or ["?"])[0] for one in truth])
        rest = 0.5 * _jaccard([p - drums for p in played]) + 0.5 * (genre[:, None] == genre)
        near = np.exp(-((octaves_apart(tempo[:, None], tempo[None]) / 0.1) ** 2))
        fifths = 1 - fifths_apart(codes[:, None], codes[None]) / 6
        modes = (codes >= 12)[:, None] == (codes >= 12)
        self.choir = np.array(["choir" in p for p in played])
        self.fits = {
            "drums": 0.6 * _jaccard([p & drums for p in played]) + 0.25 * near + 0.15 * rest,
            "harmony": 0.6 * fifths + 0.25 * modes + 0.15 * rest,
            "no vocals": (0.95 * rest + 0.05) * ~self.choir,
        }


def _plain(key: str) -> str:
    tonic, _, mode = key.partition(" ")
    return f"{tonic} {'minor' if mode in ('minor', 'dorian', 'phrygian', 'aeolian', 'locrian') else 'major'}"


def _jaccard(sets: list[set[str]]) -> Matrix:
    names = sorted(set().union(*sets))
    held = np.array([[name in one for name in names] for one in sets], float)
    both, sizes = held @ held.T, held.sum(axis=1)
    either = sizes[:, None] + sizes - both
    return np.where(either > 0, both / np.maximum(either, 1), 1.0)


def teach(world: World, fits: Matrix, seed: int, most: int) -> tuple[list[TrackVerdict], NDArray[np.intp]]:
    """Verdicts on tracks of artists that are shown, and the tracks of the others."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(world.artists.max() + 1)
    hidden = np.isin(world.artists, order[: len(order) // 2])
    shown, given = np.flatnonzero(~hidden), list[TrackVerdict]()
    for anchor in rng.permutation(shown)[: -(-most // 5)].tolist():
        others = shown[world.artists[shown] != world.artists[anchor]]
        top = others[np.argsort(-(world.vectors[others] @ world.vectors[anchor]), kind="stable")[:50]]
        enough = np.quantile(fits[anchor, others], FIT)
        given += [TrackVerdict(track_id=world.ids[track], is_good=bool(fits[anchor, track] >= enough), time_s=0.0,
                               sought=Sought(examples=(str(world.paths[anchor]),)))
                  for track in top[np.r_[0:3, 3 + rng.permutation(47)[:2]]].tolist()]  # fmt: skip
    return given[:most], np.flatnonzero(hidden)


def measure(
    world: World, music: Collection, learnt: Learnt | None, fits: Matrix, test: NDArray[np.intp]
) -> list[float]:
    """nDCG@10 and kappa over anchors of held-out artists, and R@10 of captions among all tracks."""
    head, table, rng = learnt.head if learnt else None, music.attributes(), np.random.default_rng(9)
    vectors = world.vectors if head is None or head.space == head.base else head.apply(world.vectors)
    prefer, traits, gains, said, found = preference_of(head), Traits(table), list[float](), list[bool](), list[bool]()

    def scores(query: Any, tracks: NDArray[np.intp], seeds: list[int], weight: float) -> Any:
        cosines = vectors @ query
        total = weight * np.clip((cosines[tracks] - cosines.mean()) / cosines.std(), -4, 4)
        return total if prefer is None else total + prefer.evidence(traits.of(seeds, tracks), len(tracks))

    for anchor in rng.permutation(test)[:40].tolist():
        others = test[world.artists[test] != world.artists[anchor]]
        score, gain = scores(vectors[anchor], others, [anchor], 0.7), 2 ** (4 * fits[anchor, others]) - 1
        discount = 1 / np.log2(np.arange(2, 12))
        gains.append(gain[np.argsort(-score, kind="stable")[:10]] @ discount / (np.sort(gain)[::-1][:10] @ discount))
        near = np.argsort(-(world.vectors[others] @ world.vectors[anchor]), kind="stable")[:50]
        good = fits[anchor, others][near] >= np.quantile(fits[anchor, others], FIT)
        chosen = np.zeros(50, bool)
        chosen[np.argsort(-score[near], kind="stable")[: good.sum()]] = True
        said, found = said + good.tolist(), found + chosen.tolist()
    every = np.arange(len(world.ids))
    texts = world.texts if head is None or head.space == head.base else head.apply(world.texts)
    ranks = [int((s > s[t]).sum()) for t, text in zip(world.told.tolist(), texts, strict=True)
             for s in (scores(text, every, [], 0.5),)]  # fmt: skip
    return [float(np.mean(gains)), cohen_kappa(said, found), float(np.mean(np.array(ranks) < 10))]


def learning(world: World, listeners: Sequence[str]) -> None:
    """Print a table of all listeners and numbers of verdicts."""
    print("listener | verdicts | nDCG@10 | kappa | captions R@10 | weights, head installed (of 3)")
    for name in listeners:
        rows: dict[int, list[Any]] = {k: [] for k in (0, *VERDICTS)}
        for seed in SEEDS:
            for k in rows:
                given, test = teach(world, world.fits[name], seed, k or 5)
                with TemporaryDirectory() as folder:
                    shutil.copytree(world.directory, Path(folder) / "c")
                    with Collection.open(Path(folder) / "c") as music:
                        learnt = None
                        if k and len({v.is_good for v in given}) == 2:
                            music.change_verdicts(given)
                            learnt = learn(music, world.model)
                        heads = sum(r.taken for r in learnt.rounds) if learnt else 0
                        rows[k].append((measure(world, music, learnt, world.fits[name], test),
                                        bool(learnt and learnt.weights), heads > 0))  # fmt: skip
        for k, runs in rows.items():
            means = np.mean([run[0] for run in runs], axis=0)
            print(f"{name} | {k} | {means[0]:.3f} | {means[1]:.3f} | {means[2]:.3f} | "
                  f"{sum(run[1] for run in runs)}, {sum(run[2] for run in runs)}", flush=True)  # fmt: skip


def judging(world: World) -> None:
    """Print the rounds of the loop with the judge of rules, and captions before and after."""
    with Collection.open(world.directory) as music:
        for seed in SEEDS:
            learnt = learn(music, world.model, judge=RuleJudge(), anchors=200, seed=seed)
            print(f"seed {seed}:", *lines(learnt), sep="\n  ", flush=True)
            test = np.arange(len(world.ids))
            for after in (None, learnt):
                r_at_10 = measure(world, music, after, world.fits["drums"], test)[2]
                print(f"  captions R@10 {'after' if after else 'before'}: {r_at_10:.3f}", flush=True)


def flowing(world: World) -> None:
    """Print how 100 tracks flow: correlation of loudness with the curve, mean cost of steps, and of random ones."""
    with Collection.open(world.directory) as music:
        table, drawn = music.attributes(), np.random.default_rng(0).choice(world.ids, 100, replace=False).tolist()
        curves = {"rise": np.arange(100), "fall": -np.arange(100), "arc": -abs(np.arange(100) - 49.5)}
        for flow, curve in curves.items():
            order, _ = flow_order(music, drawn, flow)  # type: ignore[arg-type]
            loud = table.column("loudness_lufs")[table.rows(np.array(order))]
            steps = [np.diag(transitions(table, table.rows(np.array(o))), 1).mean() for o in (order, drawn)]
            print(f"{flow}: loudness {np.corrcoef(loud, curve)[0, 1]:.2f}, steps {steps[0]:.2f}, random {steps[1]:.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["index", "learn", "judge", "flow"])
    parser.add_argument("folders", nargs="+", type=Path, help="folders; after that of 'learn' also listeners")
    asked = parser.parse_args()
    if asked.what == "index":
        make(*asked.folders)
    else:
        world, *listeners = World(asked.folders[0]), *map(str, asked.folders[1:])
        if asked.what == "learn":
            learning(world, listeners or LISTENERS)
        else:
            {"judge": judging, "flow": flowing}[asked.what](world)
