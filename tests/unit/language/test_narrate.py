import re
from dataclasses import replace
from pathlib import Path

import pytest
from given_music import SILENCE, song, tag

from solfa.core.errors import InputError
from solfa.core.files import table_of
from solfa.core.types import Analysis, ChordSegment, Estimate
from solfa.language import narrate, subtitles

GERMAN = Path(__file__).with_name("phrases_de.toml")


def paragraph(analysis: Analysis, language: str = "en") -> str:
    return " ".join(c.text for c in narrate(analysis, language=language))


def test_a_paragraph_tells_the_form_in_time() -> None:
    assert paragraph(song()) == (
        "It lasts 1:36. The mood is perhaps calm and sad. The tempo is slow, at 70 BPM. The metre is probably 4/4. "
        "The key is D minor. It is probably gentle. It is instrumental. It begins with a piano alone. "
        "The chords are Dm, Bb, F and C. At 0:32 drums enter. It gets louder. The chords are Gm and A. "
        "At 1:04 the drums drop out. It gets softer. "
        "It is much as at 0:00. It ends much as it began."
    )


def test_each_claim_says_what_it_rests_on() -> None:
    claims = narrate(song())
    (drums,) = (c for c in claims if c.field == "entering")
    assert (drums.value, drums.certainty, drums.confidence) == ("drums", "surely", 0.95)
    assert drums.start_s == 32 and drums.end_s == pytest.approx(64, abs=2) and drums.maker == "measured"
    (tempo,) = (c for c in claims if c.field == "tempo_bpm")
    assert (tempo.value, tempo.start_s, tempo.end_s, tempo.part) == (70.0, 0.0, 96.0, None)
    for claim in claims:  # each is in words as sure as it is
        assert (claim.certainty in claim.text) == (claim.certainty != "surely") or claim.field in ("label", "leaving")


def test_sections_tell_what_plays_in_each() -> None:
    told = [" ".join(c.text for c in narrate(song(), sections=True) if c.part == n) for n in range(3)]
    assert told == [
        "With a piano alone. The chords are Dm, Bb, F and C.",
        "Drums enter. It gets louder. With drums and a piano. The chords are Gm and A.",
        "The drums drop out. It gets softer. With a piano alone. The chords are Dm, Bb, F and C.",
    ]
    every = narrate(song(), every_s=10)
    assert [c.part for c in every if c.field == "instruments"] == [*range(10)]
    assert [c.text for c in every if c.field == "entering"] == ["At 0:32 drums enter."]


@pytest.mark.parametrize(("concept", "kind", "alone"), [
    ("piano", "instrument", True), ("choir", "voice", True), ("drums", "instrument", False),
    ("female_voice", "voice", False), ("percussion", "instrument", False),
])  # fmt: skip
def test_what_plays_no_chords_is_not_alone_where_chords_are_told(concept: str, kind: str, alone: bool) -> None:
    given = replace(song(), instruments=(tag(concept, (0, 96), kind=kind),))
    assert (" alone." in paragraph(given)) == alone and "The chords are Dm" in paragraph(given)
    assert " alone." in paragraph(replace(given, chords=()))


@pytest.mark.parametrize(
    ("analysis", "said"),
    [
        (SILENCE, "It lasts 0:03. There is no sound in it."),
        (replace(SILENCE, duration_s=36_000.0), "It lasts 10:00:00. There is no sound in it."),
        (
            replace(SILENCE, duration_s=1.0, loudness_lufs=Estimate(value=-20.0, confidence=1.0)),
            "It lasts 0:01. No clear tempo was found. No clear metre was found. No clear key was found. "
            "No instrument is clear.",
        ),
        (
            replace(SILENCE, loudness_lufs=Estimate(value=-20.0, confidence=1.0), sounds=(
                tag("rain", (0, 3), sure=0.8, kind="sound"), tag("music", sure=0.02, kind="sound"))),
            "It lasts 0:03. No music was found in it. What sounds is probably rain.",
        ),
    ],
)  # fmt: skip
def test_what_was_not_measured_is_said(analysis: Analysis, said: str) -> None:
    assert paragraph(analysis) == said


def test_ten_hours_are_told_by_their_clearest_parts_in_little_time_and_memory() -> None:
    one = song()
    chords = tuple(
        replace(c, start_s=c.start_s + 96 * n, end_s=c.end_s + 96 * n) for n in range(375) for c in one.chords
    )
    energy = replace(one.energy, values=one.energy.values * 375)
    drums = tag("drums", *((96 * n + 32, 96 * n + 64) for n in range(375)))
    long = replace(one, duration_s=36_000.0, chords=chords, energy=energy, instruments=(drums,), downbeats_s=())
    said = paragraph(long)
    assert len(said) < 2500 and re.search(
        r"It has \d{3,4} parts; these are the 10 with the clearest beginnings\.", said
    )
    assert len([c for c in narrate(long, every_s=10) if c.field == "instruments"]) == 3600


