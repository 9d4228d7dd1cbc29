"""How well voices are told from instruments and from each other, on sound whose voices are known.

``python benchmarks/voices.py --soundfont FILE [--soundfont FILE...]``: choirs of General MIDI in songs of up to four
instruments, against songs without; and synthetic speech (``espeak-ng``, voices for women and men) over songs, against
the songs alone. With ``--world FOLDER`` sung parts in full arrangements too: clips of ``solfa data world FOLDER
--singing 0.4`` (synthetic singers), against those without. Prints the area under the curve by concept, the median
confidence with and without, and what share passes 0.5.
"""

from __future__ import annotations

import argparse
import io
import subprocess
from pathlib import Path

import numpy as np
import soundfile

import gm
from solfa.analysis.tagging import voters
from solfa.audio import at_rate
from solfa.core.clip import SPLITS
from solfa.core.types import Audio
from solfa.datasets.shards import Dataset
from tags import auc, observed, shipped
from tags_fit import Array
from tags_truth import row

NAMES = tuple(voters())
_VOICES = {"female_voice": ("en-us+f3", "en-gb+f4", "en-us+f2"), "male_voice": ("en-us", "en-gb", "en-us+m3")}
_TEXT = (
    "Good evening and welcome back to the programme where we talk about everything that happened today in the city. "
    "The quick brown fox jumps over the lazy dog while the old man watches from his window and smiles. "
    "Please remember to take all your belongings with you when you leave the train at the next station."
)


def speech(beds: list[Audio]) -> list[tuple[Audio, Array]]:
    """Spoken text over every bed, at 0 and -6 dB in turn, by women's and men's voices in turn."""
    clips = []
    for i, bed in enumerate(beds):
        kind = ("female_voice", "male_voice")[i % 2]
        command = ["espeak-ng", "-v", _VOICES[kind][i // 2 % 3], "-s", "150", "--stdout", _TEXT]
        wav = subprocess.run(command, check=True, capture_output=True).stdout
        samples, rate = soundfile.read(io.BytesIO(wav), dtype="float32")
        said = at_rate(Audio(samples, rate), gm.RATE_HZ).samples[: len(bed.samples)]
        gain = np.sqrt(np.mean(bed.samples**2) / np.mean(said**2)) * (1.0, 0.5)[i // 2 % 2]
        mixed = bed.samples[: len(said)] + np.float32(gain) * said
        facts = {"speech": True, kind: True, ("male_voice", "female_voice")[i % 2]: False}
        clips.append((Audio(mixed / max(1.0, float(np.abs(mixed).max())), gm.RATE_HZ), row(facts)))
    return clips


def sung_clips(folder: Path) -> list[tuple[Audio, Array]]:
    """Clips of a music world with singers, and without (of those with a sampled choir nothing is said)."""
    data, clips = Dataset.open(folder), []
    for record in (r for split in SPLITS for r in data.split(split)):
        genders = {singer["gender"] for singer in record.attributes["world"]["singers"]}
        apart = {f"{kind}_voice": kind in genders for kind in ("female", "male")} if len(genders) == 1 else {}
        if genders or record.attributes.get("voice") is False:
            clips.append((data.audio(record), row({"voice": bool(genders), **apart})))
    return clips


def table(title: str, confidence: Array, truth: Array, names: tuple[str, ...]) -> None:
    """Print a row a concept."""
    print(f"\n{title}\n| concept | AUC | median with | median without | over 0.5 with | without |")
    print("|---|---|---|---|---|---|")
    for name in names:
        i = NAMES.index(name)
        known = ~np.isnan(truth[:, i])
        score, right = confidence[known, i], truth[known, i] == 1
        cells = [auc(right, score), *(np.median(score[k]) for k in (right, ~right))]
        cells += [(score[k] >= 0.5).mean() for k in (right, ~right)]
        print(f"| {name} | " + " | ".join(f"{c:.2f}" for c in cells) + " |")


def main() -> None:
    """Report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--soundfont", type=Path, action="append", default=[])
    parser.add_argument("--world", type=Path)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--seed", type=int, default=200)
    arguments = parser.parse_args()
    for i, soundfont in enumerate(arguments.soundfont):
        sung = gm.mixes(soundfont, arguments.count, arguments.seed + i, lead="choir")
        plain = [c for c in gm.mixes(soundfont, arguments.count, arguments.seed + i + 50) if "choir" not in c.concepts]
        choirs = observed((c.audio, row({"choir": "choir" in c.concepts})) for c in [*sung, *plain])
        table(f"{soundfont.stem}: choirs", shipped(choirs), choirs.truth, ("choir",))
        bare = row({"speech": False, "rapping": False, "choir": False})
        spoken = observed([*speech([c.audio for c in plain]), *((c.audio, bare) for c in plain)])
        table(f"{soundfont.stem}: speech", shipped(spoken), spoken.truth, ("speech", "female_voice", "male_voice"))
    if arguments.world:
        singing = observed(sung_clips(arguments.world))
        table(
            f"{arguments.world.name}: singing", shipped(singing), singing.truth, ("voice", "female_voice", "male_voice")
        )


if __name__ == "__main__":
    main()
