"""Constraint satisfaction and attribute sensitivity of whole systems, on rendered music with known truth.

    solfa data soundfonts && solfa data world WORLD --count 1000 --seed 0   (or any with truth of its music)
    python benchmarks/finegrained.py --data WORLD --collection DIR --count 100 --seed 0 [--figures OUT]

Systems, over one pool and the same queries (`solfa.evaluation.finequeries`): ``solfa`` (the whole search), ``vectors
only`` (the same model, the whole text as one phrase, nothing measured), ``tags only`` (detected instruments, genres
and moods, and words in the files' tags), ``counted: X`` (how many of the stated constraints X's analysis meets, X being
solfa, Essentia or librosa; these are told the constraints and read no text). Controls: ``truth`` counts by the
annotations, ``truth but KIND`` leaves one kind of constraint out, ``constant`` gives the same list to every query (the
tracks that meet most of all constraints first), ``text-only`` is the model with the pool's mean sound for every track,
``random`` another order for each text. Ties are pessimistic. Queries are paraphrased, so that no system's own grammar
is asked (``--wording plain`` for the words of solfa's documentation).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soundfile
import soxr

from harmony import essentia_chords, essentia_key, librosa_templates
from solfa.api import DEFAULT_MODEL, index
from solfa.apps.figures import bars
from solfa.collection import Collection
from solfa.constraints import Constraint, Presence
from solfa.core.annotation import MusicAnnotation
from solfa.core.theory import Key
from solfa.core.types import ChordSegment, JointModel
from solfa.datagen.judging import data_set
from solfa.encoders.registry import load_model
from solfa.evaluation.blind import without_sound
from solfa.evaluation.finegrained import KindSatisfaction, Rank, Sensitivity
from solfa.evaluation.finequeries import FineQueries, fine_queries, measure
from solfa.evaluation.similarity import Pool, joint_scores
from solfa.evaluation.truth import holds
from solfa.query import Query, parse
from solfa.retrieval import Display, Searcher
from tempo import essentia as essentia_tempo
from tempo import librosa as librosa_tempo


def annotation(segments: Sequence[tuple[float, float, str]], **known: object) -> MusicAnnotation:
    """Chords and what else is known or claimed of a clip."""
    chords = tuple(
        ChordSegment(start_s=start, end_s=end, label=label, confidence=1.0)
        for start, end, label in segments
        if end > start
    )
    return MusicAnnotation(duration_s=chords[-1].end_s if chords else 30.0, chords=chords, **known)  # type: ignore[arg-type]


def resampled(path: Path, rate: int = 22050) -> tuple[np.ndarray, int]:
    """Mono sound at the rate that both tools are made for here."""
    samples, own = soundfile.read(path, dtype="float32", always_2d=True)
    return (samples.mean(axis=1) if own == rate else soxr.resample(samples.mean(axis=1), own, rate)), rate


def by_essentia(path: Path) -> MusicAnnotation:
    """RhythmExtractor2013, KeyExtractor (bgate), ChordsDetection."""
    mono, rate = resampled(path)
    key = Key.parse(essentia_key("bgate")(mono, rate)["key"])
    return annotation(essentia_chords(mono, rate)["chords"], tempo_bpm=essentia_tempo(mono, rate)["tempo_bpm"], key=key)


def by_librosa(path: Path) -> MusicAnnotation:
    """beat_track, Krumhansl's profiles and triad templates over chroma_cqt."""
    mono, rate = resampled(path)
    analyzed, bpm = librosa_templates(mono, rate), librosa_tempo(mono, rate)["tempo_bpm"]
    return annotation(analyzed["chords"], tempo_bpm=bpm or None, key=Key.parse(analyzed["key"]))


def counted(claims: Sequence[MusicAnnotation], queries: FineQueries, but: str = "") -> Rank:
    """Tracks in order of how many of the stated constraints their claims meet; of all kinds but one."""

    @cache
    def met(constraint: Constraint) -> np.ndarray:
        return np.array([holds(constraint, t) is True for t in claims], float)

    def rank(texts: Sequence[str]) -> np.ndarray:
        zero = np.zeros(len(claims))
        return np.stack([sum((met(c) for c in queries.meant[t] if c.label != but), zero) for t in texts])

    return rank


def constant(truths: Sequence[MusicAnnotation], queries: FineQueries) -> Rank:
    """One list, whatever is asked."""
    often = [
        float(sum(holds(c, t) is True for requirement in queries.requirements for c in requirement)) for t in truths
    ]
    return lambda texts: np.tile(often, (len(texts), 1))


def text_only(model: JointModel, sounds: Pool) -> Rank:
    """What the texts alone decide."""
    return lambda texts: joint_scores(sounds, model.text.encode(list(texts)), model.views.rank).matrix()


def searched(searcher: Searcher, rows: dict[int, int], make: Callable[[str], Query]) -> Rank:
    """Tracks in the order of a search; none where nothing is left to search for."""
    whole = Display(k=len(rows), duplicates=True)

    def rank(texts: Sequence[str]) -> np.ndarray:
        scores = np.full((len(texts), len(rows)), -np.inf)
        for q, query in enumerate(map(make, texts)):
            if query.constraints or query.phrases or query.negated_phrases or query.words:
                for hit in searcher.search(query, display=whole).hits:
                    scores[q, rows[hit.track_id]] = hit.score
        return scores

    return rank


