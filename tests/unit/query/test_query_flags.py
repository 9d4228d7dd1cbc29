"""Overrides, filters and notes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from solfa.constraints import Chords, Constraint, Duration, InKey, Metre, Presence, Tempo
from solfa.core.errors import InputError, UnknownName
from solfa.core.filters import FIELDS
from solfa.query import explain, override, parse, parse_value, parse_where, whole_text


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("110", 110, 110),
        ("105..115", 105, 115),
        ("105-115", 105, 115),
        ("~110", 105, 115),
        ("<120", 20, 120),
        (">=90", 90, 400),
        ("110 bpm", 110, 110),
        ("andante", 76, 108),
        ("slow", 40, 76),
        ("under 100 bpm", 20, 100),
    ],
)
def test_tempo_flag(text: str, low: float, high: float) -> None:
    (tempo,) = parse_value(Tempo, text)
    assert (tempo.low_bpm, tempo.high_bpm) == (low, high)


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("F", [(5, None)]),
        ("f", [(5, None)]),
        ("F#m", [(6, "minor")]),
        ("F major", [(5, "major")]),
        ("8A", [(9, "minor")]),
        ("minor", [(None, "minor")]),
        ("C major or A minor", [(0, "major"), (9, "minor")]),
        ("a", [(9, None)]),
        ("F|G", [(5, None), (7, None)]),
        ("bb minor", [(10, "minor")]),
        ("E♭", [(3, None)]),
        ("Am", [(9, "minor")]),
    ],
)
def test_key_flag(text: str, keys: list[tuple[int | None, str | None]]) -> None:
    assert [(k.tonic, k.mode) for k in parse_value(InKey, text)] == keys


@pytest.mark.parametrize(
    ("text", "metres"),
    [
        ("3/4", ("3/4",)),
        ("waltz", ("3/4",)),
        ("five", ("5/4", "5/8")),
        ("5", ("5/4", "5/8")),
        ("3/4|6/8", ("3/4", "6/8")),
    ],
)
def test_metre_flag(text: str, metres: tuple[str, ...]) -> None:
    assert tuple(m for metre in parse_value(Metre, text) for m in metre.metres) == metres


def test_chords_flag() -> None:
    assert [str(c) for c in parse_value(Chords, "Am F C G")[0].chords] == ["A:min", "F:maj", "C:maj", "G:maj"]
    assert parse_value(Chords, "I-V-vi-IV")[0].transposable
    assert [str(c) for c in parse_value(Chords, "G7")[0].chords] == ["G:7"]
    assert [str(c) for c in parse_value(Chords, "ii-V-I", [InKey(text="", tonic=5)])[0].chords] == [
        "G:min",
        "C:maj",
        "F:maj",
    ]


def test_duration_flag() -> None:
    assert parse_value(Duration, "2..4 min")[0].low_s == 120.0
    assert parse_value(Duration, "<90 s")[0].high_s == 90.0
    assert parse_value(Duration, "3:30")[0].low_s < 210 < parse_value(Duration, "3:30")[0].high_s


@pytest.mark.parametrize("kind", [Tempo, InKey, Metre, Chords, Duration])
@pytest.mark.parametrize("text", ["purple", "5000", "13/0", "H minor", "", "-", "110 purple elephants"])
def test_flags_say_what_they_expected(kind: type[Constraint], text: str) -> None:
    if kind is Duration and text == "5000":
        return
    with pytest.raises(InputError, match=r"Expected|empty"):
        parse_value(kind, text)


def test_an_override_replaces_only_its_kind() -> None:
    query = parse("solo piano, 80 bpm, in D minor, 3/4, ii-V-i, under 3 minutes")
    other = override(query, tempo="120", key="C minor", metre="4/4", duration="5 min", avoid=["drums"])
    assert [c.low_bpm for c in other.constraints if isinstance(c, Tempo)] == [120]
    assert [c.metres for c in other.constraints if isinstance(c, Metre)] == [("4/4",)]
    assert [c.high_s for c in other.constraints if isinstance(c, Duration)] == [315]
    (chords,) = (c for c in other.constraints if isinstance(c, Chords))
    assert [str(c) for c in chords.chords] == ["D:min", "G:maj", "C:min"]  # the numerals follow the new key
    assert {(c.concept, c.negated) for c in other.constraints if isinstance(c, Presence)} == {
        ("piano", False),
        ("drums", True),
    }
    assert other.negated_phrases == ("drums",)


def test_an_empty_override_drops_its_kind() -> None:
    query = override(parse("piano, 80 bpm, in D minor"), tempo="", key=" ")
    assert all(isinstance(c, Presence) for c in query.constraints)


def test_overrides_keep_alternatives_apart() -> None:
    query = override(parse("piano or guitar"), key="F or G")
    groups = {type(c).__name__: c.any_of for c in query.constraints}
    assert len(set(groups.values())) == 2 and 0 not in groups.values()


@pytest.mark.parametrize(
    ("text", "kind", "negated"),
    [
        ("tempo_bpm=90..110", "number", False),
        ("tempo_bpm>=90", "number", False),
        ("key=F major|D minor", "key", False),
        ("key!=F", "key", True),
        ("artist~zabriskie", "text", False),
        ("genre=Rock", "text", False),
        ("duration_s<120", "number", False),
        ("instrument=piano", "concept", False),
        ("instrument!=drums", "concept", True),
        ("voice=no", "concept", True),
        ("voice!=no", "concept", False),
        ("path~live", "text", False),
        ("metre=3/4", "metre", False),
        ("date=1990..1999", "number", False),
        ("album!~hits", "text", True),
        ("title = Für Elise", "text", False),
    ],
)
def test_filters(text: str, kind: str, negated: bool) -> None:
    parsed = parse_where(text)
    assert (parsed.kind, parsed.negated, parsed.text) == (kind, negated, text)


def test_filter_values_are_canonical() -> None:
    assert parse_where("key=F").values == ("F major", "F minor")
    assert parse_where("key=A# minor|8B").values == ("Bb minor", "C major")
    assert parse_where("artist~SIGUR Rós").values == ("sigur ros",)
    assert parse_where("instrument=e-piano|Rhodes").values == ("electric_piano", "rhodes")
    equal = parse_where("tempo_bpm=110")
    assert (equal.low, equal.high, equal.low_open, equal.high_open) == (109.5, 110.5, False, True)
    above = parse_where("tempo_bpm>110.5")
    assert (above.low, above.low_open) == (110.5, True)
    half = parse_where("tempo_bpm=..90")
    assert (half.low, half.high) == (float("-inf"), 90)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tempo",
        "tempo_bpm",
        "tempo_bpm=",
        "tempo_bpm=fast",
        "tempo_bpm=110..90",
        "tempo_bpm~90",
        "artist<5",
        "key=purple",
        "metre=13/0",
        "instrument=purple",
        "instrument=sad",
        "colour=red",
        "key=|",
        "artist~ ",
        "voice=no|choir",
        "x" * 2000,
        "tempo_bpm=..",
        "artist~\u0301",
    ],
)
def test_bad_filters_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_where(text)


def test_unknown_names_suggest_a_near_one() -> None:
    with pytest.raises(UnknownName, match="tempo_bpm"):
        parse_where("tempo_bmp=90")
    assert all(field.meaning for field in FIELDS.values())


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("slow piano", "'slow' read as 40-76 BPM"),
        ("Am, piano", "one chord name alone"),
        ("paino", "'paino' read as 'piano'"),
        ("8A", "A minor (Camelot wheel)"),
        ("13/0 time", "was not understood"),
        ("xyz bpm", "BPM without a number"),
        ("slow, 80 bpm", "compared as a word only"),
        ("in five", "5/4 or 5/8"),
        ("D dorian", "measured as D minor"),
        ("instrumental", "read as no vocals"),
        ("axis progression", "I-V-vi-IV"),
        ("vocals are fine", "either is accepted"),
        ("H minor", "German"),
        ("5000 bpm", "between 20 and 400"),
        ("E7#9", "nearest"),
    ],
)
def test_what_is_assumed_is_said(text: str, note: str) -> None:
    assert any(note in line for line in parse(text).notes), parse(text).notes


def test_a_comparison_takes_back_what_its_words_were_read_as() -> None:
    assert not [note for note in parse("slower than punk").notes if "40-76" in note]
    assert "'slow' read as 40-76 BPM" in parse("slow").notes


def test_a_reason_is_said_once() -> None:
    with pytest.raises(InputError, match=r"^not understood: 'H minor': H is a German note name"):
        parse_value(InKey, "H minor")


def test_the_loudness_of_a_part_is_said_to_be_unmeasured() -> None:
    assert parse("the drums are too loud").notes == ("'loud': how loud a part is by itself is compared as words only",)
    assert parse("too loud").notes == ()


@pytest.mark.parametrize(
    ("text", "flags", "said"),
    [
        ("piano in A minor", {"key": ""}, "piano"),
        ("piano in A minor", {"key": "C major"}, "piano, C major"),
        ("fast techno, 170 bpm", {"tempo": "60"}, "fast techno, 60 BPM"),
        ("slow waltz", {"chords": "Am-F"}, "slow waltz, Am-F"),
        ("piano in A minor", {"duration": "2..4 min"}, "piano in A minor, 2..4 min"),
    ],
)
def test_a_flag_changes_what_was_said_too(text: str, flags: dict[str, str], said: str) -> None:
    assert override(parse(text), **flags).text == said  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("jazz, no drums", "jazz"),
        ("jazz without saxophone and drums", "jazz"),
        ("no drums", ""),
        ("not in C major", ""),
        ("around 125 bpm", ""),
        ("waltz around 90 bpm", "waltz around 90 bpm"),
        ("sad piano, under 3 minutes", "sad piano"),
        ("in F major, Am-F-C-G", "in F major, Am-F-C-G"),
    ],
)
def test_what_a_model_of_captions_is_asked(text: str, asked: str) -> None:
    assert whole_text(parse(text)) == asked


def test_words_of_another_language_are_asked_by_their_english_names() -> None:
    query = replace(parse("traurige Klaviermusik ohne Schlagzeug"), unknown=("traurige Klaviermusik",))
    assert whole_text(query) == "sad"
    assert whole_text(replace(parse("piano, xi, relaxing taxi"), unknown=("xi",))) == "piano, relaxing taxi"


def test_a_misspelt_word_is_asked_as_it_was_read() -> None:
    assert [whole_text(parse(text)) for text in ("slow paino", "orchestrel music")] == [
        "slow piano",
        "orchestral music",
    ]


def test_what_was_read_is_not_said_to_be_unknown() -> None:
    query = replace(parse("klavier"), phrases=(), unknown=("klavier",))
    assert explain(query) == ["instrument: piano (from 'klavier')"]
    assert explain(replace(parse("piano, asdf"), unknown=("asdf",)))[-1] == "not understood: 'asdf'"
