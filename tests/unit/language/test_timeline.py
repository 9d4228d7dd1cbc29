from dataclasses import replace

import pytest

from solfa.analysis.protocol import empty
from solfa.core.types import Analysis, ChordSegment, Curve, Estimate, Span, TagTrack
from solfa.language import timeline

SILENCE = Analysis(duration_s=3.0, **empty())
VERSE, CHORUS = ("D:min", "Bb:maj", "F:maj", "C:maj"), ("G:min", "A:maj", "G:min", "A:maj")


def tag(concept: str, *spans: tuple[float, float], sure: float = 0.95, duration_s: float = 96.0) -> TagTrack:
    """An instrument that is measured from some seconds to others."""
    share = sum(b - a for a, b in spans) / duration_s
    return TagTrack(concept=concept, kind="instrument", confidence=sure, share=share,
                    spans=tuple(Span(start_s=a, end_s=b, confidence=sure) for a, b in spans))  # fmt: skip


@pytest.fixture
def song() -> Analysis:
    """Piano alone for 32 s; other chords with drums, louder; as it began."""
    labels = [(VERSE, CHORUS, VERSE)[i // 16][i % 4] for i in range(48)]
    return replace(
        SILENCE, duration_s=96.0, key=Estimate(value="D minor", confidence=0.9),
        tempo_bpm=Estimate(value=70.0, confidence=0.95), metre=Estimate(value="4/4", confidence=0.8),
        loudness_lufs=Estimate(value=-16.0, confidence=1.0), downbeats_s=tuple(2.0 * i for i in range(48)),
        chords=tuple(ChordSegment(start_s=2.0 * i, end_s=2.0 * i + 2, label=c, confidence=0.9)
                     for i, c in enumerate(labels)),
        energy=Curve(hop_s=1.0, values=(0.4,) * 32 + (0.7,) * 32 + (0.4,) * 32),
        instruments=(tag("piano", (0, 96)), tag("keyboard", (0, 96), sure=0.96), tag("drums", (32, 45), (48, 64)),
                     tag("hi_hat", (33, 60), sure=0.6), tag("flute", (10, 12), sure=0.2)),
    )  # fmt: skip


def test_parts_tell_what_repeats_and_what_changes(song: Analysis) -> None:
    found = timeline(song)
    assert [p.label for p in found.parts] == ["A", "B", "A"]
    assert [p.start_s for p in found.parts] == pytest.approx([0, 32, 64], abs=2)
    assert [p.present for p in found.parts] == [("piano",), ("drums", "piano"), ("piano",)]  # once for each source
    assert [p.entering for p in found.parts] == [(), ("drums",), ()] and found.parts[2].leaving == ("drums",)
    assert [p.loudness for p in found.parts] == [None, "louder", "softer"]
    assert found.parts[0].chords == VERSE and found.parts[1].chords == ("G:min", "A:maj")
    assert {p.key for p in found.parts} == {"D minor"}  # A major is its dominant


def test_entries_join_short_rests_and_leave_out_what_is_not_present(song: Analysis) -> None:
    by_concept = {e.concept: e for e in timeline(song).entries}
    assert by_concept.keys() == {"piano", "keyboard", "drums", "hi_hat"}
    assert (by_concept["drums"].start_s, by_concept["drums"].end_s) == (32, 64)
    assert by_concept["hi_hat"].confidence == 0.6


def test_a_part_in_another_key_has_it(song: Analysis) -> None:
    chords = [("E:maj", "A:maj", "B:maj")[i % 3] if 16 <= i < 32 else VERSE[i % 4] for i in range(48)]
    other = replace(song, chords=tuple(replace(c, label=n) for c, n in zip(song.chords, chords, strict=True)))
    keys = [p.key for p in timeline(other).parts]
    assert keys[0] == keys[-1] == "D minor" and "E major" in keys


@pytest.mark.parametrize("duration_s", [0.0, 0.4, 1.0, 36_000.0])
def test_nothing_measured_is_one_part_without_entries(duration_s: float) -> None:
    found = timeline(replace(SILENCE, duration_s=duration_s))
    assert [(p.start_s, p.end_s, p.label) for p in found.parts] == [(0.0, duration_s, "A")]
    assert found.entries == () and found.parts[0].present == found.parts[0].chords == ()
