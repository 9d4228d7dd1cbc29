"""FineLAP's losses on scenes, and the body that hears them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from experiments_runs import Job, embeddings, progress, read, small
from solfa.alignment.joint import JointConfig, JointProjector
from solfa.alignment.objectives import FineLapConfig
from solfa.analysis.tagging import SAMPLE_RATE_HZ, yamnet_mel
from solfa.audio import at_rate
from solfa.core.intervals import Segment
from solfa.core.types import Audio, EncoderSpec, FloatArray, States
from solfa.datasets.bank import frame_labels
from solfa.datasets.features import FrozenFeatures, compute
from solfa.datasets.shards import Dataset
from solfa.encoders.registry import load_backbone
from solfa.encoders.vectors import pack_states
from solfa.evaluation.events import ClipScores, ClipTruth, SystemScores
from solfa.evaluation.psds import PSDS1_AUDIOSET, psds
from solfa.evaluation.ranking import Relevance, rank_relevant
from solfa.evaluation.retrieval import hit_at
from solfa.evaluation.similarity import joint_scores
from solfa.training.batches import TrainingData, prepare
from solfa.training.recipes import Recipe, finelap
from solfa.weights import session

HOP_S = 0.32
DIM = 1024 + 4 * 64
_HOP, _PATCH = int(HOP_S * SAMPLE_RATE_HZ), 15600
WHOLE = FineLapConfig()
SCENES: dict[str, dict[str, Any]] = {
    "full": {}, "no frame loss": {"objective": replace(WHOLE, beta=0.0)},
    "no clip loss": {"objective": replace(WHOLE, alpha=0.0)}, "shared projector": {"frames": "shared"},
    "linear": {"frames": "linear"}, "BiGRU": {"frames": "bigru"},
    "InfoNCE": {"objective": replace(WHOLE, clip_loss="infonce")}, "labels on a quarter": {"labelled": 0.25},
    **{f"N {n}": {"num_phrases": n} for n in (5, 10, 30)},
}  # fmt: skip


class FineBody:
    """``[YAMNet's last layer around the row | log-mel of its four eighths of a second]``, roughly at unit scale.

    Half of all events of the scenes are shorter than the second that YAMNet hears, so the spectrum says when they are.
    """

    spec = EncoderSpec(
        name="fine", space=f"fine/1/{DIM}", dim=DIM, licence="Apache-2.0 (YAMNet)", commercial_use=True,
        sample_rate_hz=SAMPLE_RATE_HZ, hop_s=HOP_S,
    )  # fmt: skip

    def states(self, batch: Sequence[Audio]) -> States:
        return pack_states([self._rows(at_rate(audio, SAMPLE_RATE_HZ).samples) for audio in batch], DIM)

    def _rows(self, samples: FloatArray) -> FloatArray:
        count = -(-len(samples) // _HOP)
        padded = np.pad(samples, (_HOP, _PATCH))  # a patch is three hops: the row's own is the one in the middle
        mel = yamnet_mel(np.stack([padded[i * _HOP : i * _HOP + _PATCH] for i in range(count)]))
        network = session("yamnet", threads=1)
        embeddings = [network.run(["embedding"], {"patch": patch[None, None]})[0][0] for patch in mel]
        own = mel[:, 32:64].reshape(count, 4, 8, 64).mean(axis=2).reshape(count, -1)
        rows: FloatArray = np.concatenate([2 * np.sqrt(np.stack(embeddings)) - 0.5, (own + 4) / 3], axis=1)
        return rows


@cache
def scenes(folder: Path, out: Path) -> TrainingData:
    """Training data."""
    minilm = load_backbone("minilm", "text")
    return prepare(Dataset.open(folder), out / "states", audio=FineBody(), text=minilm, phrases=True, progress=progress)


@cache
def scenes_pool(folder: Path, out: Path, split: str) -> tuple[FrozenFeatures, dict[str, ClipTruth], tuple[str, ...]]:
    """States of the pool, its truth, and the phrases that occur in it."""
    records = Dataset.open(folder).split(split)
    truth = {
        r.id: ClipTruth(
            duration_s=r.duration_s, events=tuple(Segment(a, b, p.text) for p in r.phrases for a, b in p.spans_s)
        )
        for r in records
    }
    classes = tuple(sorted({e.label for clip in truth.values() for e in clip.events}))
    audio, text = FineBody(), load_backbone("minilm", "text")
    compute(out / "states", records, audio=audio, text=text, texts=classes, progress=progress)
    spaces = {"audio_space": audio.spec.space, "text_space": text.spec.space}
    return FrozenFeatures.open(out / "states", records, texts=classes, **spaces), truth, classes


def scenes_run(job: Job) -> tuple[TrainingData, Recipe, Callable[[JointProjector], dict[str, float]]]:
    """FineLAP's variants on scenes, with projectors of width 128."""
    change, data = SCENES[job.variant], replace(scenes(job.data[0], job.out), val=None)
    if "labelled" in change:
        keep = np.random.default_rng(0).random(len(data.train)) < change["labelled"]
        given = [p if k else () for p, k in zip(data.train.phrases, keep.tolist(), strict=True)]
        data = replace(data, train=data.train.relabelled(phrases=given))
    recipe = finelap(data.audio.dim, data.text.dim, frames=change.get("frames", "transformer"), small=True)
    recipe = replace(
        small(recipe, job), model=narrow(recipe.model), objective=change.get("objective", WHOLE),
        num_phrases=change.get("num_phrases", 20),
    )  # fmt: skip
    return data, recipe, partial(measure_scenes, *scenes_pool(job.data[0], job.out, job.split))


def narrow(config: JointConfig) -> JointConfig:
    """The same projectors at half the width, and a feed-forward of twice that."""
    sizes = {"width": 128, "hidden": 128, "out_dim": 128, "feed_forward": 256, "num_heads": 4}

    def one(projector: Any) -> Any:
        if projector is None:
            return None
        kept = {name: n for name, n in sizes.items() if getattr(projector, name, None) is not None}
        return replace(projector, **kept | ({"hidden": 64} if "Gru" in type(projector).__name__ else {}))

    towers = [replace(t, whole=one(t.whole), rows=one(t.rows)) for t in (config.audio, config.text)]
    return JointConfig(audio=towers[0], text=towers[1])


def measure_scenes(
    features: FrozenFeatures, truth: dict[str, ClipTruth], classes: tuple[str, ...], model: JointProjector
) -> dict[str, float]:
    """Retrieval by the global view, and PSDS1 of frames against phrases."""
    audio = embeddings(model, features, np.arange(len(features)))
    asked = [captions[0] for captions in features.captions]
    scores = joint_scores(audio, read(model, features, asked), "global")
    own = Relevance.of_targets(np.arange(len(features)), len(features))
    found = {
        f"{way} R@{k}": float(hit_at(ranks, k).mean())
        for way, ranks in (("T2A", rank_relevant(scores, own)), ("A2T", rank_relevant(scores.transposed(), own)))
        for k in (1, 10)
    }
    phrases_CD = read(model, features, classes).global_BD
    heard_as = {name: frames[mask] @ phrases_CD.T for name, frames, mask in zip(
        features.ids, audio.frames_BTD, audio.mask_BT, strict=True
    )}  # fmt: skip
    found["PSDS1"] = detected(truth, heard_as, classes, features.hop_s, smooth=3)
    return found


def attainable(features: FrozenFeatures, truth: dict[str, ClipTruth], classes: tuple[str, ...]) -> float:
    """PSDS1 of the true labels at the frames of these states: what their distance leaves possible."""
    counts = features.audio(np.arange(len(features))).mask_BT.sum(axis=1).tolist()
    true = {}
    for name, count in zip(features.ids, counts, strict=True):
        spans = [[(e.start_s, e.end_s) for e in truth[name].events if e.label == label] for label in classes]
        true[name] = np.stack([frame_labels(s, count, features.hop_s) for s in spans], axis=1).astype(float)
    return detected(truth, true, classes, features.hop_s)


def detected(
    truth: dict[str, ClipTruth], values: dict[str, np.ndarray], classes: tuple[str, ...], hop_s: float, smooth: int = 1
) -> float:
    """PSDS1 without the penalty for spread between classes, as FineLAP has it where there are many."""
    clips = {n: ClipScores(v, hop_s * np.arange(len(v) + 1)).smoothed(smooth) for n, v in values.items()}
    return psds(truth, SystemScores(classes, clips), PSDS1_AUDIOSET).value
