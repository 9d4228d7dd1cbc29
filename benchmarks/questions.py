"""Questions about a track whose truth is planted: share of right answers, for each set of phrasings.

    python benchmarks/questions.py [SET ...] [--wrong]
    python benchmarks/questions.py --clips WORLD/clips.jsonl [--split test] [--seed 0]

The sets are in questions.toml. Measured is how questions are read and answered, not the analysis of sound:
the analysis is written by hand, with every confidence as it would be of a clear recording. ``--wrong`` prints the
answers that are not right. ``--clips`` makes multiple-choice questions from the exact truth of clips that
benchmarks/caption_truth.py rendered and analyzed; the rules answer them as in `solfa eval qa`.
"""

from __future__ import annotations

import argparse
import json
import re
import tomllib
from pathlib import Path

from solfa.analysis.document import from_json
from solfa.analysis.protocol import empty
from solfa.apps.reporting import show
from solfa.core.clip import Clip
from solfa.core.types import Analysis, ChordSegment, Curve, Estimate, Span, TagTrack
from solfa.evaluation.multiple_choice import Item, evaluate, make_items
from solfa.evaluation.significance import interval
from solfa.language.questions import ask, choose

LOOP = ("D:min", "Bb:maj", "F:maj", "C:maj")
DURATION_S, BAR_S, BPM = 200.0, 240.0 / 92.0, 92.0


def tag(concept: str, kind: str, sure: float, *spans: tuple[float, float]) -> TagTrack:
    share = sum(end_s - start_s for start_s, end_s in spans) / DURATION_S
    found = tuple(Span(start_s=a, end_s=b, confidence=sure) for a, b in spans)
    return TagTrack(concept=concept, kind=kind, confidence=sure, share=share, spans=found)


def planted() -> Analysis:
    """A song of 3:20: piano throughout, drums 0:42 to 3:00, a woman sings 1:00 to 2:30, strings from 2:00."""
    bars = int(DURATION_S / BAR_S)
    energy = (0.3,) * 42 + (0.55,) * 78 + (0.9,) * 30 + (0.3,) * 50
    absent = ("guitar", "saxophone", "flute", "violin", "organ", "trumpet", "synthesizer", "bass", "cello", "accordion")
    return Analysis(**{
        **empty(), "duration_s": DURATION_S,
        "key": Estimate(value="D minor", confidence=0.94), "metre": Estimate(value="4/4", confidence=0.92),
        "tempo_bpm": Estimate(value=BPM, confidence=0.96, unit="BPM"),
        "loudness_lufs": Estimate(value=-16.0, confidence=1.0, unit="LUFS"),
        "beats_s": tuple(round(i * 60 / BPM, 3) for i in range(int(DURATION_S * BPM / 60))),
        "downbeats_s": tuple(round(i * BAR_S, 3) for i in range(bars)),
        "chords": tuple(ChordSegment(start_s=i * BAR_S, end_s=(i + 1) * BAR_S, label=LOOP[i % 4], confidence=0.9)
                        for i in range(bars)),
        "energy": Curve(hop_s=1.0, values=energy), "voice": tag("voice", "voice", 0.97, (60, 150)),
        "instruments": (tag("piano", "instrument", 0.96, (0, 200)), tag("drums", "instrument", 0.95, (42, 180)),
                        tag("strings", "instrument", 0.92, (120, 200)), tag("female_voice", "voice", 0.95, (60, 150)),
                        tag("male_voice", "voice", 0.03), tag("choir", "voice", 0.02),
                        *(tag(name, "instrument", 0.03) for name in absent)),
        "genres": (tag("jazz", "genre", 0.86, (0, 200)), tag("rock", "genre", 0.03), tag("electronic", "genre", 0.02)),
        "moods": (tag("sad", "mood", 0.84, (0, 200)), tag("calm", "mood", 0.6, (0, 200)), tag("happy", "mood", 0.04),
                  tag("angry", "mood", 0.02)),
    })  # fmt: skip


def by_choice(file: Path, split: str, seed: int) -> None:
    """Multiple choice on clips with exact truth, by the rules of ask."""
    rows = [row for row in map(json.loads, file.open(encoding="utf-8")) if row["split"] == split]
    analyses = {row["id"]: from_json(row["analysis"]) for row in rows}
    clips = [Clip(id=row["id"], audio=Path(row["id"]), duration_s=10.0, source="world", licence="CC0",
                  attributes=row["truth"]) for row in rows]  # fmt: skip
    items = tuple(make_items(clips, dataset="world", seed=seed))

    def rules(item: Item, sound: Item | None) -> int | None:
        return choose(None if sound is None else analyses[sound.audio_path], item.question, item.answers)

    report = evaluate(items, rules, model="rules", data=file.parent.name, seed=seed)
    show([report])
    print(report.num_queries, "questions;", report.details["chosen"])


def main() -> None:
    sets = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=list(sets), metavar="SET", help=", ".join(sets))
    parser.add_argument("--wrong", action="store_true")
    parser.add_argument("--clips", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--seed", type=int, default=0)
    args, analysis = parser.parse_args(), planted()
    if args.clips:
        by_choice(args.clips, args.split, args.seed)
        return
    for name in args.sets:
        right = []
        for question, wanted in sets[name].items():
            answer = ask(analysis, question)
            right.append(bool(re.search(wanted, answer.text)))
            if args.wrong and not right[-1]:
                print(f"  {question}\n    wanted {wanted}, got: {answer.text}")
        i = interval(right)
        print(f"{name}: {sum(right)} of {len(right)} right, {i.value:.3f} [{i.low:.3f}, {i.high:.3f}]")


if __name__ == "__main__":
    main()
