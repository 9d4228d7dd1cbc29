"""Filters are exact: a plain reading of their definition agrees for every combination."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solfa.analysis.analyze import analyze, tidy
from solfa.collection import Collection, Space
from solfa.collection.database import Database
from solfa.collection.indexing import IndexedFile
from solfa.collection.writer import Writer
from solfa.core.errors import InputError, UnknownName
from solfa.core.filters import FIELDS, PRESENT, Filter, folded
from solfa.core.theory import Key, pitch_class
from solfa.core.types import Analysis, Estimate, FileTags, TagTrack
from solfa.core.vocabulary import lineage

SPACE = Space(name="s", dim=4, hop_s=1.0)
CONCEPTS = ("piano", "electric_piano", "rhodes", "voice", "choir", "rock", "sad")
KINDS = {"piano": "instrument", "electric_piano": "instrument", "rhodes": "instrument", "voice": "voice",
         "choir": "voice", "rock": "genre", "sad": "mood"}  # fmt: skip
WORDS = ("Sigur Rós", "sigur ros", "Straße", "a%b_c", "x' OR 1=1 --", "", "日本")


@dataclass(frozen=True)
class Track:
    id: int
    analysis: Analysis
    files: tuple[tuple[str, FileTags], ...]


def make_tracks() -> list[Track]:
    rng = np.random.default_rng(0)
    result = []
    for i in range(1, 41):

        def maybe(value: Any) -> Estimate[Any]:
            known = rng.random() < 0.8
            return Estimate(value=value if known else None, confidence=0.5 * known)

        tags = [
            TagTrack(concept=c, kind=KINDS[c], confidence=float(rng.choice([0.0, 0.3, PRESENT - 1e-4, PRESENT, 0.9])))
            for c in CONCEPTS
            if rng.random() < 0.7
        ]
        analysis = tidy(
            replace(
                analyze((), ()),
                duration_s=float(rng.choice([30.0, 180.5, 240.0])),
                tempo_bpm=maybe(float(rng.choice([60.0, 109.5, 110.0, 110.5, 128.0]))),
                key=maybe(str(Key(int(rng.choice([0, 5, 10])), "major" if rng.random() < 0.5 else "minor"))),
                metre=maybe(str(rng.choice(["4/4", "3/4", "6/8"]))),
                loudness_lufs=maybe(float(rng.choice([-20.0, -9.5]))),
                voice=next((t for t in tags if t.concept == "voice"), analyze((), ()).voice),
                instruments=tuple(t for t in tags if t.kind == "instrument"),
                genres=tuple(t for t in tags if t.kind == "genre"),
                moods=tuple(t for t in tags if t.kind in ("mood", "voice") and t.concept != "voice"),
            )
        )  # fmt: skip
        files = tuple(
            (
                f"/music/{rng.choice(['Jazz', 'Rock'])}/{i}-{copy}.flac",
                FileTags(
                    title=str(rng.choice(WORDS)),
                    artist=str(rng.choice(WORDS)),
                    album=str(rng.choice(WORDS)),
                    genre=str(rng.choice(WORDS)),
                    comment=str(rng.choice(WORDS)),
                    date=str(rng.choice(["", "1999", "2003-05", "n/a"])),
                    tempo_bpm=None if rng.random() < 0.5 else float(rng.choice([110.0, 128.0])),
                    key=None if rng.random() < 0.5 else str(rng.choice(["C major", "F minor"])),
                ),
            )
            for copy in range(int(rng.integers(1, 3)))
        )
        result.append(Track(i, analysis, files))
    return result


TRACKS = make_tracks()


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Any:
    directory = tmp_path_factory.mktemp("filters") / "shelf"
    Collection.open(directory, create=True).close()
    database = Database(directory)
    with database.lock(), database.writer() as db:
        writer = Writer(db, directory)
        writer.space(SPACE)
        for track in TRACKS:
            for path, tags in track.files:
                indexed = IndexedFile(
                    path=path,
                    size=1,
                    mtime_ns=1,
                    hash=str(track.id),
                    duration_s=track.analysis.duration_s,
                    tags=tags,
                    analysis=track.analysis,
                )
                assert writer.commit([indexed], "v")[0][0] == track.id
    with Collection.open(directory) as collection:
        yield collection


def file_values(name: str, path: str, tags: FileTags) -> Any:
    if name == "date":
        return int(tags.date[:4]) if tags.date[:4].isdigit() else None
    if name in ("tag_tempo_bpm", "tag_key"):
        return tags.tempo_bpm if name == "tag_tempo_bpm" else tags.key
    return path if name == "path" else getattr(tags, name)


def holds(item: Filter, value: Any) -> bool:
    if value is None or value == "":
        return False
    if item.kind == "number":
        above = value > item.low if item.low_open else value >= item.low
        below = value < item.high if item.high_open else value <= item.high
        return bool(above and below)
    if item.kind == "text":
        text = folded(value)
        return any(v in text for v in item.values) if item.contains else text in item.values
    if item.kind == "key":
        key = Key.parse(value)
        return any(key == Key.parse(v) if " " in v else key.tonic == pitch_class(v) for v in item.values)
    return value in item.values


def passes(track: Track, item: Filter) -> bool:
    """The definition of ``Filter``, read out."""
    if item.kind == "concept":
        found = any(
            tag.confidence >= PRESENT and set(lineage(name)) & set(item.values)
            for name, tag in track.analysis.tags().items()
        )
    elif item.field in ("tempo_bpm", "key", "metre", "loudness_lufs"):
        found = holds(item, getattr(track.analysis, item.field).value)
    elif item.field == "duration_s":
        found = holds(item, track.analysis.duration_s)
    else:
        found = any(holds(item, file_values(item.field, path, tags)) for path, tags in track.files)
    return found != item.negated


bounds = st.sampled_from([float("-inf"), -9.5, 60.0, 109.5, 110.0, 110.5, 180.5, 1999.0, 2003.0, float("inf")])
values_of = {
    "text": st.sampled_from([folded(w) for w in WORDS] + ["ros", "%", "_", "'", "jazz", "ss"]),
    "key": st.sampled_from(["C major", "F minor", "Bb minor", "A# minor", "F", "C", "A#"]),
    "metre": st.sampled_from(["4/4", "3/4", "7/8"]),
    "concept": st.sampled_from(["keyboard", "electric_piano", "rhodes", "voice", "choir", "rock", "sad", "nothing"]),
}


@st.composite
def filters(draw: st.DrawFn) -> Filter:
    name = draw(st.sampled_from(sorted(FIELDS)))
    kind = FIELDS[name].kind
    common = {"field": name, "kind": kind, "text": name, "negated": draw(st.booleans())}
    if kind == "number":
        return Filter(
            **common, low=draw(bounds), high=draw(bounds), low_open=draw(st.booleans()), high_open=draw(st.booleans())
        )
    values = tuple(draw(st.lists(values_of[kind], max_size=3)))
    return Filter(**common, values=values, contains=kind == "text" and draw(st.booleans()))


@settings(max_examples=400)
@given(st.lists(filters(), max_size=4))
def test_a_brute_force_oracle_agrees(shelf: Collection, wanted: list[Filter]) -> None:
    expected = [t.id for t in TRACKS if all(passes(t, f) for f in wanted)]
    assert shelf.select(wanted).tolist() == expected


def test_of_copies_the_one_that_the_filters_chose_comes_first(shelf: Collection) -> None:
    track = next(
        t for t in TRACKS if len({tags.title for _, tags in t.files}) == 2 and all(f[1].title for f in t.files)
    )
    assert shelf.track(track.id).paths == tuple(Path(path) for path, _ in track.files)
    for path, tags in track.files:
        by_title = Filter(field="title", kind="text", text="", values=(folded(tags.title),))
        row = shelf.track(track.id, [by_title])
        assert (row.paths[0], row.tags.title, len(row.paths)) == (Path(path), tags.title, 2)
        # What holds for the track, or must not hold for any copy, chooses none.
        others = [replace(by_title, negated=True), Filter(field="duration_s", kind="number", text="", low=0.0)]
        assert shelf.track(track.id, others) == shelf.track(track.id)


def test_every_field_selects_something(shelf: Collection) -> None:
    for name, field in FIELDS.items():
        open_ended = Filter(field=name, kind=field.kind, text=name, values=(), contains=True)
        if field.kind == "number":
            assert 0 < len(shelf.select([open_ended])) <= len(TRACKS), name
        assert len(shelf.select([replace(open_ended, negated=True)])) <= len(TRACKS)


def test_mistakes_are_said(shelf: Collection) -> None:
    with pytest.raises(UnknownName, match="unknown filter field 'tempo'"):
        shelf.select([Filter(field="tempo", kind="number", text="tempo>3")])
    with pytest.raises(InputError):
        shelf.select([Filter(field="key", kind="key", text="key=H", values=("H dur",))])
    with pytest.raises(InputError, match="not a number"):
        shelf.select([Filter(field="tempo_bpm", kind="number", text="x", low=float("nan"))])


@pytest.mark.parametrize(
    "words", ["sigur", '"', "a AND", "NEAR(", "title:", "-x*", "(((", "'; DROP TABLE file; --", "日本", "ros^2"]
)
def test_text_search_takes_any_text(shelf: Collection, words: str) -> None:
    found = shelf.text_search(words, limit=5)
    assert len(found) <= 5
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)


def test_text_search_folds_case_and_accents(shelf: Collection) -> None:
    expected = {
        t.id
        for t in TRACKS
        if any(
            "sigur" in folded(v)
            for _, tags in t.files
            for v in (tags.title, tags.artist, tags.album, tags.genre, tags.comment)
        )
    }
    for words in ("sigur", "SIGUR", "ros", "Rós"):
        assert {track_id for track_id, _ in shelf.text_search(words, 100)} == expected
    assert shelf.text_search("") == shelf.text_search("!?") == []
    paths = {track_id for track_id, _ in shelf.text_search("jazz", 100)}
    assert paths == {t.id for t in TRACKS if any("Jazz" in p for p, _ in t.files)}
