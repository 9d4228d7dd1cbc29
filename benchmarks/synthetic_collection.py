"""A large collection of made-up tracks, written through the real writer: vectors, attributes, timelines, tags.

    python benchmarks/synthetic_collection.py DIR --tracks 100000

Vectors have the spectrum of real embeddings (a few strong directions, many weak ones) around cluster centres; tempo,
key, metre, chords, concepts and names are drawn independently. Used by search_store.py and by the search benchmark.
"""

from __future__ import annotations

import argparse
import time
from itertools import pairwise
from pathlib import Path

import numpy as np

from solfa.alignment.scores import quantise
from solfa.analysis.analyze import tidy
from solfa.collection.collection import Collection
from solfa.collection.database import Database
from solfa.collection.indexing import IndexedFile
from solfa.collection.store import Space, TrackVectors
from solfa.collection.writer import Writer
from solfa.core.theory import Chord, Key
from solfa.core.types import (
    Alternative,
    Analysis,
    ChordSegment,
    Curve,
    Estimate,
    FileTags,
    FloatArray,
    Span,
    TagTrack,
)
from solfa.core.vocabulary import concepts
from solfa.encoders.windows import pool, segment_ranges

_BATCH = 500
_ADJECTIVES = ("Blue", "Silent", "Golden", "Broken", "Distant", "Little", "Electric", "Northern", "Paper", "Velvet")
_NOUNS = ("River", "Machine", "Garden", "Winter", "Signal", "Harbour", "Mirror", "Engine", "Letter", "Ocean")


class Maker:
    """Draws tracks; the same seed gives the same collection."""

    def __init__(self, dim: int, seed: int, num_clusters: int = 500) -> None:
        self._rng = np.random.default_rng(seed)
        self._spectrum = (np.arange(1, dim + 1) ** -0.5).astype(np.float32)
        self._centres = self._draw(num_clusters, dim)

    def frames(self, num_frames: int) -> FloatArray:
        """Unit frames that wander around one or two cluster centres."""
        dim = len(self._spectrum)
        pair = self._centres[self._rng.integers(0, len(self._centres), 2)]
        share = np.clip(np.cumsum(self._rng.normal(0, 0.15, num_frames)) + 0.5, 0, 1).astype(np.float32)[:, None]
        rows = share * pair[0] + (1 - share) * pair[1] + 0.6 * self._draw(num_frames, dim)
        unit: FloatArray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit

    def analysis(self, duration_s: float) -> Analysis:
        """An analysis with as many beats, chords and concepts as a real track has."""
        rng = self._rng
        tempo = float(rng.uniform(60, 180))
        key = Key(int(rng.integers(12)), "major" if rng.random() < 0.6 else "minor")
        metre = str(rng.choice(["4/4", "3/4", "6/8", "2/4", "5/4"], p=[0.75, 0.12, 0.07, 0.05, 0.01]))
        beats = tuple(np.arange(0.2, duration_s, 60 / tempo).tolist())
        edges = [*beats[::4], duration_s]
        qualities = ("maj", "min", "7", "maj7", "min7")
        cycle = [str(Chord(int(rng.integers(12)), str(rng.choice(qualities)))) for _ in range(4)]
        chords = tuple(
            ChordSegment(start_s=a, end_s=b, label=cycle[i % 4], confidence=float(rng.uniform(0.3, 0.95)))
            for i, (a, b) in enumerate(pairwise(edges))
        )
        tags: dict[str, list[TagTrack]] = {}
        for concept in concepts().values():
            tags.setdefault(concept.kind, []).append(self._tag(concept.id, concept.kind, duration_s))
        voice = next(t for t in tags["voice"] if t.concept == "voice")
        return tidy(
            Analysis(
                duration_s=duration_s,
                tempo_bpm=Estimate(
                    value=tempo,
                    confidence=float(rng.uniform(0.5, 0.95)),
                    alternatives=(
                        Alternative(value=tempo / 2, confidence=0.1),
                        Alternative(value=tempo * 2, confidence=0.1),
                    ),
                    unit="BPM",
                ),
                metre=Estimate(value=metre, confidence=float(rng.uniform(0.4, 0.95))),
                beats_s=beats,
                downbeats_s=beats[::4],
                key=Estimate(
                    value=str(key),
                    confidence=float(rng.uniform(0.3, 0.9)),
                    alternatives=(Alternative(value=str(key.relative), confidence=0.1),),
                ),
                chords=chords,
                loudness_lufs=Estimate(value=float(rng.uniform(-25, -7)), confidence=1.0, unit="LUFS"),
                energy=Curve(hop_s=1.0, values=tuple(rng.random(int(duration_s)).tolist())),
                voice=voice,
                instruments=tuple(tags["instrument"]),
                genres=tuple(tags["genre"]),
                moods=tuple(tags["mood"]),
                extractors=("synthetic@1",),
            )
        )

    def tags(self) -> FileTags:
        """A title, an artist, a year."""
        rng = self._rng
        return FileTags(
            title=f"{rng.choice(_ADJECTIVES)} {rng.choice(_NOUNS)}",
            artist=f"The {rng.choice(_ADJECTIVES)} {rng.choice(_NOUNS)}s",
            album=f"{rng.choice(_NOUNS)}",
            genre=str(rng.choice(["Rock", "Jazz", "Electronic", "Classical", "Folk"])),
            date=str(rng.integers(1960, 2026)),
        )

    def _tag(self, concept: str, kind: str, duration_s: float) -> TagTrack:
        confidence = float(self._rng.beta(0.3, 2.0))
        spans: tuple[Span, ...] = ()
        if confidence > 0.5:
            start = float(self._rng.uniform(0, duration_s / 2))
            spans = (Span(start_s=start, end_s=start + duration_s / 4, confidence=confidence),)
        return TagTrack(concept=concept, kind=kind, confidence=confidence, share=confidence / 2, spans=spans)

    def _draw(self, rows: int, dim: int) -> FloatArray:
        values = self._rng.standard_normal((rows, dim), np.float32) * self._spectrum
        unit: FloatArray = values / np.linalg.norm(values, axis=1, keepdims=True)
        return unit


