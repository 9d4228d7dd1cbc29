"""Which words meet which seconds: cosines of frames and tokens of one sound (the alignment map of FIGMA's figure).

A model that was trained on tokens is asked word by word; of other models a text is asked phrase by phrase, each by its
pooled vector, as they were trained. FineLAP's frame term makes such a cosine the probability that a phrase is present.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from solfa.alignment.scores import Floats, Texts, Windows, similarity
from solfa.audio import stretches
from solfa.core.errors import InputError
from solfa.core.types import FloatArray, JointModel, Span
from solfa.encoders.windows import embed

_LEAST_S = 0.05


@dataclass(frozen=True, eq=False, slots=True)
class TimedMap:
    """Values of R rows (words or phrases) in T frames of a sound.

    ``start_s_T`` is when each frame begins, ``end_s`` when the last one ends. ``values_RT`` are cosines (-1..1) or
    probabilities (0..1), as ``unit`` says: ``cosine`` or ``probability``.
    """

    rows: tuple[str, ...]
    start_s_T: FloatArray
    end_s: float
    values_RT: FloatArray
    unit: str

    def spans(self, threshold: float) -> list[tuple[Span, ...]]:
        """For each row the stretches of time whose values reach a threshold; confidence is their highest value."""
        edges = np.append(self.start_s_T, self.end_s)
        found = []
        for values in self.values_RT:
            change = np.flatnonzero(np.diff(np.concatenate([[0], values >= threshold, [0]])))
            runs = change.reshape(-1, 2).tolist()
            found.append(tuple(
                Span(start_s=float(edges[a]), end_s=float(edges[b]), confidence=float(values[a:b].max()))
                for a, b in runs if edges[b] - edges[a] >= _LEAST_S
            ))  # fmt: skip
        return found


def align(model: JointModel, path: Path | str, text: str) -> TimedMap:
    """The map of a text and a file: a row for each word, or for each phrase where the model knows no tokens.

    Raises DecodeError if the file cannot be read; InputError if there is no text, or no sound.
    """
    if not text.strip():
        raise InputError('nothing to align: give a text, such as "drums enter, then a piano".')
    windows, end_s = _windows(model, path)
    texts = Texts.of(model.text.encode([text]))
    words = word_rows(model, text, texts.tokens[0]) if "frame" in model.views.trained else []
    if words:
        cosines_TL = similarity(windows.frames_TD, texts.tokens[0])
        values = np.stack([cosines_TL[:, rows].max(axis=1) for _, rows in words])
        return TimedMap(tuple(word for word, _ in words), windows.start_s_T, end_s, values, "cosine")
    phrases = [part.strip() for part in re.split(r"[,;.]|\b(?:and|then|with)\b", text) if part.strip()] or [text]
    pooled = model.text.encode(phrases).global_BD
    return TimedMap(tuple(phrases), windows.start_s_T, end_s, similarity(windows.frames_TD, pooled).T, "cosine")


def detect(model: JointModel, path: Path | str, phrases: Sequence[str]) -> TimedMap:
    """How likely each phrase is present in each frame of a file; cosines where the model learnt no probabilities.

    Raises DecodeError if the file cannot be read; InputError if a phrase is empty, there are none, or there is no
    sound.
    """
    if not phrases or not all(phrase.strip() for phrase in phrases):
        raise InputError('nothing to detect: give phrases, such as "dog barking" "rain".')
    windows, end_s = _windows(model, path)
    values = similarity(windows.frames_TD, model.text.encode(list(phrases)).global_BD).T
    logit = model.logits.get("frame")
    if logit is not None:
        values = logit.probability(values).astype(np.float32)
    return TimedMap(tuple(phrases), windows.start_s_T, end_s, values, "cosine" if logit is None else "probability")


def _windows(model: JointModel, path: Path | str) -> tuple[Windows, float]:
    end_s = 0.0

    def timed() -> object:
        nonlocal end_s
        for audio in stretches(path):
            end_s = audio.start_s + audio.duration_s
            yield audio

    windows = embed(model, timed())  # type: ignore[arg-type]
    if not len(windows.frames_TD):
        raise InputError(f"{path} holds no sound that the model has frames for ({end_s:.2f} s). Give a longer file.")
    return windows, end_s


def word_rows(model: JointModel, text: str, tokens_LD: FloatArray) -> list[tuple[str, list[int]]]:
    """The words of a text and the token vectors of each; empty where vectors cannot be matched with tokens."""
    spans = getattr(model.text, "token_spans", lambda text, num_rows: None)(text, len(tokens_LD))
    if spans is None:
        return []
    words = [(found[0], found.start(), found.end()) for found in re.finditer(r"[^\s,;.!?]+", text)]
    rows = [(word, [i for i, (a, b) in enumerate(spans) if a < end and b > start]) for word, start, end in words]
    return [(word, own) for word, own in rows if own]


@dataclass(frozen=True, kw_only=True, slots=True)
class WordMatch:
    """Where in a window a word is nearest to the sound, and how near (cosine)."""

    word: str
    start_s: float
    end_s: float
    similarity: float


def word_matches(
    words: Sequence[tuple[str, list[int]]], tokens_LD: FloatArray, windows: Windows, window: int, end_s: float
) -> tuple[WordMatch, ...]:
    """For each word the frames of one window around the nearest that remain above half its rise over the mean."""
    first, last = windows.ranges_W2[window].tolist()
    cosines_TL = similarity(windows.frames_TD[first:last], tokens_LD)
    edges: Floats = np.append(windows.start_s_T[first:last], end_s).astype(np.float64)
    found = []
    for word, rows in words:
        values = cosines_TL[:, rows].max(axis=1)
        best = int(values.argmax())
        near = values >= (values[best] + values.mean()) / 2
        below = np.flatnonzero(~near)
        start = int(below[below < best].max(initial=-1)) + 1
        end = int(below[below > best].min(initial=len(values)))
        match = WordMatch(
            word=word, start_s=round(float(edges[start]), 3), end_s=round(float(edges[end]), 3),
            similarity=round(float(values[best]), 4),
        )  # fmt: skip
        found.append(match)
    return tuple(found)
