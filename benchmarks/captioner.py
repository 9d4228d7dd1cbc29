"""A learned captioner beside the rules, on clips of which the truth is known.

    solfa data world WORLD --count 1000 --seed 0
    solfa train captioner --data WORLD --out RUN
    python benchmarks/captioner.py --world WORLD --captioner RUN/model --out DIR
    solfa eval captions DIR/learned.json DIR/references.json --training DIR/training.json

Captions of a split by the rules (solfa's analysis of each clip: the grammar's prose of what is surely true, and the
narration) and by the model, as files for ``solfa eval captions``; and for each kind of attribute how many true facts
are told, and how many statements are false. The model's captions are also held against the truth of the next clip:
what is as true there was not taken from the sound. Last, the model's loss with the sound of the clip and of another.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from solfa.alignment.joint import Batch
from solfa.analysis.analyze import analyze
from solfa.analysis.registry import extractors
from solfa.datagen.captions.attributes import attributes_of
from solfa.datagen.captions.checks import read
from solfa.datagen.captions.grammar import caption
from solfa.datasets.shards import Dataset
from solfa.encoders.vectors import pack_states
from solfa.language import narrate
from solfa.language.captioner.folder import LearnedCaptioner

KINDS = ("key", "tempo_bpm", "metre", "chords", "voice", "instruments", "genre", "mood")


def correctness(texts: Mapping[str, str], truths: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[int, int, int]]:
    """Of each kind: true facts that are told, facts, and false statements."""
    facts, told, false = Counter[str](), Counter[str](), Counter[str]()
    for name, text in texts.items():
        truth, found = truths[name], read(text, truths[name])
        own = [k for k in KINDS[:5] if truth.get(k) not in (None, [], "")]
        own += [f"{k}:{v}" for k in KINDS[5:] for v in truth.get(k) or ()]
        facts.update(f.partition(":")[0] for f in own)
        told.update(f.partition(":")[0] for f in own if f not in {*found.missing, *found.false})
        known = {f.partition(":")[0] for f in own}  # of what no truth is known, nothing can be false
        false.update(kind for f in found.false if (kind := f.partition(":")[0]) in known)
    return {kind: (told[kind], facts[kind], false[kind]) for kind in KINDS}


def loss_of(learned: LearnedCaptioner, sounds: list[Any], texts: list[str]) -> tuple[float, float]:
    """Loss of a token with the sound of each clip, and with that of the next."""
    assert learned.sound is not None
    found = [learned.sound.states([sound]) for sound in sounds]
    rows = [states.states_BTD[0][states.mask_BT[0]] for states in found]
    states = pack_states(rows, rows[0].shape[1], [states.pooled_BD[0] for states in found])
    given = [torch.from_numpy(x) for x in (states.pooled_BD, states.states_BTD, states.mask_BT)]
    empty: Any = [torch.zeros(1, 0)] * 6
    batch = Batch(tuple(map(str, range(len(texts)))), *given, *empty, texts=tuple(texts))
    moved = {name: getattr(batch, name).roll(1, 0) for name in ("audio_BD", "frames_BTD", "frame_mask_BT")}
    with torch.no_grad():
        made = [learned.model.eval()(one) for one in (batch, replace(batch, **moved))]
    right, other = (float(m["loss_B"].sum() / m["count_B"].sum()) for m in made)
    return right, other


def main() -> None:
    """Print tables, write files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("world", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--captioner", type=Path, help="without one the rules alone are run, and kept")
    parser.add_argument("--split", default="test")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    dataset, tools = Dataset.open(args.world), extractors()
    clips = dataset.split(args.split)
    sounds = [clips.shard_at(row).audio(clip) for row, clip in enumerate(clips)]
    truths = {clip.id: clip.attributes for clip in clips}
    texts: dict[str, dict[str, str]] = {"grammar": {}, "narration": {}}
    kept = args.out / "rules.json"  # made once
    if kept.exists():
        texts |= json.loads(kept.read_text("utf-8"))
    for clip, sound in zip(clips, sounds, strict=True):
        if clip.id not in texts["narration"]:
            analysis = analyze([sound], tools)
            known, _ = attributes_of(analysis, end_s=clip.duration_s)
            said = caption(known, seed=clip.id, style="prose") if known else ("A piece of music.",)
            texts["grammar"][clip.id] = said[0]
            texts["narration"][clip.id] = " ".join(claim.text for claim in narrate(analysis))
    kept.write_text(json.dumps({name: texts[name] for name in ("grammar", "narration")}) + "\n", "utf-8")
    if args.captioner is None:
        return
    learned = LearnedCaptioner(args.captioner)
    texts["learned"] = {c.id: learned.write(sound) or "music" for c, sound in zip(clips, sounds, strict=True)}
    names = list(truths)
    texts["learned, of the next clip"] = dict(zip(names, np.roll([texts["learned"][n] for n in names], 1), strict=True))
    print(f"{len(names)} clips of {args.split}; true facts told / facts (false statements)\n")
    print(f"| captions | {' | '.join(KINDS)} | all told | true of what is stated |\n|{'---|' * (len(KINDS) + 3)}")
    for system, said_by in texts.items():
        found = correctness(said_by, truths)
        told, facts, false = (sum(column) for column in zip(*found.values(), strict=True))
        cells = " | ".join(f"{t}/{n} ({f})" for t, n, f in found.values())
        print(f"| {system} | {cells} | {told / facts:.2f} | {told / max(1, told + false):.2f} |")
        if "," not in system:
            (args.out / f"{system}.json").write_text(json.dumps(said_by, indent=1) + "\n", "utf-8")
    references = {clip.id: list(clip.captions) for clip in clips}
    training = {clip.id: list(clip.captions) for clip in dataset.split("train")}
    for name, content in (("references", references), ("training", training)):
        (args.out / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    if learned.sound is not None:
        right, other = loss_of(learned, sounds, [clip.captions[0] for clip in clips])
        print(f"\nloss of a token: {right:.3f} with the sound of the clip, {other:.3f} with that of another")


if __name__ == "__main__":
    main()
