"""A produced mix: amplifiers, equalisers, compressors, panned places, reverbs, echoes, a mastered stereo bus.

The processors, pedalboard's (JUCE), are in time with what comes in, so the truth of the score holds; what is audible of
each part is measured on the stem that the mix is made of.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from solfa.core.types import FloatArray, Rng
from solfa.datagen.world.effects import compress, equalise, fitted, processors, resampled, reverberation
from solfa.datagen.world.render import Stem
from solfa.datagen.world.score import table

_OVERSAMPLED, _CEILING = 4, 0.944


def mixed(stems: Sequence[Stem], rate: int, beat_s: float, rng: Rng) -> tuple[list[Stem], FloatArray, dict[str, Any]]:
    """The stems as in the mix (mono), the mix [shape=(2, N)], what was done as plain JSON; echoes follow ``beat_s``."""
    pb, settings, played, parts = processors(), table()["studio"], list[Stem](), list[dict[str, Any]]()
    bus, sent = (np.zeros((2, len(stems[0].samples)), np.float32) for _ in range(2))
    for stem in stems:
        row, concept = settings["roles"][stem.part.role], stem.part.concept
        chance, low, high = settings["drive"].get(concept, (0.0, 0.0, 0.0))
        drive_db = float(rng.uniform(low, high)) if rng.random() < chance else 0.0
        sound = _amplified(stem.samples, rate, drive_db, rng) if drive_db else stem.samples
        weight = pb.LowShelfFilter(float(rng.uniform(90, 200)), float(rng.uniform(*row["weight_db"])))
        sound = pb.Pedalboard([pb.HighpassFilter(float(rng.uniform(*row["low_cut_hz"]))), weight])(sound, rate)
        sound = equalise(sound, rate, rng) if rng.random() < 0.5 else sound
        sound = compress(sound, rate, rng) if rng.random() < row["squeezed"] else sound
        sound = _at_level(sound, _rms_db(stem.samples) + float(rng.uniform(*row["gain_db"])))
        sides, wide = [sound, sound], rng.random() < row["wide"]
        if wide:  # two unlike takes: a chorus on each side
            sides = [pb.Chorus(float(rng.uniform(0.3, 1.5)), 0.15, 10.0, 0.0, 0.5)(sound, rate) for _ in range(2)]
        pan = float(np.clip(rng.normal(0, row["spread"]), -0.9, 0.9))
        gains = np.sqrt(2) * np.cos((pan + 1) * np.pi / 4 - np.array([[0.0], [np.pi / 2]]))
        stereo = np.stack(sides) * gains.astype(np.float32)
        echo_s = beat_s * float(rng.choice([0.25, 0.5, 0.75])) if rng.random() < row["echo"] else 0.0
        if echo_s:
            sent += pb.Delay(min(echo_s, 1.5), float(rng.uniform(0, 0.4)), 1.0)(stereo, rate) * rng.uniform(0.1, 0.4)
        bus += stereo
        sent += stereo * 10 ** (rng.uniform(*row["send_db"]) / 20)
        played.append(replace(stem, samples=np.asarray(stereo.mean(axis=0), np.float32)))
        parts.append({"part": concept or stem.part.role, "pan": round(pan, 2), "wide": bool(wide),
                      "drive_db": round(drive_db, 1), "echo_s": round(echo_s, 3)})  # fmt: skip
    plate, rt60_s = bool(rng.random() < 0.35), float(np.exp(rng.uniform(np.log(0.2), np.log(3.0))))
    if plate:
        wet = pb.Reverb(min(1.0, rt60_s / 3), float(rng.uniform(0.1, 0.8)), 1.0, 0.0, 1.0)(sent, rate)
    else:
        late = np.pad(sent, [(0, 0), (round(rate * rng.uniform(0, 0.02) * rt60_s), 0)])[:, : sent.shape[1]]
        top = min(float(rng.uniform(2500, 9000)), 0.45 * rate)
        wet = pb.LowpassFilter(top)(reverberation(late, rate, rt60_s, rng), rate)
    mix = _mastered(np.asarray(bus + wet * 10 ** (rng.uniform(-12, 1) / 20), np.float32), rate, rng)
    about = {"parts": parts, "reverb": "plate" if plate else "room", "reverb_s": round(rt60_s, 2)}
    return played, mix, {**about, "level_db": round(_rms_db(mix), 1)}


def _amplified(sound: FloatArray, rate: int, drive_db: float, rng: Rng) -> FloatArray:
    # Two stages that clip unevenly, at four times the rate so that little folds back, and the band of a loudspeaker.
    pb, bias = processors(), float(rng.uniform(0.05, 0.3))
    fine = resampled(sound / (np.abs(sound).max(initial=0) + 1e-9), rate, rate * _OVERSAMPLED)
    fine = np.tanh((np.tanh(fine * 10 ** (drive_db / 20) + bias) - np.tanh(bias)) * rng.uniform(1, 2.5))
    back = fitted(resampled(np.asarray(fine, np.float32), rate * _OVERSAMPLED, rate), len(sound))
    top, low = min(float(rng.uniform(4000, 6500)), 0.45 * rate), pb.HighpassFilter(float(rng.uniform(70, 110)))
    box = [low, pb.PeakFilter(float(rng.uniform(1500, 3500)), 4.0, 0.8), pb.LowpassFilter(top), pb.LowpassFilter(top)]
    return _at_level(pb.Pedalboard(box)(back, rate), _rms_db(sound))


def _mastered(mix: FloatArray, rate: int, rng: Rng) -> FloatArray:
    # Tilted, glued, and limited to a drawn level: what the limiter takes away is given back before it.
    pb, wanted_db = processors(), float(np.clip(rng.normal(-17.5, 4), -28, -8))
    tilt_db, place = float(rng.normal(-2.0, 2)), float(rng.uniform(400, 1500))
    shelves = [pb.LowShelfFilter(place / 3, -tilt_db), pb.HighShelfFilter(min(place * 4, 0.4 * rate), tilt_db)]
    mix = pb.Pedalboard([pb.HighpassFilter(float(rng.uniform(20, 45))), *shelves])(mix, rate)
    mix = compress(mix, rate, rng) if rng.random() < 0.3 else mix
    warm = 1 + rng.uniform(0.1, 1.0) if rng.random() < 0.7 else 0.0
    for _ in range(3):
        mix = _at_level(mix, wanted_db)
        mix = np.tanh(mix * warm) / warm if warm else mix
        if np.abs(mix).max() > _CEILING:
            mix = np.asarray(pb.Limiter(-1.0, 80.0)(mix, rate) * _CEILING, np.float32)
    return np.asarray(mix, np.float32)


def _at_level(sound: FloatArray, level_db: float) -> FloatArray:
    return np.asarray(sound * 10 ** ((level_db - _rms_db(sound)) / 20), np.float32)


def _rms_db(sound: FloatArray) -> float:
    return float(20 * np.log10(np.sqrt(np.mean(sound**2)) + 1e-9))
