import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from fakes.files import write_audio
from solfa.analysis.analyze import analyze
from solfa.analysis.sections import sections
from solfa.apps.figures import draw_analysis
from solfa.apps.render import analysis_text
from solfa.core.errors import InputError
from solfa.core.types import ChordSegment, Curve, Estimate, Span, TagTrack


def test_an_analysis_is_a_picture(tmp_path: Path) -> None:
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
    draw_analysis(found, tmp_path / "again.svg", title="song")
    assert (tmp_path / "again.svg").read_bytes() == (tmp_path / "a.svg").read_bytes()
    script = (
        "import sys; from pathlib import Path; from solfa.apps.figures import curves; p = Path(sys.argv[1]);"
        "curves({'x': [(0, 1), (1, 2)]}, p / sys.argv[2], title='t', x_label='x', y_label='y', force=True)"
    )
    for name in ("first.svg", "second.svg"):  # another process, another order of hashes
        subprocess.run([sys.executable, "-c", script, str(tmp_path), name], check=True)
    assert (tmp_path / "first.svg").read_bytes() == (tmp_path / "second.svg").read_bytes()
    with pytest.raises(InputError, match="exists"):
        draw_analysis(found, tmp_path / "a.svg", title="song")


def test_sections_are_found_drawn_and_told(tmp_path: Path) -> None:
    write_audio(tmp_path / "silence.wav", np.zeros(22050 * 3, np.float32), 22050)
    silence = analyze(tmp_path / "silence.wav", [])
    assert [(s.start_s, s.end_s) for s in sections(silence)] == [(0.0, silence.duration_s)]
    loop = ["C:maj", "A:min", "F:maj", "G:maj"], ["E:min", "B:7", "D:maj", "F#:min"]
    labels = [loop[at // 16 % 2][at % 4] for at in range(48)]  # 2 s each: parts of 32 s
    song = replace(
        silence, duration_s=96.0, downbeats_s=tuple(np.arange(0.3, 96, 2)),
        chords=tuple(ChordSegment(start_s=2 * i, end_s=2 * i + 2, label=c, confidence=0.9)
                     for i, c in enumerate(labels)),
        energy=Curve(hop_s=0.5, values=(0.3,) * 128 + (0.8,) * 64),
    )  # fmt: skip
    starts = [section.start_s for section in sections(song)]
    assert len(starts) == 3 and np.allclose(starts, [0, 32.3, 64.3], atol=2.1) and sections(song)[-1].end_s == 96
    draw_analysis(song, tmp_path / "song.svg", title="song")
    assert (tmp_path / "song.svg").read_text().count("stroke-dasharray") == 6  # two boundaries in three panels
    out = io.StringIO()
    Console(file=out, width=200).print(analysis_text(song))
    assert "3, at 0:00 0:3" in out.getvalue()
