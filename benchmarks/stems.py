"""Do stems find what they are weighed for? Rendered tracks with known grooves, chords and sounds.

    python benchmarks/stems.py [--set test] [--seed 0]    # needs: solfa data soundfonts

Four grooves x four chord sequences, sixteen tracks of 20 s; drum kit, bass, chords' instrument and soundfont change
with both, so that two tracks share one of groove, chords and sound, or none. AUC: how often a pair that shares a part
is more similar than one that shares nothing. `dev` is what the presets were set on, `test` has other chords and seeds.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Sequence

import numpy as np

from solfa.core.theory import Chord
from solfa.core.types import Audio, FloatArray
from solfa.datagen.packages import local_soundfonts
from solfa.datagen.world.render import has_preset, stem_of
from solfa.datagen.world.score import ScorePart
from solfa.encoders import listener
from solfa.encoders.registry import load_model
from solfa.encoders.windows import embed, track_vector
from solfa.relevance.stems import PARTS, PRESETS, STEMS, Masks, StemMatch, learn_weights, stem_similarity, vectors_of

RATE, SECONDS = 22_050, 20.0
# Sixteenths of a bar with a kick, a snare, a hi-hat; beats per minute.
GROOVES: tuple[tuple[Sequence[int], Sequence[int], Sequence[int], float], ...] = (
    ((0, 8), (4, 12), range(0, 16, 2), 96), ((0, 4, 8, 12), (4, 12), (2, 6, 10, 14), 124),
    ((0, 3, 10), (4, 12, 15), range(16), 90), ((0, 6, 8), (12,), (0, 3, 6, 8, 11, 14), 140),
)  # fmt: skip
CHORDS = {
    "dev": ("C:maj A:min F:maj G:maj", "E:min C:maj G:maj D:maj", "F:min Db:maj Ab:maj Eb:maj",
            "D:min G:min A:maj D:min"),
    "test": ("A:maj D:maj E:maj A:maj", "B:min G:maj A:maj F#:min", "C:min F:min G:maj C:min",
             "Bb:maj F:maj G:min Eb:maj"),
}  # fmt: skip
SOUNDS = ((0, 0, 33), (25, 24, 32), (89, 25, 38), (48, 40, 43))  # General MIDI: chords, kit, bass


def track(groove: int, chords: str, sound: int, seed: int) -> Audio:
    """One track; its tempo is within 3 % of the groove's."""
    rng, font = np.random.default_rng(seed), local_soundfonts()[sound].path
    kick, snare, hat, bpm = GROOVES[groove]
    step_s = 15 / (bpm * (1 + rng.uniform(-0.03, 0.03)))
    notes: dict[str, list[tuple[float, float, int, int]]] = {"drums": [], "bass": [], "comp": []}
    sequence = [c for name in chords.split() if (c := Chord.parse(name)) is not None]
    for bar in range(int(SECONDS / (16 * step_s)) + 1):
        at, chord = bar * 16 * step_s, sequence[bar % len(sequence)]
        for steps, pitch, loud in ((kick, 36, 110), (snare, 38, 100), (hat, 42, 70)):
            notes["drums"] += [
                (at + i * step_s, at + (i + 1) * step_s, pitch, loud + int(rng.integers(-8, 8))) for i in steps
            ]
        for i in (0, 8):
            notes["bass"].append((at + i * step_s, at + (i + 7) * step_s, 36 + chord.root, 95))
            notes["comp"] += [
                (at + i * step_s, at + (i + 7) * step_s, 55 + (p - 55) % 12, 80) for p in chord.pitch_classes
            ]
    out = np.zeros(round(SECONDS * RATE), np.float32)
    for (role, own), program in zip(notes.items(), (SOUNDS[sound][1], SOUNDS[sound][2], SOUNDS[sound][0]), strict=True):
        drums = role == "drums"
        program = program if not drums or has_preset(font, program, True) else 0
        part = ScorePart(role=role, concept="drums" if drums else "piano", program=program, drums=drums, notes=())
        samples = stem_of(own, part, font, 0.0, 0.0, len(out), RATE)
        out += 0.1 * samples / max(float(np.sqrt(np.mean(samples**2))), 1e-6)
    return Audio(out / max(1.0, float(np.abs(out).max())), RATE)


