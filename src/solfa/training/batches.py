"""Batches of cached states as tensors, or of sounds and texts for tuned backbones, with frame labels. Needs torch."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import distributed

from solfa.alignment.gather import num_devices, rank
from solfa.alignment.joint import Batch
from solfa.core.clip import Phrase
from solfa.core.errors import InputError
from solfa.core.types import Audio, Backbone, EncoderSpec, States
from solfa.datasets.bank import PhraseBank, frame_labels, sample_phrases
from solfa.datasets.features import FrozenFeatures, Precision, compute, in_precision
from solfa.datasets.loading import AudioSource, IntArray
from solfa.datasets.phrases import bank_of
from solfa.datasets.shards import Clips, Dataset
from solfa.encoders.torch_backbone import TorchBackbone
from solfa.encoders.windowed import draw
from solfa.training.teacher import Teacher

Array = NDArray[Any]
Tuned = Mapping[str, TorchBackbone[Any]]  # by kind: audio, text


@dataclass(frozen=True, eq=False, slots=True)
class Raw:
    """In place of a backbone: a side that a model takes as it is; ``length`` gives the number of states of an item."""

    spec: EncoderSpec
    length: Callable[[Any], int]

    def lengths(self, batch: Sequence[Any]) -> list[int]:
        """How many states each item will have."""
        return [self.length(item) for item in batch]


class PairSource:
    """Batches of a split's clips and captions, with ``num_phrases`` for each clip that has timed ones (``Loader``).

    Phrases are drawn from ``bank`` (N of FineLAP's Algorithm 1; 0 leaves them unused). The tuned side of a batch
    is texts, or cuts of sound from ``crops`` with ``stripes`` over their spectrograms: the numbers of those of time and
    of frequency, and the bounds of their widths. ``teacher`` says how well pairs fit. Raises InputError if a clip has
    no caption, its sound no frame or a caption no token (of a tuned side it shows in ``gather``); or phrases are to be
    drawn from clips that have some but no bank was prepared.
    """

    def __init__(
        self,
        features: FrozenFeatures,
        bank: PhraseBank | None = None,
        num_phrases: int = 0,
        *,
        tuned: Tuned | None = None,
        crops: AudioSource | None = None,
        stripes: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (1, 1)),
        teacher: Teacher | None = None,
    ) -> None:
        frames, tokens = features.lengths()
        for what, bad_N in (("sound has no frame", frames < 1), ("no caption, or one of no token", tokens < 1)):
            _refuse(what, features.ids, bad_N)
        if num_phrases and bank is None and any(features.phrases):
            raise InputError(f"{num_phrases} phrases are to be drawn, but no bank was prepared: prepare(phrases=True).")
        # What a pair takes of a padded batch: of its captions the shortest; tuned sides are not known before.
        self.lengths_N = frames + tokens
        self._features, self._bank = features, bank
        self._tuned, self._crops, self._stripes = tuned or {}, crops, stripes
        self._num_phrases = num_phrases if bank is not None else 0
        self._teacher, self._tracks = teacher, [] if teacher is None else features.tracks()
        # Of a tuned text side the phrases go with the batch as texts.
        texts = bank_texts(bank) if bank is not None and "text" not in self._tuned else []
        self._phrases = {text: i for i, text in enumerate(texts)}
        self._pooled_KD: Array = features.pooled_texts(texts) if texts else np.zeros((0, 0), np.float16)

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
            audio = _to_come(self._tuned["audio"].lengths(raw["sounds"]))
            if any(self._stripes[0]):
                raw["stripes_BM3"] = torch.from_numpy(draw(len(rows), *self._stripes, rng))
        if "text" in self._tuned:
            raw["texts"], text = drawn.captions, _to_come(self._tuned["text"].lengths(drawn.captions))
        assert audio is not None and text is not None  # a side is live where its backbone is tuned
        for what, states in (("sound has no frame", audio), ("caption has no token", text)):
            _refuse(what, drawn.ids, np.asarray(~states.mask_BT.any(axis=1)))
        phrases, labels, said = self._labelled(timed, audio.states_BTD.shape[1], rng)
        if "text" in self._tuned:
            raw["phrases"] = tuple(own or ("",) * self._num_phrases for own in said)
        if self._teacher is not None:
            known_BB = self._teacher.pairs([self._tracks[row] for row in rows.tolist()], drawn.captions)
            raw["teacher_BB"] = torch.from_numpy(known_BB)
        arrays = {
            "audio_BD": audio.pooled_BD, "frames_BTD": audio.states_BTD, "frame_mask_BT": audio.mask_BT,
            "text_BD": text.pooled_BD, "tokens_BLD": text.states_BTD, "token_mask_BL": text.mask_BT,
            "phrases_BND": phrases, "labels_BNT": labels, "grounded_B": np.array([bool(own) for own in said], np.bool_),
        }  # fmt: skip
        tensors: dict[str, Any] = {name: torch.from_numpy(array) for name, array in arrays.items()}
        if torch.cuda.is_available():
            # Pinned, they travel to a GPU four times as fast; the copy is made here, in a thread of the loader.
            tensors = {name: tensor.pin_memory() for name, tensor in tensors.items()}
        return Batch(ids=drawn.ids, **tensors, **raw)

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
            if self._phrases:
                phrases[i] = self._pooled_KD[[self._phrases[text] for text in sampled.texts]]
            for n, positives in enumerate(sampled.stands_for):
                spans = [span for p in positives for span in own[p].spans_s]
                labels[i, n] = frame_labels(spans, num_frames, self._features.hop_s)
        return phrases, labels, said


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

    ``audio`` and ``text`` are the backbones', ``tuned`` those that will be tuned, and ``records`` of both splits are
    what their states are made of. ``shares`` are clips and weight of each of several data sets (``Loader``).
    ``stated`` is what ``config.json`` says of the data: what it is and of which spaces its states are. ``teacher`` says
    how well pairs fit; its texts are among the captions.
    """

    train: FrozenFeatures
    val: FrozenFeatures | None
    bank: PhraseBank | None
    audio: EncoderSpec
    text: EncoderSpec
    stated: Mapping[str, Any]
    tuned: Tuned = field(default_factory=dict)
    records: Mapping[str, Clips] = field(default_factory=dict)
    shares: Sequence[tuple[int, float]] = ()
    teacher: Teacher | None = None


def concatenated(datasets: Sequence[Dataset]) -> Dataset:
    """Several data sets as one whose splits are theirs, one after the other."""
    if len(datasets) == 1:
        return datasets[0]
    manifest = {name: " + ".join(getattr(d, name) for d in datasets) for name in ("name", "revision")}
    return Dataset(datasets[0].folder, manifest, tuple(shard for d in datasets for shard in d.shards), {})


def prepare(
    dataset: Dataset,
    folder: Path,
    *,
    audio: Backbone[Audio] | Raw,
    text: Backbone[str] | Raw,
    phrases: bool = False,
    bank: PhraseBank | None = None,
    precision: Precision = "float32",
    tune: Collection[str] = (),
    teacher: Teacher | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> TrainingData:
    """Both splits of a data set as states of two backbones; what the cache does not hold is computed.

    Each process of a run computes its part of what is missing, and waits for the others. Raises InputError if there is
    nothing to train on, a clip has no caption, none has timed phrases although they are to be trained on, or a backbone
    cannot be tuned.

    - ``dataset``, ``folder``: with the splits ``train`` and perhaps ``val``; of the cache (``datasets.features``)
    - ``audio``, ``text``: the backbones
    - ``phrases``: whether timed phrases will be trained on
    - ``bank``: phrases to draw from, by default ``datasets.phrases``; a cluster is added for each phrase that it does
      not know
    - ``precision``: of frozen backbones on torch (``features.in_precision``)
    - ``tune``: sides whose backbone is to be tuned (``audio``, ``text``); nothing is cached of them
    - ``teacher``, ``seed``: whose texts are captions too, and what draws of which clips (``Teacher.captions``)
    - ``progress``: called with the number of blocks that this process has done, and of all that it does
    """
    given: dict[str, Any] = {"audio": audio, "text": text}
    backbones = {kind: _tunable(kind, given) for kind in tune}
    kept = {k: in_precision(backbone, precision) for k, backbone in given.items() if k not in backbones}
    splits = {name: dataset.split(name) for name in ("train", "val")}
    if not len(splits["train"]):
        raise InputError(f"{dataset.folder} has no clips to train on (split 'train').")
    if rank() == 0:
        _refuse("no caption", [record.id for records in splits.values() for record in records if not record.captions])
    if phrases:
        own = {phrase.text for records in splits.values() for record in records for phrase in record.phrases}
        if not own:
            raise InputError(f"no clip of {dataset.folder} has timed phrases to train frames on. Take 'figma' instead.")
        bank = bank_of(own, bank)
    texts = [*(bank_texts(bank) if bank is not None else []), *(teacher.texts if teacher is not None else ())]
    present = {name: records for name, records in splits.items() if len(records)}
    both = Clips([shard for records in present.values() for shard in records.shards])  # no block is of two processes
    compute(
        folder, both, audio=kept.get("audio"), text=kept.get("text"), texts=texts, rank=rank(),
        world_size=num_devices(), progress=progress,
    )  # fmt: skip
    if num_devices() > 1:
        distributed.barrier()
    if "audio" in backbones:  # a clip that cannot be decoded is named now, not hours later
        for records in present.values():
            for row in range(rank(), len(records), num_devices()):
                records.shard_at(row).audio(records[row])
    spaces = spaces_of(given, precision, tune)
    opened = {
        name: FrozenFeatures.open(
            folder, records, audio_space=spaces["audio"], text_space=spaces["text"], texts=texts, live=backbones
        )
        for name, records in present.items()
    }
    if teacher is not None:
        opened = {
            name: split.relabelled(captions=teacher.captions(list(present[name]), seed))
            for name, split in opened.items()
        }
    train, one = opened["train"], np.arange(1)
    pooled = {"audio": lambda: train.pooled_audio(one), "text": lambda: train.pooled_texts(train.captions[0][:1])}
    for kind in (kind for kind, side in given.items() if not isinstance(side, Raw)):
        if (pooled_BD := pooled[kind]()).shape[1] != given[kind].spec.dim:
            raise InputError(
                f"{given[kind].spec.name} pools into {pooled_BD.shape[1]} numbers, its states have "
                f"{given[kind].spec.dim}; a projector takes both. Take another backbone."
            )
    return TrainingData(
        train=train, val=opened.get("val"), bank=bank, audio=audio.spec, text=text.spec, tuned=backbones,
        records=splits, stated=stated(dataset, spaces), teacher=teacher,
    )  # fmt: skip


def stated(dataset: Dataset, spaces: Mapping[str, str]) -> dict[str, Any]:
    """What ``config.json`` says of a data set and the spaces of its states."""
    return {
        "name": dataset.name, "revision": dataset.revision, "num_clips": len(dataset.split("train")), **spaces
    }  # fmt: skip


def spaces_of(given: Mapping[str, Backbone[Any]], precision: Precision, tune: Collection[str]) -> dict[str, str]:
    """What a run's states are of, by kind: the space of a tuned backbone, of a frozen one with its precision."""
    return {k: (own if k in tune else in_precision(own, precision)).spec.space for k, own in given.items()}


def _tunable(kind: str, given: Mapping[str, Any]) -> Any:
    backbone = given.get(kind)
    if isinstance(backbone, Raw):
        return backbone
    if backbone is None:
        raise InputError(f"{kind!r} cannot be tuned; what can is {' and '.join(given)}.")
    if not isinstance(backbone, TorchBackbone) or backbone.file is None:
        raise InputError(
            f"{backbone.spec.name} cannot be tuned: what is tuned runs on torch and has one file of weights. "
            f"Take another, such as {'mert or musicfm' if kind == 'audio' else 'minilm-torch or roberta'}."
        )
    return backbone
