"""Searches refined by talking: planted wishes of five turns, on a collection whose truth is known exactly.

    python benchmarks/conversation.py [--phrasings tuned|held] [--wishes 60] [--tracks 3000] [--errors] [--wrong]

Tracks are drawn first: tempo, key, metre, length, instruments, a mood and one of 8 styles. What a search sees is drawn
from that: measurements (with ``--errors`` some are wrong: tempo at half or double 5 %, the relative key 8 %, an
instrument or mood missed or made up 5 %) and vectors in the space of ``bridge``: of a real sound for the style, half as
much of another one for the track itself and of the names of what it holds, and noise.

A wish is a first query and four turns; each asks for something more, replaces something or takes it back, and at least
15 tracks meet all that stands after it. A turn counts if all of the first ten hits meet all that stands, by the truth
of the tracks (tempi within 3 %); the mean share of hits that do is shown as well. Who asks for more like a hit wants
its style; "slower" is meant against the median of the hits on show. Three ways to the same wish: talking; typing all
that stands again at each turn ("slower" as "slower than 96 bpm", a hit's style as ``--like``); and appending the words
of the turn to those before it, as sessions did before.

``tuned`` are the sentences that the rules were made with; ``held`` were written after the rules, which were not changed
for them; both are by one hand. At last "slower" alone, after 50 first queries: the mean tempo of the first ten hits
before and after, and the cosine of the vectors that sound is compared by.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from solfa.alignment.scores import quantise
from solfa.api import read_query
from solfa.collection import Collection
from solfa.collection.database import Database
from solfa.collection.indexing import IndexedFile
from solfa.collection.store import Space, TrackVectors
from solfa.collection.writer import Writer
from solfa.core.errors import SolfaError
from solfa.core.theory import KEYS, Key
from solfa.core.types import Alternative, Analysis, Curve, Estimate, FileTags, Span, TagTrack
from solfa.core.vocabulary import concept, concepts
from solfa.encoders.registry import load_model
from solfa.encoders.windows import pool, segment_ranges
from solfa.language.session import Session
from solfa.retrieval import Display, Like, Results, Searcher
from solfa.retrieval.like import like_track

INSTRUMENTS = ("piano", "guitar", "violin", "cello", "flute", "saxophone", "drums", "trumpet", "accordion", "voice")
MOODS = ("happy", "sad", "calm", "dark")
STYLES = 8
Rng = np.random.Generator


@dataclass(frozen=True)
class Truth:
    """What a track is."""

    tempo_bpm: float
    key: Key
    metre: str
    duration_s: float
    present: frozenset[str]
    style: int


Holds = Callable[[Truth], bool]


def draw(rng: Rng) -> Truth:
    """One track; instruments and moods independent, so that wishes are rare but can be met."""
    present = {name for name in INSTRUMENTS if rng.random() < 0.4}
    present.add(str(rng.choice(MOODS)))
    return Truth(
        tempo_bpm=float(2 ** rng.uniform(np.log2(50), np.log2(190))), key=KEYS[rng.integers(24)],
        metre=str(rng.choice(["4/4", "3/4", "6/8"], p=[0.6, 0.25, 0.15])), duration_s=float(rng.integers(60, 420)),
        present=frozenset(present), style=int(rng.integers(STYLES)),
    )  # fmt: skip


def measured(truth: Truth, rng: Rng, errors: bool) -> Analysis:
    """What an analysis says of a track."""
    by = float(rng.choice([1.0, 0.5, 2.0], p=[0.95, 0.025, 0.025])) if errors else 1.0
    tempo = truth.tempo_bpm * by * float(rng.normal(1, 0.005))
    key = truth.key.relative if errors and rng.random() < 0.08 else truth.key

    def tag(name: str) -> TagTrack:
        there = (name in truth.present) != (errors and rng.random() < 0.05)
        sure = float(rng.uniform(0.6, 0.97) if there else rng.uniform(0.01, 0.3))
        spans = (Span(start_s=0.0, end_s=truth.duration_s, confidence=sure),) if there else ()
        return TagTrack(concept=name, kind=concepts()[name].kind, confidence=sure, share=sure, spans=spans)

    return Analysis(
        duration_s=truth.duration_s,
        tempo_bpm=Estimate(value=tempo, confidence=0.85, alternatives=(Alternative(value=tempo / 2, confidence=0.1),)),
        metre=Estimate(value=truth.metre, confidence=0.85), key=Estimate(value=str(key), confidence=0.8),
        chords=(), beats_s=(), downbeats_s=(), loudness_lufs=Estimate(value=-14.0, confidence=1.0, unit="LUFS"),
        energy=Curve(hop_s=1.0, values=tuple(rng.random(int(truth.duration_s)).tolist())), voice=tag("voice"),
        instruments=tuple(tag(name) for name in INSTRUMENTS if name != "voice"), genres=(),
        moods=tuple(tag(name) for name in MOODS), extractors=("drawn@1",),
    )  # fmt: skip


def build(folder: Path, tracks: list[Truth], model: Any, rng: Rng, errors: bool) -> None:
    """The collection of these tracks; track ids count from 1 in their order."""
    space = Space.of(model.audio.spec)
    names = sorted({*INSTRUMENTS, *MOODS})
    known = dict(zip(names, model.text.encode([concept(n).title for n in names]).global_BD, strict=True))
    general = np.asarray(model.match.sounds_SD, np.float32)  # sounds in general, which styles and tracks are like
    styles = general[rng.choice(len(general), STYLES, replace=False)]
    Collection.open(folder, create=True).close()
    database = Database(folder)
    with database.lock(), database.writer() as db:
        writer = Writer(db, folder)
        writer.space(space)
        batch = []
        for i, truth in enumerate(tracks):
            centre = sum((known[name] for name in truth.present), np.zeros(space.dim, np.float32))
            own = general[rng.integers(len(general))]
            centre = 0.5 * centre / np.linalg.norm(centre) + styles[truth.style] + 0.5 * own
            count = max(1, round(truth.duration_s / space.hop_s))
            frames = centre + 0.6 / space.dim**0.5 * rng.standard_normal((count, space.dim))
            frames = (frames / np.linalg.norm(frames, axis=1, keepdims=True)).astype(np.float32)
            segments = quantise(pool(frames, segment_ranges(count, space.hop_s)))
            batch.append(IndexedFile(
                path=f"/music/{i:06d}.flac", size=i, mtime_ns=i, hash=f"{i:040x}", duration_s=truth.duration_s,
                tags=FileTags(title=f"Track {i}", artist=f"Artist {i}"), analysis=measured(truth, rng, errors),
                vectors=TrackVectors(track_id=0, segments_SD=segments, frames_TD=quantise(frames)),
            ))  # fmt: skip
        writer.commit(batch, "drawn")


# --- wishes -----------------------------------------------------------------------------------------------------------

# For each kind of turn the sentences that the rules were made with, and those written afterwards. {x}, {y} are names,
# {n} the place of a hit in words, {d} in digits.
PHRASES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "avoid": (
        (
            "without the {x}",
            "no {x} please",
            "without {x}",
            "I don't want any {x}",
            "take the {x} out",
            "but no {x} this time",
            "leave the {x} out of it",
            "{x} has to go",
        ),
        ("I would like it without {x}", "get rid of the {x}", "not with {x}"),
    ),
    "add": (
        (
            "with {x}",
            "and with {x}",
            "add {x}",
            "it needs {x}",
            "there should be {x} in it",
            "give it some {x}",
            "also some {x}",
            "bring in the {x}",
        ),
        ("plus {x}", "I miss the {x}", "together with {x}"),
    ),
    "mood": (
        ("make it {x}", "something {x}", "I'd like it to be {x}", "a {x} mood", "more {x}", "could it sound {x}?"),
        ("it may be more {x}", "something that sounds {x}", "I feel like something {x}"),
    ),
    "mode": (
        ("in a {x} key", "only {x} ones", "it ought to be {x}", "in {x}, please", "only if it is in a {x} key"),
        ("just those in {x}", "I'd rather have it in {x}", "a {x} key would be better"),
    ),
    "not_key": (
        ("any key but {x}", "not in {x}", "everything except {x}", "please not {x}", "I can't stand {x}"),
        ("any key apart from {x}", "all keys but {x}", "no {x} please"),
    ),
    "waltz": (
        ("in 3/4", "make it 3/4", "it should be in three", "in waltz time", "as a waltz, in 3/4"),
        ("in three quarter time", "make that 3/4", "can we have 3/4?"),
    ),
    "slower": (
        (
            "slower",
            "a bit slower",
            "but slower",
            "too fast",
            "take it slower",
            "I'd prefer something slower",
            "that's too quick for me",
            "less fast",
            "bring the tempo down",
        ),
        ("a tad slower", "go slower", "somewhat slower please", "these are too fast"),
    ),
    "faster": (
        (
            "faster",
            "but faster",
            "too slow",
            "a faster one",
            "let's have something quicker",
            "it drags, faster please",
            "can you speed it up?",
            "that is too slow for me",
        ),
        ("a lot faster", "could they be faster?", "speed things up", "these are too slow"),
    ),
    "short": (
        (
            "only those under three minutes",
            "under three minutes",
            "nothing over three minutes",
            "three minutes at most",
            "it must not be longer than three minutes",
            "keep it under three minutes",
        ),
        ("below three minutes", "none longer than three minutes", "only tracks shorter than three minutes"),
    ),
    "long": (
        (
            "only those over four minutes",
            "longer than four minutes",
            "at least four minutes long",
            "nothing under four minutes",
            "I only want tracks over four minutes",
        ),
        ("more than four minutes long", "they should be longer than four minutes", "just the ones over four minutes"),
    ),
    "forget_tempo": (
        (
            "forget the tempo",
            "any tempo",
            "the tempo isn't important",
            "never mind the tempo",
            "tempo doesn't matter any more",
            "whatever tempo",
        ),
        ("ignore the tempo", "I don't mind the tempo", "any speed will do"),
    ),
    "forget": (
        (
            "forget the {x}",
            "drop the {x}",
            "it doesn't have to have {x}",
            "{x} isn't necessary",
            "I don't need the {x} any more",
            "never mind the {x}",
        ),
        ("the {x} doesn't matter", "forget about the {x}", "it can do without {x}, I don't care about {x}"),
    ),
    "swap": (
        (
            "{y} instead of {x}",
            "replace the {x} with {y}",
            "rather {y} than {x}",
            "use {y} in place of the {x}",
            "change the {x} to {y}",
        ),
        ("{y} rather than {x}", "swap {x} for {y}", "replace {x} by {y}"),
    ),
    "like": (
        (
            "more like the {n}",
            "like {d}",
            "the {n} one is closest, more of those",
            "I want more that sound like the {n}",
            "similar to number {d}",
            "stay close to the {n} one",
        ),
        ("closer to the {n}", "I like the {n} one best", "more in the style of number {d}"),
    ),
    "like_faster": (
        (
            "more like the {n}, but faster",
            "more like the {n}, but a bit faster",
            "like number {d}, only faster",
            "something like the {n} one but quicker",
            "the {n} is nice but I'd like it faster",
        ),
        ("similar to the {n} one, just faster", "as the {n}, but faster", "more like {d} and faster"),
    ),
    "undo": (
        ("undo", "take that back", "no, go back", "undo the last change", "that was better before"),
        ("back please", "revert that", "undo it"),
    ),
}
ORDINALS = ("first", "second", "third", "fourth", "fifth")


@dataclass(frozen=True)
class Part:
    """One thing that stands: whether a track meets it, and how it is typed ("" where it cannot be)."""

    holds: Holds
    typed: str
    like: int = 0  # the track whose style it is


Wish = Mapping[str, Part]  # by what it is about
Turns = dict[str, tuple[Wish, dict[str, str]]]


def has(name: str) -> Part:
    """The track holds this."""
    return Part(lambda t: name in t.present, concept(name).title)


def tempo(low: float, high: float, typed: str) -> Part:
    """The tempo is between these."""
    return Part(lambda t: low * 0.97 <= t.tempo_bpm <= high * 1.03, typed)


def turns(wish: Wish, before: Wish | None, shown: Sequence[tuple[int, Truth]], rng: Rng) -> Turns:
    """What can be asked next, by kind: the wish after it, and the names for its sentence."""
    named = [name for name in INSTRUMENTS if name not in wish]
    wanted = [name for name in INSTRUMENTS if name in wish and wish[name].typed == concept(name).title]
    x, y = (str(name) for name in rng.choice(named, 2, replace=False))
    title = {name: concept(name).title for name in named}
    key, mode, mood = KEYS[rng.integers(24)], str(rng.choice(["minor", "major"])), str(rng.choice(MOODS))
    middle = float(np.median([truth.tempo_bpm for _, truth in shown]))
    place = int(rng.integers(min(5, len(shown))))
    track, liked = shown[place]
    names = {"n": ORDINALS[place], "d": str(place + 1)}
    alike = Part(lambda t: t.style == liked.style, "", track)
    slower = {"tempo": tempo(0, middle, f"slower than {middle:.0f} bpm")}
    faster = {"tempo": tempo(middle, 999, f"faster than {middle:.0f} bpm")}
    than_liked = {"tempo": tempo(liked.tempo_bpm, 999, f"faster than {liked.tempo_bpm:.0f} bpm")}
    found: Turns = {
        "avoid": ({**wish, x: Part(lambda t: x not in t.present, f"no {title[x]}")}, {"x": title[x]}),
        "add": ({**wish, x: has(x)}, {"x": title[x]}),
        "mode": ({**wish, "key": Part(lambda t: t.key.mode == mode, f"in {mode}")}, {"x": mode}),
        "not_key": ({**wish, "key": Part(lambda t: t.key != key, f"not in {key}")}, {"x": str(key)}),
        "waltz": ({**wish, "metre": Part(lambda t: t.metre == "3/4", "in 3/4")}, {}),
        "slower": ({**wish, **slower}, {}),
        "faster": ({**wish, **faster}, {}),
        "short": ({**wish, "length": Part(lambda t: t.duration_s <= 180, "under three minutes")}, {}),
        "long": ({**wish, "length": Part(lambda t: t.duration_s >= 240, "over four minutes")}, {}),
        "like": ({**wish, "style": alike}, names),
        "like_faster": ({**wish, "style": alike, **than_liked}, names),
    }
    if "mood" not in wish:
        found["mood"] = {**wish, "mood": has(mood)}, {"x": mood}
    if "tempo" in wish and len(wish) > 1:
        found["forget_tempo"] = {k: part for k, part in wish.items() if k != "tempo"}, {}
    if wanted and len(wish) > 1:
        gone = str(rng.choice(wanted))
        rest = {k: part for k, part in wish.items() if k != gone}
        found["forget"] = rest, {"x": concept(gone).title}
        found["swap"] = {**rest, y: has(y)}, {"x": concept(gone).title, "y": title[y]}
    if before is not None:
        found["undo"] = before, {}
    return found


@dataclass
class Score:
    """How turns went, of one way."""

    turns: int = 0
    all_ten: int = 0
    share: float = 0.0

    def add(self, wish: Wish, found: Results | None, truths: Sequence[Truth]) -> bool:
        """Count the answer after a turn; whether all hits are right."""
        hits = [] if found is None else [truths[hit.track_id - 1] for hit in found.hits]
        right = [all(part.holds(truth) for part in wish.values()) for truth in hits]
        self.turns, self.share = self.turns + 1, self.share + sum(right) / 10
        self.all_ten += sum(right) == 10
        return sum(right) == 10

    def shown(self) -> str:
        """Both shares, as columns of a table."""
        return f"{self.all_ten / self.turns:.3f} | {self.share / self.turns:.3f}"


def converse(args: argparse.Namespace, searcher: Searcher, truths: list[Truth]) -> None:
    """Print the share of turns that went right, for each way."""
    rng, display = np.random.default_rng(args.seed + 1), Display(k=10, duplicates=True)
    ways = {name: Score() for name in ("talking", "typing all again", "appending words")}
    kinds: dict[str, tuple[Score, Score]] = {}
    refused = 0
    for _ in range(args.wishes):
        session = Session(searcher, display)
        instrument, slow = str(rng.choice(INSTRUMENTS[:-1])), bool(rng.random() < 0.5)
        feel = tempo(0, 85, "under 85 bpm") if slow else tempo(115, 999, "over 115 bpm")
        wish: Wish = {"tempo": feel, instrument: has(instrument)}
        said = [f"{concept(instrument).title} {feel.typed}"]
        before: Wish | None = None
        session.say(said[0])
        for way in ways.values():
            way.add(wish, session.results, truths)
        for _ in range(4):
            if session.shown:  # else the hits before it
                hits = [(hit.track_id, truths[hit.track_id - 1]) for hit in session.hits()]
            possible = turns(wish, before, hits, rng)
            enough = [kind for kind, (then, _) in possible.items()
                      if sum(all(part.holds(t) for part in then.values()) for t in truths) >= 15]  # fmt: skip
            kind = str(rng.choice(sorted(enough)))
            then, names = possible[kind]
            sentence = str(rng.choice(PHRASES[kind][args.phrasings == "held"])).format(**names)
            before, wish = (None if kind == "undo" else wish), then
            said.append(sentence)
            try:
                session.say(sentence)
                found = session.results
            except SolfaError as error:
                refused, found = refused + 1, None
                if args.wrong:
                    print(f"refused: {sentence!r}: {error}")
            right = ways["talking"].add(wish, found, truths)
            said_of, typed_of = kinds.setdefault(kind, (Score(), Score()))
            said_of.add(wish, found, truths)
            if args.wrong and not right and found is not None:
                broken = [
                    k for k, part in wish.items() if not all(part.holds(truths[h.track_id - 1]) for h in found.hits)
                ]
                print(f"wrong: {said} asked: {session.request} broken: {broken} of {len(found.hits)} hits")
            typed = ", ".join(part.typed for part in wish.values() if part.typed)
            likes = [like_track(searcher, part.like) for part in wish.values() if part.like]
            again = search(searcher, typed, likes, display)
            ways["typing all again"].add(wish, again, truths)
            typed_of.add(wish, again, truths)
            ways["appending words"].add(wish, search(searcher, ", ".join(said), [], display), truths)
    print(f"{args.wishes} wishes, {ways['talking'].turns} turns, {len(truths)} tracks, seed {args.seed}, "
          f"phrasings {args.phrasings}, errors {args.errors}; {refused} turns refused")  # fmt: skip
    for name, score in ways.items():
        print(f"| {name:18} | {score.turns:4} | {score.shown()} |")
    print("by the kind of the last turn: talking, typing all again")
    for name, (score, other) in sorted(kinds.items()):
        print(f"| {name:18} | {score.turns:4} | {score.shown()} | {other.shown()} |")


def search(searcher: Searcher, text: str, likes: Sequence[Like], display: Display) -> Results | None:
    """The answer to a text; None if it asks nothing."""
    try:
        return searcher.search(read_query(text), like=likes, display=display)
    except SolfaError:
        return None


def slower(searcher: Searcher, truths: list[Truth], seed: int) -> None:
    """Print what "slower" alone does."""
    rng, rows = np.random.default_rng(seed + 2), []
    for _ in range(50):
        session = Session(searcher, Display(k=10, duplicates=True))
        first, second = (concept(str(name)).title for name in rng.choice(INSTRUMENTS[:-1], 2, replace=False))
        session.say(f"{rng.choice(['fast ', 'slow ', '', f'{rng.choice(MOODS)} '])}{first} and {second}")
        row = []
        for _ in range(2):
            vector = searcher.direction(session.request.query)
            assert vector is not None
            row.append((np.mean([truths[hit.track_id - 1].tempo_bpm for hit in session.hits()]), vector))
            session.say("slower") if len(row) == 1 else None
        rows.append((row[0][0], row[1][0], float(row[0][1] @ row[1][1])))
    before, after, cosine = np.array(rows).T
    print(
        f"'slower' after {len(rows)} queries: mean tempo {before.mean():.1f} -> {after.mean():.1f} BPM, lower in "
        f"{(after < before).sum()}; cosine to the query before: mean {cosine.mean():.3f}, least {cosine.min():.3f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--phrasings", choices=("tuned", "held"), default="tuned")
    parser.add_argument("--wishes", type=int, default=60)
    parser.add_argument("--tracks", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--errors", action="store_true", help="measurements are sometimes wrong")
    parser.add_argument("--wrong", action="store_true", help="print turns that went wrong")
    args = parser.parse_args()
    rng, model = np.random.default_rng(args.seed), load_model("bridge")
    truths = [draw(rng) for _ in range(args.tracks)]
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder), truths, model, rng, args.errors)
        with Collection.open(Path(folder)) as collection:
            searcher = Searcher(collection, lambda: model)
            converse(args, searcher, truths)
            slower(searcher, truths, args.seed)


if __name__ == "__main__":
    main()
