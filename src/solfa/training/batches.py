"""Batches of cached states as tensors: captions, sampled phrases, frame labels. Needs torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from solfa.core.errors import InputError
from solfa.core.types import Audio, Backbone, EncoderSpec
from solfa.data.features import FeatureBatch, FrozenFeatures, compute
from solfa.data.loading import IntArray
from solfa.data.scenes.bank import PhraseBank, frame_labels, sample_phrases
from solfa.data.scenes.pipeline import bank_of
from solfa.data.shards import Dataset
from solfa.models.joint import Batch

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Widths:
    """How wide the states of both bodies are: of the pooled vector (``whole``) and of the sequence (``rows``)."""

    audio_whole: int
    audio_rows: int
    text_whole: int
    text_rows: int


class PairSource:
    """Batches of clips and captions, with ``num_phrases`` phrases for each clip that has timed ones; for a ``Loader``.

    Parameters
    ----------
    features
        of one split
    bank
        what phrases are drawn from; None where the data has none
    num_phrases
        N of FineLAP's Algorithm 1; 0 leaves phrases unused

    Raises
    ------
    InputError
        If a clip has no caption, or phrases are to be drawn from clips that have some but no bank was prepared.
    """

    def __init__(self, features: FrozenFeatures, bank: PhraseBank | None = None, num_phrases: int = 0) -> None:
        bare = [name for name, captions in zip(features.ids, features.captions, strict=True) if not captions]
        if bare:
            raise InputError(f"{len(bare)} clips have no caption, such as {bare[0]!r}. Leave them out of the data set.")
        if num_phrases and bank is None and any(features.phrases):
            raise InputError(f"{num_phrases} phrases are to be drawn, but no bank was prepared: prepare(phrases=True).")
        self._features, self._bank = features, bank
        self._num_phrases = num_phrases if bank is not None else 0
        texts = bank_texts(bank) if bank is not None else []
        self._phrases = {text: i for i, text in enumerate(texts)}
        self._pooled_KD = features.texts(texts).pooled_BD

    def __len__(self) -> int:
        return len(self._features)

    def gather(self, rows: IntArray, rng: np.random.Generator) -> Batch:
        """The batch of these clips, each with one of its captions and its phrases drawn at random.

        Raises
        ------
        InputError
            If the sound of a clip has no frame or a caption no token; names the clips.
        """
        drawn = self._features.gather(rows, rng)
        for what, states in (("sound has no frame", drawn.audio), ("caption has no token", drawn.text)):
            _refuse(drawn.ids, np.asarray(~states.mask_BT.any(axis=1)), what)
        phrases, labels, grounded = self._labelled(drawn, rng)
        arrays = (
            drawn.audio.pooled_BD, drawn.audio.states_BTD, drawn.audio.mask_BT,
            drawn.text.pooled_BD, drawn.text.states_BTD, drawn.text.mask_BT, phrases, labels, grounded,
        )  # fmt: skip
        tensors = [torch.from_numpy(array) for array in arrays]
        # Pinned, they travel to a GPU four times as fast; the copy is made here, in a thread of the loader.
        return Batch(drawn.ids, *(t.pin_memory() if torch.cuda.is_available() else t for t in tensors))

    def _labelled(self, drawn: FeatureBatch, rng: np.random.Generator) -> tuple[Array, Array, Array]:
        """Pooled phrases [shape=(B, N, D)], their labels [shape=(B, N, T)], and which clips have some [shape=(B,)]."""
        count, num_frames = self._num_phrases, drawn.audio.states_BTD.shape[1]
        grounded = np.array([bool(own) and count > 0 for own in drawn.phrases], np.bool_)
        phrases = np.zeros((len(grounded), count, drawn.text.pooled_BD.shape[1]), np.float16)
        labels = np.zeros((len(grounded), count, num_frames), np.bool_)
        for i in np.flatnonzero(grounded):
            assert self._bank is not None
            own = drawn.phrases[i]
            sampled = sample_phrases([p.text for p in own], self._bank, count, rng)
            phrases[i] = self._pooled_KD[[self._phrases[text] for text in sampled.texts]]
            for n, positives in enumerate(sampled.stands_for):
                spans = [span for p in positives for span in own[p].spans_s]
                labels[i, n] = frame_labels(spans, num_frames, self._features.hop_s)
        return phrases, labels, grounded


def bank_texts(bank: PhraseBank) -> list[str]:
    """Every phrase of a bank once, in order."""
    return list(dict.fromkeys(text for cluster in bank.clusters for text in cluster.texts))


def _refuse(ids: tuple[str, ...], bad_B: Array, what: str) -> None:
    if bad_B.any():
        names = [ids[i] for i in np.flatnonzero(bad_B)]
        raise InputError(f"{len(names)} clips of a batch: {what}: {', '.join(names[:8])}. Leave them out of the data.")


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class TrainingData:
    """What a run is trained on: states of both splits; ``val`` is None where the data set has no validation split."""

    train: FrozenFeatures
    val: FrozenFeatures | None
    bank: PhraseBank | None
    widths: Widths
    audio: EncoderSpec
    text: EncoderSpec
    name: str
    revision: str


def prepare(
    dataset: Dataset,
    folder: Path,
    *,
    audio: Backbone[Audio],
    text: Backbone[str],
    phrases: bool = False,
    bank: PhraseBank | None = None,
    make: bool = True,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> TrainingData:
    """Both splits of a data set as states of two bodies; what the cache does not hold is computed.

    Parameters
    ----------
    dataset
        with the splits ``train`` and perhaps ``val``
    folder
        of the cache (``data.features``)
    audio, text
        the bodies
    phrases
        whether timed phrases will be trained on
    bank
        phrases to draw from; by default the ontology's, with a cluster for each phrase of the data it does not know
    make
        compute what is missing; False where another process of the run has done so
    progress
        called with the number of blocks done, and of all, of each split

    Raises
    ------
    InputError
        If there is nothing to train on.
    """
    splits = {name: dataset.split(name) for name in ("train", "val")}
    if not len(splits["train"]):
        raise InputError(f"{dataset.folder} has no clips to train on (split 'train').")
    if phrases and bank is None:
        own = {phrase.text for records in splits.values() for record in records for phrase in record.phrases}
        bank = bank_of(own) if own else None
    texts = bank_texts(bank) if bank is not None else []
    opened: dict[str, FrozenFeatures] = {}
    for name, records in splits.items():
        if len(records):
            if make:
                compute(folder, records, audio=audio, text=text, texts=texts, progress=progress)
            spaces = {"audio_space": audio.spec.space, "text_space": text.spec.space}
            opened[name] = FrozenFeatures.open(folder, records, **spaces, texts=texts)
    first = opened["train"].gather(np.arange(1), np.random.default_rng(0))
    widths = Widths(
        audio_whole=first.audio.pooled_BD.shape[1],
        audio_rows=first.audio.states_BTD.shape[2],
        text_whole=first.text.pooled_BD.shape[1],
        text_rows=first.text.states_BTD.shape[2],
    )
    return TrainingData(
        train=opened["train"], val=opened.get("val"), bank=bank, widths=widths, audio=audio.spec, text=text.spec,
        name=dataset.name, revision=dataset.revision,
    )  # fmt: skip