def tags_alone(text: str) -> Query:
    query = parse(text)
    analyzed = tuple(c for c in query.constraints if isinstance(c, Presence))
    return replace(query, constraints=analyzed, phrases=(), negated_phrases=())


def by_chance(num: int, seed: int) -> Rank:
    return lambda texts: np.stack([np.random.default_rng([seed, *text.encode()]).random(num) for text in texts])


def lift(kind: KindSatisfaction) -> str:
    return "-" if kind.lift is None else f"{kind.lift:.2f}"


def show_satisfaction(rows: dict[str, dict[str, KindSatisfaction]], k: int) -> None:
    first = next(iter(rows.values()))
    print(f"\nCS@{k}: per cent of the first {k} [95 %] (lift: 0 best constant list, 1 attainable)")
    print(f"| system | {' | '.join(first)} |\n|---|{'---|' * len(first)}")
    for name, result in rows.items():
        cells = [result[kind] for kind in first]
        texts = [f"{100 * c.share.value:.0f} [{100 * c.share.low:.0f}, {100 * c.share.high:.0f}] ({lift(c)})"
                 for c in cells]  # fmt: skip
        print(f"| {name} | {' | '.join(texts)} |")
    print("requirements:", {kind: r.share.num for kind, r in first.items() if kind not in ("every", "joint")})


def show_sensitivity(rows: dict[str, dict[str, Sensitivity]]) -> None:
    kinds = list(next(iter(rows.values())))
    print("\nfall in doublings of the rank when one attribute is made false [95 %] (by wording alone)")
    print(f"| system | {' | '.join(kinds)} |\n|---|{'---|' * len(kinds)}")
    for name, result in rows.items():
        cells = []
        for kind in kinds:
            s = result[kind]
            control = f" ({s.controls['control'].rank_drop.value:.2f})" if "control" in s.controls else ""
            mark = "**" if s.detected else ""
            cells.append(
                f"{mark}{s.rank_drop.value:.2f}{mark} [{s.rank_drop.low:.2f}, {s.rank_drop.high:.2f}]{control}"
            )
        print(f"| {name} | {' | '.join(cells)} |")
    nums = {k: s.rank_drop.num for k, s in next(iter(rows.values())).items()}
    best = {k: round(s.attainable, 2) for k, s in next(iter(rows.values())).items()}
    print("bold: detected, beyond chance, wording and the edited word. Attainable:", best, "tracks:", nums)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--collection", type=Path, required=True)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--wording", choices=("paraphrased", "plain"), default="paraphrased")
    parser.add_argument("--targets", type=int, help="clips whose sensitivity is measured; all if not given")
    parser.add_argument("--k", type=int, default=5)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--figures", type=Path)
    options = parser.parse_args()

    rng = np.random.default_rng(options.seed)
    with TemporaryDirectory() as scratch, Collection.open(options.collection, create=True) as collection:
        items = data_set(options.data, options.split, Path(scratch)).clips
        known = {i.id: i.annotation for i in items if i.annotation is not None and i.annotation.key}
        names = sorted(rng.permutation(sorted(known))[: options.count].tolist())
        sounds = {i.audio.stem: i.audio for i in items if i.audio is not None}
        index(collection, [sounds[n] for n in names], model=options.model)
        by_path = {path.stem: t.id for t in collection.tracks() for path in t.paths}
        names = [n for n in names if n in by_path]
        rows = {by_path[n]: row for row, n in enumerate(names)}
        paths, truths = [sounds[n] for n in names], [known[n] for n in names]
        model = load_model(options.model)
        searcher = Searcher(collection, lambda: model)
        queries = fine_queries(
            truths, num_targets=options.targets or len(truths), wording=options.wording, seed=options.seed
        )
        windows = Pool(collection.store(model.space).windows([by_path[n] for n in names]))
        systems = {
            "solfa": searched(searcher, rows, parse),
            "vectors only": searched(searcher, rows, lambda text: Query(text=text, phrases=(text,))),
            "tags only": searched(searcher, rows, tags_alone),
            "counted: solfa": counted([MusicAnnotation.of(collection.analysis(by_path[n])) for n in names], queries),
            "counted: Essentia": counted([by_essentia(path) for path in paths], queries),
            "counted: librosa": counted([by_librosa(path) for path in paths], queries),
            "truth": counted(truths, queries),
            **{f"truth but {kind}": counted(truths, queries, kind) for kind in ("tempo", "key", "chords", "metre")},
            "constant": constant(truths, queries),
            "text-only": text_only(model, without_sound(windows, seed=options.seed)),
            "random": by_chance(len(names), options.seed),
        }
        found = {n: measure(rank, queries, truths, options.k, seed=options.seed) for n, rank in systems.items()}
    print(f"{len(names)} clips, {len(queries.texts)} queries, {len(queries.counterfactuals)} counterfactuals, "
          f"model {options.model}, seed {options.seed}")  # fmt: skip
    show_satisfaction({n: satisfied for n, (satisfied, _) in found.items()}, options.k)
    show_sensitivity({n: sensitive for n, (_, sensitive) in found.items()})
    if options.figures:
        options.figures.mkdir(parents=True, exist_ok=True)
        rank_drops = {kind: s.rank_drop for kind, s in found["solfa"][1].items()}
        bars(rank_drops, options.figures / "sensitivity.svg", title="Attribute sensitivity",
             y_label="rank drop, doublings of the rank", scale=1.0, force=True)  # fmt: skip


if __name__ == "__main__":
    main()