def test_another_language_is_a_file() -> None:
    assert paragraph(song(), str(GERMAN)) == (
        "Es dauert 1:36. Die Stimmung ist vielleicht ruhig und traurig. Das Tempo ist langsam, 70 BPM. "
        "Die Taktart ist wahrscheinlich 4/4. Die Tonart ist D-Moll. Es ist wahrscheinlich leise. Es ist instrumental. "
        "Am Anfang Klavier allein. "
        "Die Akkorde sind Dm, Bb, F und C. Bei 0:32 Einsatz: Schlagzeug. Lauter. Die Akkorde sind Gm und A. "
        "Bei 1:04 verstummt: Schlagzeug. Leiser. Die Musik von 0:00 kehrt wieder. Es endet, wie es begann."
    )


@pytest.mark.parametrize(
    ("old", "new", "wrong"),
    [
        ('lasts = "Es dauert {time}."', "", "lacks 'lasts'"),
        ("{time}", "{time.__class__}", "lasts"),
        ("{time}", "{time:>999999999}", "lasts"),
        ("Es dauert {time}.", "{", "lasts"),
        ('lasts = "Es dauert {time}."', "lasts = 3", "lasts"),
        ("Es dauert", r"Es\ndauert", "lasts"),
        ('louder = ["Bei {time} lauter.", "Lauter."]', 'louder = ["Lauter."]', "louder"),
        ("[certainty]", "[certainty", "certainty|Expected"),
        ('["Klavier", "Klavier"]', '["Klavier"]', "piano"),
    ],
)
def test_a_table_that_is_none_is_refused(old: str, new: str, wrong: str, tmp_path: Path) -> None:
    text = GERMAN.read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "bad.toml").write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(InputError, match=f"not a table of phrases.*({wrong}).*phrases_en.toml"):
        narrate(song(), language=str(tmp_path / "bad.toml"))
    with pytest.raises(InputError, match=r"no_such\.toml is not a table"):
        narrate(song(), language="no_such.toml")


def test_the_english_table_has_names_that_are_in_the_vocabulary() -> None:
    from solfa.core.vocabulary import concepts

    table = table_of("solfa.language", "phrases_en.toml")
    assert {*table["name"], *table["many"]["names"]} <= concepts().keys()


def test_subtitles_are_well_formed() -> None:
    claims = narrate(song(), every_s=40)
    assert subtitles(claims, "srt").startswith(
        "1\n00:00:00,000 --> 00:00:40,000\nWith a piano.\nThe chords are Dm, Bb, F, C, Gm and A.\n\n"
        "2\n00:00:40,000 --> 00:01:20,000\n"
    )
    assert subtitles(claims, "vtt").startswith("WEBVTT\n\n00:00:00.000 --> 00:00:40.000\nWith a piano.\n")
    lines = subtitles(claims, "lrc").splitlines()
    assert [line[:10] for line in lines] == ["[00:00.00]", "[00:40.00]", "[01:20.00]"]
    assert subtitles(narrate(SILENCE, sections=True), "srt") == (
        "1\n00:00:00,000 --> 00:00:03,000\nIt lasts 0:03.\nThere is no sound in it.\n"
    )
    with pytest.raises(InputError, match="no such format of subtitles: 'ass'"):
        subtitles(claims, "ass")
    hostile = [replace(c, text="a --> b <i>&\n\n2\r\n[00:01.00]\x1b[31m\u2028c") for c in claims]
    for form in ("srt", "vtt"):
        text = subtitles(hostile, form)
        assert text.count("-->") == 3 and text.count("\n\n") == (3 if form == "vtt" else 2)
        assert "\x1b" not in text and "\u2028" not in text and "\r" not in text
    assert [re.findall(r"\[[^\]]*\]", line) for line in subtitles(hostile, "lrc").splitlines()] == [
        ["[00:00.00]"], ["[00:40.00]"], ["[01:20.00]"]]  # fmt: skip


def test_chords_are_spelled_as_in_their_key_and_moods_do_not_contradict_each_other() -> None:
    one = song()
    chords = tuple(replace(c, label="Ab:maj" if i % 2 else "G#:min") for i, c in enumerate(one.chords))
    moods = tuple(tag(m, (0, 96), sure=p, kind="mood") for m, p in (("calm", 0.9), ("exciting", 0.8), ("dark", 0.6)))
    said = paragraph(replace(one, chords=chords, moods=moods, key=Estimate(value="C# minor", confidence=0.9)))
    assert "The chords are G#m and G#." in said and "The mood is perhaps calm and dark." in said


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("D major", {"C#m", "C#", "F#", "G#"}),
        ("Ab major", {"Dbm", "Db", "Gb", "Ab"}),
        (None, {"Dbm", "Db", "Gb", "Ab"}),
    ],
)
def test_chords_have_one_spelling_where_no_key_is_clear(key: str | None, expected: set[str]) -> None:
    labels = ["C#:min", "Db:maj", "F#:maj", "Ab:maj"] * 8
    chords = tuple(ChordSegment(start_s=i * 4.0, end_s=i * 4.0 + 4, label=label, confidence=0.9)
                   for i, label in enumerate(labels))  # fmt: skip
    unsure = replace(song(), chords=chords, key=Estimate(value=key, confidence=0.3 if key else 0.0))
    told = " ".join(c.text for c in narrate(unsure, sections=True) if c.field == "chords")
    assert {*re.findall(r"[A-G](?:#|b)?m?(?=[ ,.])", told)} == expected
