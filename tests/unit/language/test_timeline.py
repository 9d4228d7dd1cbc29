from dataclasses import replace

import pytest
from given_music import SILENCE, VERSE, song

from solfa.language import timeline


def test_parts_tell_what_repeats_and_what_changes() -> None:
    found = timeline(song())
    assert [p.label for p in found.parts] == ["A", "B", "A"]
    assert [p.start_s for p in found.parts] == pytest.approx([0, 32, 64], abs=2)
    assert [p.present for p in found.parts] == [("piano",), ("drums", "piano"), ("piano",)]  # once for each source
    assert [p.entering for p in found.parts] == [(), ("drums",), ()] and found.parts[2].leaving == ("drums",)
    assert [p.loudness for p in found.parts] == [None, "louder", "softer"]
    assert found.parts[0].chords == VERSE and found.parts[1].chords == ("G:min", "A:maj")
    assert {p.key for p in found.parts} == {"D minor"}  # A major is its dominant


def test_entries_join_short_rests_and_leave_out_what_is_not_present() -> None:
    by_concept = {e.concept: e for e in timeline(song()).entries}
    assert by_concept.keys() == {"piano", "keyboard", "drums", "hi_hat"}
    assert (by_concept["drums"].start_s, by_concept["drums"].end_s) == (32, 64)
    assert by_concept["hi_hat"].confidence == 0.6


def test_a_part_in_another_key_has_it() -> None:
    given = song()
    chords = [("E:maj", "A:maj", "B:maj")[i % 3] if 16 <= i < 32 else VERSE[i % 4] for i in range(48)]
    other = replace(given, chords=tuple(replace(c, label=n) for c, n in zip(given.chords, chords, strict=True)))
    keys = [p.key for p in timeline(other).parts]
    assert keys[0] == keys[-1] == "D minor" and "E major" in keys


@pytest.mark.parametrize("duration_s", [0.0, 0.4, 1.0, 36_000.0])
def test_nothing_measured_is_one_part_without_entries(duration_s: float) -> None:
    found = timeline(replace(SILENCE, duration_s=duration_s))
    assert [(p.start_s, p.end_s, p.label) for p in found.parts] == [(0.0, duration_s, "A")]
    assert found.entries == () and found.parts[0].present == found.parts[0].chords == ()


def test_parts_of_a_given_length_end_with_what_is_left() -> None:
    assert [(p.start_s, p.end_s, p.label) for p in timeline(replace(SILENCE, duration_s=25.0), every_s=10).parts] == [
        (0, 10, ""), (10, 20, ""), (20, 25, ""),
    ]  # fmt: skip
    for duration_s, every_s, ends_s in ((30.007, 10, 30.007), (5.0, 1, 5.0), (0.4, 10, 0.4), (31.5, 10, 31.5)):
        parts = timeline(replace(SILENCE, duration_s=duration_s), every_s=every_s).parts
        assert parts[-1].end_s == ends_s and parts[-1].end_s - parts[-1].start_s >= min(1.0, duration_s)
    drums = [p.entering + p.leaving for p in timeline(song(), every_s=16).parts]
    assert drums == [(), (), ("drums",), (), ("drums",), ()]
