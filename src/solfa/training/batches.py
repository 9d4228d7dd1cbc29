"""Batches of cached states as tensors, or of sounds and texts for tuned bodies, with frame labels. Needs torch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from solfa.alignment.joint import Batch
from solfa.core.clip import Phrase
from solfa.core.errors import InputError
from solfa.core.types import Audio, Backbone, EncoderSpec, States
from solfa.datagen.scenes.ontology import bank_of
from solfa.datasets.bank import PhraseBank, frame_labels, sample_phrases
from solfa.datasets.features import FrozenFeatures, Precision, compute, in_precision
from solfa.datasets.loading import AudioSource, IntArray
from solfa.datasets.shards import Clips, Dataset
from solfa.encoders.torch_backbone import TorchBackbone
from solfa.encoders.windowed import draw

Array = NDArray[Any]
Bodies = Mapping[str, TorchBackbone[Any]]  # by kind: audio, text


@dataclass(frozen=True, kw_only=True, slots=True)
class Widths:
    """How wide the states of both bodies are: of the pooled vector (``whole``) and of the sequence (``rows``)."""

    audio_whole: int
    audio_rows: int
    text_whole: int
    text_rows: int


class PairSource:
    """Batches of a split's clips and captions, with ``num_phrases`` for each clip that has timed ones (``Loader``).

    Phrases are drawn from ``bank`` (N of FineLAP's Algorithm 1; 0 leaves them unused). The side of a batch of tuned
    ``bodies`` is texts, or cuts of sound from ``crops`` with ``stripes`` over their spectrograms: the numbers of those
    of time and of frequency, and the bounds of their widths. Raises InputError if a clip has no caption, its sound no
    frame or a caption no token (of a tuned side it shows in ``gather``); or phrases are to be drawn from clips that
    have some but no bank was prepared.
    """

    def __init__(
        self,
        features: FrozenFeatures,
        bank: PhraseBank | None = None,
        num_phrases: int = 0,
        *,
        bodies: Bodies | None = None,
        crops: AudioSource | None = None,
        stripes: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (1, 1)),
    ) -> None:
        frames, tokens = features.lengths()
        for what, bad_N in (("sound has no frame", frames < 1), ("no caption, or one of no token", tokens < 1)):
            _refuse(what, features.ids, bad_N)
        if num_phrases and bank is None and any(features.phrases):
            raise InputError(f"{num_phrases} phrases are to be drawn, but no bank was prepared: prepare(phrases=True).")
        # What a pair takes of a padded batch: of its captions the shortest; tuned sides are not known before.
        self.lengths_N = frames + tokens
        self._features, self._bank = features, bank
        self._bodies, self._crops, self._stripes = bodies or {}, crops, stripes
        self._num_phrases = num_phrases if bank is not None else 0
        texts = bank_texts(bank) if bank is not None else []
        self._phrases = {text: i for i, text in enumerate(texts)}
        self._pooled_KD = features.pooled_texts(texts) if texts else np.zeros((0, 0), np.float16)

    def __len__(self) -> int:
        return len(self._features)

    def gather(self, rows: IntArray, rng: np.random.Generator) -> Batch:
        """The batch of these clips, each with one of its captions and its phrases drawn at random.

        Raises InputError if the sound of a clip has no frame or a caption no token; names the clips.
        """
        drawn = self._features.gather(rows, rng)
        audio, text, timed, raw = drawn.audio, drawn.text, drawn.phrases, dict[str, Any]()
        if self._crops is not None:
            cut = self._crops.gather(rows, rng)
            pairs = zip(cut.samples_BN, cut.num_samples_B, strict=True)
            raw["sounds"], timed = tuple(Audio(s[:n], cut.sample_rate_hz) for s, n in pairs), cut.phrases
            audio = _to_come(self._bodies["audio"].lengths(raw["sounds"]))
            if any(self._stripes[0]):
                raw["stripes_BM3"] = torch.from_numpy(draw(len(rows), *self._stripes, rng))
        if "text" in self._bodies:
            raw["texts"], text = drawn.captions, _to_come(self._bodies["text"].lengths(drawn.captions))
        for what, states in (("sound has no frame", audio), ("caption has no token", text)):
            _refuse(what, drawn.ids, np.asarray(~states.mask_BT.any(axis=1)))
        phrases, labels, said = self._labelled(timed, audio.states_BTD.shape[1], rng)
        if "text" in self._bodies:
            raw["phrases"] = tuple(own or ("",) * self._num_phrases for own in said)
        arrays = (
            audio.pooled_BD, audio.states_BTD, audio.mask_BT, text.pooled_BD, text.states_BTD, text.mask_BT,
            phrases, labels, np.array([bool(own) for own in said], np.bool_),
        )  # fmt: skip
        tensors: list[Any] = [torch.from_numpy(array) for array in arrays]
        # Pinned, they travel to a GPU four times as fast; the copy is made here, in a thread of the loader.
        return Batch(drawn.ids, *(t.pin_memory() if torch.cuda.is_available() else t for t in tensors), **raw)

    def _labelled(
        self, timed: Sequence[Sequence[Phrase]], num_frames: int, rng: np.random.Generator
    ) -> tuple[Array, Array, list[tuple[str, ...]]]:
        """Pooled phrases [shape=(B, N, D)], their labels [shape=(B, N, T)], and the texts of clips that have some."""
        count, said = self._num_phrases, [tuple[str, ...]()] * len(timed)
        phrases = np.zeros((len(timed), count, self._pooled_KD.shape[1]), np.float16)
        labels = np.zeros((len(timed), count, num_frames), np.bool_)
        for i, own in enumerate(timed):
            if not own or not count:
                continue
            assert self._bank is not None
            sampled = sample_phrases([p.text for p in own], self._bank, count, rng)
            said[i] = tuple(sampled.texts)
            phrases[i] = self._pooled_KD[[self._phrases[text] for text in sampled.texts]]
            for n, positives in enumerate(sampled.stands_for):
                spans = [span for p in positives for span in own[p].spans_s]
                labels[i, n] = frame_labels(spans, num_frames, self._features.hop_s)
        return phrases, labels, said


class LiveFeatures(FrozenFeatures):
    """A split of which tuned bodies make the states whenever they are asked for, of whole clips; others are cached."""

    def __init__(self, frozen: FrozenFeatures, records: Clips, bodies: Bodies) -> None:
        self.__dict__.update(vars(frozen))
        self._records, self._bodies = records, bodies

    def pooled_audio(self, rows: IntArray) -> Array:
        """Pooled vectors of the sound of these clips [shape=(B, P)]."""
        return self.audio(rows).pooled_BD if "audio" in self._bodies else super().pooled_audio(rows)

    def pooled_texts(self, texts: Sequence[str]) -> Array:
        """Pooled vectors of these texts [shape=(B, P)]."""
        return self.texts(texts).pooled_BD if "text" in self._bodies else super().pooled_texts(texts)

    def audio(self, rows: IntArray) -> States:
        """States of the sound of these clips."""
        if "audio" not in self._bodies:
            return super().audio(rows)
        return self._bodies["audio"].states([self._records.shard_at(r).audio(self._records[r]) for r in rows.tolist()])

    def texts(self, texts: Sequence[str]) -> States:
        """States of these texts."""
        return self._bodies["text"].states(texts) if "text" in self._bodies else super().texts(texts)


class _Blank:
    """In the cache in place of a body that is tuned: a state of one zero for each clip and text."""

    def __init__(self, spec: EncoderSpec) -> None:
        self.spec = replace(spec, space=f"to be tuned/{spec.hop_s:g} s", dim=1)

    def states(self, batch: Sequence[Any]) -> States:
        """Zeros."""
        zeros = np.zeros((len(batch), 1), np.float32)
        return States(zeros, zeros[..., None], np.ones((len(batch), 1), np.bool_))


def _to_come(lengths: Sequence[int]) -> States:
    """So many states of no width."""
    mask = np.arange(max(lengths, default=0)) < np.array(lengths, np.int64)[:, None]
    return States(np.zeros((len(lengths), 0), np.float32), np.zeros((*mask.shape, 0), np.float32), mask)


def bank_texts(bank: PhraseBank) -> list[str]:
    """Every phrase of a bank once, in order."""
    return list(dict.fromkeys(text for cluster in bank.clusters for text in cluster.texts))


def _refuse(what: str, ids: Sequence[str], bad_B: Array | None = None) -> None:
    names = ids if bad_B is None else [ids[i] for i in np.flatnonzero(bad_B).tolist()]
    if names:
        more = f" and {len(names) - 8} more" if len(names) > 8 else ""
        raise InputError(f"{len(names)} clips: {what}: {', '.join(names[:8])}{more}. Leave them out of the data.")


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class TrainingData:
    """What a run is trained on: states of both splits; ``val`` is None where the data set has no validation split.

    ``audio`` and ``text`` are the backbones', ``spaces`` name what their states are, with the precision.

    ``sets`` are the data sets that it is made of, in order; ``own_bank`` is a hash of a phrase bank of one's own.
    ``bodies`` are to be tuned, and ``records`` of both splits are what their states are made of.
    """

    train: FrozenFeatures
    val: FrozenFeatures | None
    bank: PhraseBank | None
    widths: Widths
    audio: EncoderSpec
    text: EncoderSpec
    spaces: Mapping[str, str]
    name: str
    revision: str
    bodies: Bodies = field(default_factory=dict)
    records: Mapping[str, Clips] = field(default_factory=dict)
    sets: tuple[DataShare, ...] = ()
    own_bank: str | None = None

    @property
    def shares(self) -> list[tuple[int, float]]:
        """Clips and weight of each data set, for the ``Loader``; none where all are passed through alike."""
        return [(one.num_clips, one.weight) for one in self.sets if one.weight is not None]

    def stated(self) -> dict[str, Any]:
        """What ``config.json`` says of it."""
        return stated(self.name, self.revision, len(self.train), self.spaces, self.sets, self.own_bank)


@dataclass(frozen=True, kw_only=True, slots=True)
class DataShare:
    """One of several data sets: how many clips to train on it has, and its share of each epoch (None: its clips)."""

    name: str
    revision: str
    num_clips: int
    weight: float | None = None


def stated(
    name: str, revision: str, num_clips: int, spaces: Mapping[str, str], sets: Sequence[DataShare], bank: str | None
) -> dict[str, Any]:
    """What ``config.json`` says of data."""
    several = {"sets": [asdict(one) for one in sets]} if len(sets) > 1 else {}
    own = {} if bank is None else {"bank": bank}
    return {"name": name, "revision": revision, "num_clips": num_clips, **spaces, **several, **own}


def together(datasets: Sequence[Dataset]) -> Dataset:
    """Several data sets as one whose splits are theirs, one after the other."""
    if len(datasets) == 1:
        return datasets[0]
    manifest = {name: " + ".join(getattr(d, name) for d in datasets) for name in ("name", "revision")}
    return Dataset(datasets[0].folder, manifest, tuple(shard for d in datasets for shard in d.shards), {})


def prepare(
    dataset: Dataset,
    folder: Path,
    *,
    audio: Backbone[Audio],
    text: Backbone[str],
    phrases: bool = False,
    bank: PhraseBank | None = None,
    rank: int = 0,
    world_size: int = 1,
    wait: Callable[[], None] = lambda: None,
    precision: Precision = "float32",
    tune: Collection[str] = (),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> TrainingData:
    """Both splits of a data set as states of two bodies; what the cache does not hold is computed.

    Raises InputError if there is nothing to train on, a clip has no caption, none has timed phrases although they are
    to be trained on, or a body cannot be tuned.

    Parameters
    ----------
    dataset, folder
        with the splits ``train`` and perhaps ``val``; of the cache (``datasets.features``)
    audio, text
        the bodies
    phrases
        whether timed phrases will be trained on
    bank
        phrases to draw from, by default the ontology's; a cluster is added for each phrase of the data it does not know
    rank, world_size
        which of how many processes of the run this is: each computes its part of what is missing
    wait
        called when this part is done; returns when every process has called it
    precision
        of frozen backbones on torch (``features.in_precision``)
    tune
        sides whose body is to be tuned (``audio``, ``text``); nothing is cached of them
    progress
        called with the number of blocks done, and of all, of each split and this process
    """
    given: dict[str, Backbone[Any]] = {"audio": audio, "text": text}
    bodies = {kind: _tunable(kind, given) for kind in tune}
    kept = {k: _Blank(body.spec) if k in bodies else in_precision(body, precision) for k, body in given.items()}
    splits = {name: dataset.split(name) for name in ("train", "val")}
    if not len(splits["train"]):
        raise InputError(f"{dataset.folder} has no clips to train on (split 'train').")
    if rank == 0:
        _refuse("no caption", [record.id for records in splits.values() for record in records if not record.captions])
    if phrases:
        own = {phrase.text for records in splits.values() for record in records for phrase in record.phrases}
        if not own:
            raise InputError(f"no clip of {dataset.folder} has timed phrases to train frames on. Take 'figma' instead.")
        bank = bank_of(own, bank)
    texts = bank_texts(bank) if bank is not None else []
    present = {name: records for name, records in splits.items() if len(records)}
    for records in present.values():
        compute(
            folder, records, audio=kept["audio"], text=kept["text"], texts=texts, rank=rank, world_size=world_size,
            progress=progress,
        )  # fmt: skip
    wait()
    spaces = {f"{kind}_space": body.spec.space for kind, body in kept.items()}
    opened = {name: FrozenFeatures.open(folder, r, **spaces, texts=texts) for name, r in present.items()}
    first = LiveFeatures(opened["train"], splits["train"], bodies).gather(np.arange(1), np.random.default_rng(0))
    widths = Widths(
        audio_whole=first.audio.pooled_BD.shape[1],
        audio_rows=first.audio.states_BTD.shape[2],
        text_whole=first.text.pooled_BD.shape[1],
        text_rows=first.text.states_BTD.shape[2],
    )
    return TrainingData(
        train=opened["train"], val=opened.get("val"), bank=bank, widths=widths, audio=audio.spec, text=text.spec,
        spaces=spaces_of(given, precision, tune), name=dataset.name, revision=dataset.revision, bodies=bodies,
        records=splits,
    )  # fmt: skip


def spaces_of(given: Mapping[str, Backbone[Any]], precision: Precision, tune: Collection[str]) -> dict[str, str]:
    """What a run's states are of, by kind: the space of a tuned backbone, of a frozen one with its precision."""
    return {k: (body if k in tune else in_precision(body, precision)).spec.space for k, body in given.items()}


def _tunable(kind: str, given: Mapping[str, Backbone[Any]]) -> TorchBackbone[Any]:
    body = given.get(kind)
    if body is None:
        raise InputError(f"{kind!r} cannot be tuned; what can is {' and '.join(given)}.")
    if not isinstance(body, TorchBackbone) or body.file is None:
        raise InputError(
            f"{body.spec.name} cannot be tuned: a tuned body runs on torch and is rebuilt from one file of weights. "
            f"Take another, such as {'mert or musicfm' if kind == 'audio' else 'minilm-torch or roberta'}."
        )
    return body
