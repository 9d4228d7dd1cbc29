"""Omnizart (Wu et al., JOSS 2021): chords by a harmony transformer. MIT. Needs TensorFlow.

Its installer runs pip itself and changes other packages (madmom, setuptools); give it an environment of its own.
"""

from __future__ import annotations

import csv
from typing import Any

from solfa.analysis.extras.whole import Tool, WholeTrack, chord_segments, wav_file
from solfa.core.types import FloatArray


class OmnizartChords(WholeTrack):
    """Major and minor chords. (Omnizart's beat tracker hears MIDI files, not sound.)"""

    tool = Tool(
        name="omnizart-chords",
        module="omnizart",
        distribution="omnizart",
        install="pip install omnizart==0.6.3, in an environment of its own (its installer changes other packages)",
        licence="MIT",
        commercial_use=True,
        provides=("chords",),
    )

    def listen(self, samples: FloatArray, duration_s: float) -> dict[str, Any]:
        """The chord segments of a track; between them there is no chord."""
        app = self.package("omnizart.chord").app
        with wav_file(samples, self.sample_rate_hz) as file:
            app.transcribe(str(file), output=str(file.with_suffix(".mid")))  # writes a table beside the MIDI file
            rows = list(csv.DictReader(file.with_suffix(".csv").read_text(encoding="utf-8").splitlines()))
        return {"chords": chord_segments((row["start"], row["end"], row["chord"]) for row in rows)}
