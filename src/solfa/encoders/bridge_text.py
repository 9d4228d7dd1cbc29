"""The text tower of the bridge: words to weights over the tagging networks' outputs.

A text is cut into short pieces. Each piece, and each of its words, is compared by MiniLM with several phrases per
output (``bridge_prompts.toml``: what people say when they mean it). The nearest outputs get the weight (a softmax),
less how near they are to musical words in general, so that an output with a vague name does not attract every text.
Names of the vocabulary that occur in the piece add the outputs that are known to detect them
(``solfa.analysis.tagging``).

Negation is not understood here: the query parser takes it out before.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np

from solfa.analysis.tagging import voters
from solfa.core.types import EncoderSpec, Features, FloatArray
from solfa.core.vocabulary import concepts, lineage
from solfa.encoders.bridge_space import DIM, axes, fit, sounds
from solfa.encoders.minilm import MiniLM
from solfa.encoders.vectors import pack

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Sharpness of the softmax over outputs, per unit of cosine.
_SHARPNESS = 15.0
# Weight of a vocabulary name relative to the words of its piece.
_NAME_WEIGHT = 0.5
# What texts mean, and how near their nearest prompt is (a cosine): queries repeat their words. One entry is 1 kB.
Meaning = tuple[FloatArray, float]
MEANINGS: dict[str, Meaning] = {}
_MOST_MEANINGS = 4096
# Cosines of the nearest prompt: of unrelated texts, and of words that surely name a tag or sound.
_FAR, _NEAR = 0.3, 0.7
# Words in a piece at most: MiniLM blurs longer ones into one meaning.
_PIECE_WORDS = 5


class BridgeText:
    """Text to vectors; frames are the pieces of the text, a piece counts by how definite it is."""

    def __init__(self, spec: EncoderSpec) -> None:
        self._spec = spec

    @property
    def spec(self) -> EncoderSpec:
        """What this encoder is."""
        return self._spec

    @property
    def tokenizer(self) -> "Tokenizer":
        """MiniLM's, which says what a token of a text is.

        Raises MissingWeights if its file is neither installed nor pulled.
        """
        return _minilm().tokenizer

    def encode(self, batch: Sequence[str]) -> Features:
        """Encode texts of any length.

        Raises MissingWeights if MiniLM is neither installed nor pulled.
        """
        if isinstance(batch, str):
            raise TypeError("encode takes a sequence of texts, got one string")
        rows = []
        cut = [pieces(text) for text in batch]
        meanings = _meanings([text_part for text in cut for piece in text for text_part in _compared(piece)])
        for text in cut:
            tags = np.stack([_piece(piece, meanings) for piece in text])
            tags = np.concatenate([tags[:, : len(axes())], tags[:, len(axes()) :] @ fit().sound_fold_SF], axis=1)
            rows.append(np.pad(tags, ((0, 0), (0, DIM - tags.shape[1]))))
        return pack(rows, DIM, [np.linalg.norm(row, axis=1).tolist() for row in rows])

    def familiarity(self, text: str) -> float:
        """How near the best known word or piece of a text is to a name of a tag or sound, 0..1.

        Words that nobody uses of music or sound count nothing: MiniLM puts them anywhere.
        """
        known = _meanings([text_part for piece in pieces(text) for text_part in _compared(piece)])
        near = [nearest for text_part, (_, nearest) in known.items() if _is_read(text_part, nearest)]
        return min(max((max(near, default=0.0) - _FAR) / (_NEAR - _FAR), 0.0), 1.0)


def _is_read(text: str, nearest: float) -> bool:
    """Whether a text names a tag or sound, or people describe sound with each of its words."""
    words = [word for word in re.findall(r"[^\W\d_]{3,}", text) if word not in _words("stop_words.txt")]
    return nearest >= _NEAR or (bool(words) and _words("words.txt").issuperset(words))


@cache
def _words(file: str) -> frozenset[str]:
    """``words.txt``: of captions of music and sound, all of MusicCaps', and AudioCaps' that occur three times."""
    return frozenset(files("solfa.encoders").joinpath(file).read_text("utf-8").split())


def pieces(text: str) -> list[str]:
    """The text cut at punctuation and joining words, and then into parts of at most five words.

    >>> pieces("Slow and sad, with a lot of very warm strings under it.")
    ['Slow', 'sad', 'a lot of very', 'warm strings under it']
    """
    clauses = re.split(r"[.,;:!?()\[\]\n/|]+|\s(?:and|with)\s|\s[-–—]+\s", f" {text} ")
    words = [clause.split() for clause in clauses if clause.split()]
    return [" ".join(part) for clause in words for part in _parts(clause)] or [""]


def _parts(words: list[str]) -> Iterator[list[str]]:
    count = -(-len(words) // _PIECE_WORDS)
    for i in range(count):
        yield words[len(words) * i // count : len(words) * (i + 1) // count]


def _piece(piece: str, meanings: Mapping[str, Meaning]) -> FloatArray:
    """Weights over the tag axes and the everyday sounds; the length says how definite the piece is."""
    total, *words = (meanings[text_part][0] for text_part in _compared(piece))
    for word in words:
        total = total + word
    for name in _names(piece):
        total = total + _NAME_WEIGHT * _known()[name]
    return total


def _compared(piece: str) -> list[str]:
    """What is compared: the piece and its words."""
    words = re.findall(r"[^\W_][\w&'-]+", piece.lower())
    return [piece.lower(), *(word for word in words if word not in _words("stop_words.txt"))]


def _meanings(texts: Sequence[str]) -> dict[str, Meaning]:
    """For each text the softmax over tags and sounds of how near their prompts are, less the mean of the tags.

    And the cosine of the nearest prompt.
    """
    known = {text: MEANINGS.get(text) for text in texts}
    new = [text for text, meaning in known.items() if meaning is None]
    found = {text: meaning for text, meaning in known.items() if meaning is not None}
    f, tags = fit(), len(axes())
    prompts, bias = np.concatenate([f.prompt_PM, f.sound_prompt_PM]), np.concatenate([f.prompt_bias_A, f.sound_bias_S])
    starts = np.flatnonzero(np.diff(np.concatenate([f.prompt_axis_P, tags + f.sound_axis_P]), prepend=-1))
    for text, vector in zip(new, _minilm().encode(new), strict=True):
        near = np.einsum("pm,m->p", prompts, vector)
        best = np.maximum.reduceat(near, starts) - bias
        weights = np.exp(_SHARPNESS * (best - best.max()))
        weights /= weights.sum()
        weights[:tags] -= weights[:tags].mean()  # nothing of a sound is below zero
        found[text] = np.asarray(weights, np.float32), float(near.max())
    if len(MEANINGS) > _MOST_MEANINGS:
        MEANINGS.clear()
    MEANINGS.update(found)
    return found


@cache
def _minilm() -> MiniLM:
    return MiniLM()


def _names(piece: str) -> list[str]:
    """Vocabulary concepts named in a piece (longest names first), each as the nearest one that a net detects."""
    found = []
    for match in _pattern().finditer(piece.lower()):
        known = [c for c in lineage(_concept_of()[match[1]]) if c in _known()]
        found += known[:1]
    return found


@cache
def _concept_of() -> dict[str, str]:
    return {name.lower(): c.id for c in reversed(concepts().values()) for name in c.names}


@cache
def _pattern() -> re.Pattern[str]:
    names = sorted(_concept_of(), key=lambda name: (-len(name), name))
    return re.compile(r"(?<!\w)(" + "|".join(map(re.escape, names)) + r")s?(?!\w)")


@cache
def _known() -> dict[str, FloatArray]:
    """Unit weights over tags and sounds for every concept that the networks find."""
    place = {axis: i for i, axis in enumerate((*axes(), *sounds()))}
    known = {}
    for concept, rows in voters().items():
        weights = np.zeros(len(place), np.float32)
        for voter in rows:
            on = [place[voter.net, name] for name in voter.labels if (voter.net, name) in place]
            weights[on] += voter.weight / max(1, len(on)) ** 0.5
        if concept in place:
            weights[:] = 0
            weights[place[concept]] = 1
        if weights.any():
            known[concept] = weights / np.float32(np.linalg.norm(weights))
    return known
