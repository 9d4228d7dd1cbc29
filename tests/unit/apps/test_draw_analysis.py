from dataclasses import replace
from pathlib import Path

import pytest

from solfa.analysis.analyze import analyze
from solfa.apps.figures import draw_analysis
from solfa.core.errors import InputError
from solfa.core.types import ChordSegment, Estimate, Span, TagTrack
from solfa.testing.files import write_audio


def test_an_analysis_is_a_picture(tmp_path: Path) -> None:
    import numpy as np

    write_audio(tmp_path / "silence.wav", np.zeros(22050 * 3, np.float32), 22050)
    silence = analyze(tmp_path / "silence.wav", [])
    draw_analysis(silence, tmp_path / "silence.svg", title="si$l$ence")
    found = replace(
        silence, tempo_bpm=Estimate(value=90.0, confidence=1.0), key=Estimate(value="D major", confidence=1.0),
        chords=tuple(ChordSegment(start_s=a, end_s=b, label=label, confidence=1)
                     for a, b, label in ((0, 2, "D:maj"), (2, 3, "N"))),
        instruments=tuple(
            TagTrack(concept=c, kind="instrument", confidence=p, spans=(Span(start_s=0, end_s=1, confidence=p),))
            for c, p in (("piano", 0.9), ("cello", 0.1))
        ),
    )  # fmt: skip
    for name in ("a.svg", "c.png"):
        draw_analysis(found, tmp_path / name, title="song")
    drawn = (tmp_path / "a.svg").read_text()
    for part in ("song: 90.0 BPM, D major", "D:maj", "piano (0.90)"):
        assert f"<!-- {part} -->" in drawn
    assert "cello" not in drawn and "no tempo, metre or key found" in (tmp_path / "silence.svg").read_text()
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match="exists"):
        draw_analysis(found, tmp_path / "a.svg", title="song")
