"""How long a search takes, end to end, on a collection made by synthetic_collection.py.

    python benchmarks/synthetic_collection.py DIR --tracks 100000
    python benchmarks/search.py DIR [--rounds 20]

The code path is the product's: parsing, exact filters, evidence from the columns of all tracks, the default model's
text tower, exact scan of all segments, detail of 200 candidates (phrases against frames, chords, places), evidence of
ten hits. Only its vectors are made up: a fixed random matrix turns them into the synthetic space.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from solfa.api import DEFAULT_MODEL
from solfa.collection import Collection
from solfa.core.types import Audio, EncoderSpec, Features, FloatArray, JointModel
from solfa.encoders.bridge_text import MEANINGS
from solfa.encoders.registry import load_model
from solfa.query import parse, parse_where
from solfa.retrieval import Searcher

QUERIES = (
    ("slow waltz in D minor around 80 bpm, Dm-Gm-A7, solo piano, melancholic, no vocals", ()),
    ("F major, 110 BPM, 4/4, Am-F-C-G, warm Rhodes, no vocals", ()),
    ("dark ambient drone with distant bells and rain", ()),
    ("upbeat funk, 100-110 bpm, slap bass and horns, guitar solo near the end", ("tempo_bpm=95..115",)),
    ("blue river by the silent machines", ()),
    ("drums come in late, builds up, female vocals, minor key", ("genre=Rock", "date=1990..2010")),
    ("i-VI-III-VII in any key, driving synths, around 128", ()),
    ("anything in 6/8", ("key=A minor", "duration_s>200")),
)


def turned(vectors_ND: FloatArray, dim: int) -> FloatArray:
    """Vectors of the default model as unit vectors of a synthetic space."""
    turn = np.random.default_rng(0).standard_normal((vectors_ND.shape[1], dim)).astype(np.float32)
    out = np.einsum("nm,md->nd", vectors_ND, turn)
    return np.asarray(out / np.linalg.norm(out, axis=1, keepdims=True), np.float32)


class _Text:
    def __init__(self, model: JointModel, spec: EncoderSpec) -> None:
        self.spec, self._model = spec, model
        self.familiarity = model.text.familiarity  # type: ignore[attr-defined]

    def encode(self, batch: Sequence[str]) -> Features:
        vectors = turned(self._model.text.encode(batch).global_BD, self.spec.dim)
        return Features(vectors, vectors[:, None], np.ones((len(batch), 1), bool))


class _Audio:
    def __init__(self, spec: EncoderSpec) -> None:
        self.spec = spec

    def encode(self, batch: Sequence[Audio]) -> Features:
        raise NotImplementedError("this benchmark encodes no sound")


def synthetic_model(space: str, dim: int, hop_s: float = 2.0) -> JointModel:
    """The default model's text tower, turned into a synthetic space."""
    model = load_model(DEFAULT_MODEL)
    assert model.match is not None
    sounds, texts = (turned(vectors, dim) for vectors in (model.match.sounds_SD, model.match.texts_XD))
    match = replace(model.match, sounds_SD=sounds, texts_XD=texts)
    spec = EncoderSpec(name="synthetic", space=space, dim=dim, licence="", commercial_use=True)
    text, audio = _Text(model, spec), _Audio(replace(spec, hop_s=hop_s))
    return replace(model, name="synthetic", audio=audio, text=text, match=match)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--space", default="synthetic/1")
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args()
    model = synthetic_model(args.space, args.dim)
    started = time.perf_counter()
    with Collection.open(args.directory) as collection:
        searcher = Searcher(collection, lambda: model)
        first = searcher.search(parse(QUERIES[0][0]))
        print(f"{first.candidates} tracks; open and first query {time.perf_counter() - started:.2f} s")
        for query, where in QUERIES:  # warm
            searcher.search(parse(query), where=[parse_where(w) for w in where])
        times_ms: list[float] = []
        fresh_ms: list[float] = []
        for query, where in QUERIES:
            own: list[float] = []
            stages: dict[str, list[float]] = {}
            for _ in range(3):  # a searcher that remembers no part of any query, over warm pages
                new = Searcher(collection, lambda: model)
                new.search(parse("anything in 7/8, quiet pads"))
                MEANINGS.clear()
                at = time.perf_counter()
                new.search(parse(query), where=[parse_where(w) for w in where])
                fresh_ms.append((time.perf_counter() - at) * 1000)
            for _ in range(args.rounds):
                at = time.perf_counter()
                results = searcher.search(parse(query), where=[parse_where(w) for w in where])
                own.append((time.perf_counter() - at) * 1000)
                for name, ms in results.timing_ms.items():
                    stages.setdefault(name, []).append(ms)
            times_ms += own
            parts = ", ".join(f"{name} {np.median(ms):.1f}" for name, ms in stages.items() if name != "total")
            print(f"{np.median(own):7.1f} ms  {results.candidates:>6} pass  {query[:60]:<60}  {parts}")
        print(f"every part new: p50 {np.percentile(fresh_ms, 50):.1f} ms, p99 {np.percentile(fresh_ms, 99):.1f} ms")
        print(f"again: p50 {np.percentile(times_ms, 50):.1f} ms, p99 {np.percentile(times_ms, 99):.1f} ms")


if __name__ == "__main__":
    main()
