"""Whether a caption can be trusted: signs of failure, and how near to the sound it is in the space of a model."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from solfa.alignment.scores import Texts
from solfa.audio import stretches
from solfa.core.claims import claimed_key, claimed_triads, find_claims
from solfa.core.filters import PRESENT
from solfa.core.text import is_latin
from solfa.core.theory import Chord
from solfa.core.types import Analysis, FloatArray, JointModel
from solfa.encoders.windows import embed, text_candidates, track_vector

_SAME_TEMPO = 0.04  # of it; half and double tempo count as the same


def caption_faults(caption: str, analysis: Analysis, sections: Sequence[str] = ()) -> tuple[str, ...]:
    """What is wrong with a caption, each a few words; none if nothing was found.

    Letters of another script than Latin, fewer than two sentences, a section that is missing, and claims of chords, key
    and tempo that the measurements contradict (a key and a tempo that are not sure contradict nothing).
    """
    sentences = [part for part in re.split(r"(?<=[.!?])\s+|\n+", caption) if len(part.split()) > 2]
    named = re.sub(r"[*#_]", "", caption).casefold()
    faults = [] if is_latin(caption) else ["script: letters that are not Latin"]
    faults += [f"length: {len(sentences)} sentences, expected 2 or more"] if len(sentences) < 2 else []
    faults += [f"sections: no {name!r}" for name in sections if f"{name.casefold()}:" not in named]
    triads = {(chord.root, chord.triad) for c in analysis.chords if (chord := Chord.parse(c.label)) is not None}
    tempo, key = analysis.tempo_bpm, analysis.key
    for claim in (claim for sentence in sentences for claim in find_claims(sentence).values()):
        if claim.kind == "chords" and triads and not triads.issuperset(claimed_triads(claim.value)):
            faults.append(f"chords: {claim.value:.80} not measured")
        elif claim.kind == "key" and key.value and key.confidence >= PRESENT:
            wrong = str(claimed_key(claim.value)) != key.value
            faults += [f"key: {claim.value}, measured {key.value}"] if wrong else []
        elif claim.kind == "bpm" and tempo.value and tempo.confidence >= PRESENT:
            wrong = all(abs(float(claim.value) / (tempo.value * k) - 1) > _SAME_TEMPO for k in (0.5, 1.0, 2.0))
            faults += [f"tempo: {claim.value} BPM, measured {tempo.value:.0f}"] if wrong else []
    return tuple(dict.fromkeys(faults))


@dataclass(frozen=True, eq=False, slots=True)
class SoundCheck:
    """Holds captions against sound in the space of a model; ``others_XD`` are unit vectors of texts on other music."""

    model: JointModel
    others_XD: FloatArray

    def vector(self, file: Path) -> FloatArray:
        """The one vector of a file's sound [shape=(D,)]."""
        return track_vector(self.model.views, embed(self.model, stretches(file)))

    def cosines(self, track_D: FloatArray, caption: str, summary: str) -> dict[str, float]:
        """Cosines -1..1 of caption and track, summary and track, caption and summary.

        ``least`` is what the first must reach: the mean of the other texts and this track, and two standard deviations.
        """
        texts = Texts.of(self.model.text.encode([caption, summary]))
        said_D, short_D = text_candidates(self.model.views, texts)
        others_X = self.others_XD @ track_D
        found = {"caption-track": said_D @ track_D, "least": others_X.mean() + 2 * others_X.std(),
                 "summary-track": short_D @ track_D, "caption-summary": said_D @ short_D}  # fmt: skip
        return {name: round(float(value), 4) for name, value in found.items()}
