"""Analyses whose measurements over time are given."""

from dataclasses import replace

from solfa.analysis.protocol import empty
from solfa.core.types import Analysis, ChordSegment, Curve, Estimate, Span, TagTrack

SILENCE = Analysis(duration_s=3.0, **empty())
VERSE, CHORUS = ("D:min", "Bb:maj", "F:maj", "C:maj"), ("G:min", "A:maj", "G:min", "A:maj")


def tag(concept: str, *spans: tuple[float, float], sure: float = 0.95, kind: str = "instrument") -> TagTrack:
    """A concept that is measured from some seconds to others of 96."""
    found = tuple(Span(start_s=a, end_s=b, confidence=sure) for a, b in spans)
    return TagTrack(concept=concept, kind=kind, confidence=sure, share=sum(b - a for a, b in spans) / 96, spans=found)


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
        voice=TagTrack(concept="voice", kind="voice", confidence=0.02),
        instruments=(tag("piano", (0, 96)), tag("keyboard", (0, 96), sure=0.96), tag("drums", (32, 45), (48, 64)),
                     tag("hi_hat", (33, 60), sure=0.6), tag("flute", (10, 12), sure=0.2)),
        moods=(tag("calm", (0, 96), sure=0.8, kind="mood"), tag("sad", (0, 96), sure=0.6, kind="mood")),
        sounds=(tag("music", (0, 96), sure=0.99, kind="sound"),),
    )  # fmt: skip