def auc(shared: Sequence[float], others: Sequence[float]) -> float:
    """How often a value of the first is above one of the second; ties count half."""
    a, b = np.array(shared)[:, None], np.array(others)[None]
    return float(np.mean((a > b) + 0.5 * (a == b)))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--set", choices=CHORDS, default="test")
    options.add_argument("--seed", type=int, default=0)
    asked = options.parse_args()
    model, backbone, names = load_model("bridge"), listener.MusicBackbone(), list(itertools.product(range(4), range(4)))
    plain, stems, seconds = list[FloatArray](), list[FloatArray](), list[float]()
    whole: dict[str, list[FloatArray]] = {"timbre": [], "harmony": [], "rhythm": []}  # of the mix, not separated
    for groove, chords in names:
        audio = track(
            groove, CHORDS[asked.set][chords], (groove + chords) % 4, [asked.seed, len(asked.set), groove, chords]
        )
        plain.append(track_vector(model.views, embed(model, [audio])))
        for side, part in zip(whole, np.split(backbone.states([audio]).pooled_BD[0], PARTS), strict=True):
            whole[side].append((part - part.mean()) / np.linalg.norm(part - part.mean()))
        begun_s = time.perf_counter()
        stems.append(vectors_of(audio, (), Masks(), backbone))
        seconds.append(time.perf_counter() - begun_s)
    pairs = list(itertools.combinations(range(16), 2))
    matches = {p: stem_similarity(stems[p[0]], stems[p[1]], dict.fromkeys(STEMS, 1.0)) for p in pairs}
    share = {
        what: [p for p in pairs if same(names[p[0]], names[p[1]])]
        for what, same in (
            ("groove", lambda a, b: a[0] == b[0]), ("chords", lambda a, b: a[1] == b[1]),
            ("sound", lambda a, b: sum(a) % 4 == sum(b) % 4),
        )
    }  # fmt: skip
    nothing = [p for p in pairs if not any(p in own for own in share.values())]
    scores = {"plain vector": {p: float(plain[p[0]] @ plain[p[1]]) for p in pairs}}
    scores |= {f"{side} of the mix": {p: float(of[p[0]] @ of[p[1]]) for p in pairs} for side, of in whole.items()}
    scores |= {"equal weights": {p: matches[p].score or 0.0 for p in pairs}}
    for name, weights in {**PRESETS, **{f"{k} alone": {k: 1.0} for k in STEMS}}.items():
        found = {p: stem_similarity(stems[p[0]], stems[p[1]], weights).score for p in pairs}
        if all(score is not None for score in found.values()):
            scores[name] = {p: score or 0.0 for p, score in found.items()}
    print(
        f"{asked.set}, seed {asked.seed}: {len(nothing)} pairs share nothing, {len(share['groove'])} each share a part"
    )
    print(f"{'AUC of pairs that share':24}", *(f"{what:>8}" for what in share))
    for name, of in scores.items():
        print(f"{name:24}", *(f"{auc([of[p] for p in own], [of[p] for p in nothing]):8.2f}" for own in share.values()))
    for what, own in share.items():
        rows: list[StemMatch] = [matches[p] for p in (*own, *nothing)]
        weights = learn_weights(rows, [True] * len(own) + [False] * len(nothing))
        print(f"weights learned from {what}:", ", ".join(f"{k} {w:.2f}" for k, w in weights.items()))
    print(f"separating and encoding 20 s: median {np.median(seconds):.1f} s")


if __name__ == "__main__":
    main()