def build(directory: Path, num_tracks: int, *, dim: int = 512, hop_s: float = 2.0, space: str, seed: int = 0) -> None:
    """Fill a new collection with tracks of four minutes (eight segments each)."""
    maker, duration_s = Maker(dim, seed), 240.0
    shape = Space(name=space, dim=dim, hop_s=hop_s)
    analyses = [maker.analysis(duration_s) for _ in range(min(num_tracks, 500))]
    Collection.open(directory, create=True).close()
    database = Database(directory)
    with database.lock(), database.writer() as db:
        writer = Writer(db, directory)
        writer.space(shape)
        for start in range(0, num_tracks, _BATCH):
            batch = []
            for i in range(start, min(start + _BATCH, num_tracks)):
                frames = maker.frames(round(duration_s / hop_s))
                batch.append(
                    IndexedFile(
                        path=f"/music/{i // 1000:03d}/{i:06d}.flac",
                        size=i,
                        mtime_ns=i,
                        hash=f"{i:040x}",
                        duration_s=duration_s,
                        tags=maker.tags(),
                        analysis=analyses[i % len(analyses)],
                        vectors=TrackVectors(
                            track_id=0,
                            segments_SD=quantise(pool(frames, segment_ranges(len(frames), hop_s))),
                            frames_TD=quantise(frames),
                        ),
                    )
                )
            writer.commit(batch, "synthetic")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--tracks", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--hop-s", type=float, default=2.0)
    parser.add_argument("--space", default="synthetic/1")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    started = time.perf_counter()
    build(args.directory, args.tracks, dim=args.dim, hop_s=args.hop_s, space=args.space, seed=args.seed)
    took = time.perf_counter() - started
    print(f"{args.tracks} tracks in {took:.0f} s ({args.tracks / took:.0f} tracks/s)")


if __name__ == "__main__":
    main()
