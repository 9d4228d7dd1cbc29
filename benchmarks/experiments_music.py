"""FIGMA's losses on the music world: captions in which what decides stands first, last or anywhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np

from experiments_runs import Job, embeddings, progress, read, small
from solfa.alignment.joint import JointConfig, JointProjector, TowerConfig
from solfa.alignment.objectives import FigmaConfig, UnitedConfig
from solfa.alignment.projectors import TransformerConfig
from solfa.core.clip import Clip
from solfa.core.types import Features
from solfa.datagen.captions import caption
from solfa.datagen.captions.facts import grammar, harmony
from solfa.datasets.bank import Cluster, PhraseBank
from solfa.datasets.features import FrozenFeatures, compute
from solfa.datasets.phrases import music_bank
from solfa.datasets.shards import Clips, Dataset
from solfa.encoders.registry import load_backbone
from solfa.evaluation.perturbation import EDITS, counterfactuals, robustness
from solfa.evaluation.ranking import Relevance, Scores, rank_relevant
from solfa.evaluation.retrieval import hit_at
from solfa.evaluation.saturation import cut_tokens, saturation, tokenizer_spans
from solfa.evaluation.similarity import View, joint_scores
from solfa.training.batches import TrainingData, bank_texts, stated
from solfa.training.recipes import Recipe, figma, united

STEPS = (20, 40, 60, 80, 100)
VIEWS: tuple[View, ...] = ("global", "frame", "mix")
DECISIVE = ("key", "tempo_bpm", "metre", "chords")
NEGATIVES = (4, 16, 63, 255)
LOSSES = {
    "global": FigmaConfig(alpha=1.0), "frame": FigmaConfig(alpha=0.0), "figma": FigmaConfig(),
    "alpha-0.3": FigmaConfig(alpha=0.3), "united": UnitedConfig(),
    **{f"negatives-{n}": FigmaConfig(num_negatives=n) for n in NEGATIVES},
    "global, short": FigmaConfig(alpha=1.0), "figma, short": FigmaConfig(),
}  # fmt: skip
SHORT = ("global, short", "figma, short")  # trained on captions of one sentence only
IN_DEPTH = ("figma", "global", "frame", "united", *SHORT)  # runs whose saturation and perturbations are measured


@dataclass(frozen=True)
class Texts:
    """Captions of the train clips, and for each clip of the pool one of each order: what decides last, first, mixed."""

    train: tuple[tuple[str, ...], ...]
    rows: tuple[int, ...]
    late: tuple[str, ...]
    early: tuple[str, ...]
    mixed: tuple[str, ...]

    def pool(self) -> list[str]:
        """Every text that the pool is asked with."""
        spans = tokenizer_spans(load_backbone("minilm", "text").tokenizer)
        cuts = [cut_tokens(t, n, spans) for t in (*self.late, *self.early) for n in STEPS]
        counterfactuals = [t for kind in EDITS for c in counterfactuals(self.mixed, kind) for t in (c.true, c.text)]
        return list(dict.fromkeys([*self.late, *self.early, *self.mixed, *cuts, *counterfactuals]))


def said(record: Clip, style: str, number: int) -> str:
    """A caption of what decides, the genre, whether there is a voice; instruments alone would tell most clips apart."""
    known = {name: value for name, value in record.attributes.items() if name not in ("instruments", "mood")}
    text = caption(known, seed=f"experiments/{record.id}/{number}", style=style, num=1)[0]
    for filler in grammar()["late"]["filler"][1:]:  # what decides comes after some fifty tokens, not after a hundred
        text = text.replace(f"{filler} ", "")
    return text


def decided_first(late: str) -> str:
    """The same sentences with those that decide in front."""
    for turn in grammar()["late"]["turn"]:
        before, found, after = late.partition(f" {turn} ")
        if found:
            return f"{after} {before}"
    raise ValueError(f"no turn in {late!r}")


def texts_of(train: Clips, pool: Clips, file: Path) -> Texts:
    """The captions, made once and kept in a file."""
    if not file.exists():
        rows = [i for i, r in enumerate(pool) if all(r.attributes.get(n) for n in DECISIVE) and _two_chords(r)]
        late = [said(pool[i], "late", 0) for i in rows]
        made = {
            "train": [[said(r, "late", 1), said(r, "figma", 1)] for r in train], "rows": rows,
            "late": late, "early": [decided_first(t) for t in late], "mixed": [said(pool[i], "figma", 0) for i in rows],
        }  # fmt: skip
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(made, ensure_ascii=False))
    kept = json.loads(file.read_text())
    return Texts(tuple(map(tuple, kept["train"])), *(tuple(kept[n]) for n in ("rows", "late", "early", "mixed")))


def _two_chords(record: Clip) -> bool:
    return len(harmony(record.attributes["chords"])) > 1


@dataclass(frozen=True)
class Music:
    """States and captions of the music world."""

    data: TrainingData
    pool: FrozenFeatures
    texts: Texts


@cache
def music(data: tuple[Path, ...], out: Path, split: str, shards: int) -> Music:
    """What all runs share."""
    sets = [Dataset.open(folder) for folder in data]
    train = Clips(sets[0].split("train").shards[:shards])
    pool = Clips([shard for one in sets for shard in one.split(split).shards])
    texts = texts_of(train, pool, out / f"captions-{split}-{shards}.json")
    own = {phrase.text for record in train for phrase in record.phrases}
    bank = music_bank()
    bank = bank.merged(PhraseBank(Cluster(phrase=text) for text in sorted(own) if not bank.clusters_of(text)))
    asked = [*(t for both in texts.train for t in both), *bank_texts(bank)]
    audio, text = (load_backbone(name, kind) for name, kind in (("listener", "audio"), ("minilm", "text")))
    spaces = {"audio_space": audio.spec.space, "text_space": text.spec.space}
    opened = []
    for records, more in ((train, asked), (pool, texts.pool())):
        compute(out / "states", records, audio=audio, text=text, texts=more, progress=progress)
        opened.append(FrozenFeatures.open(out / "states", records, texts=more, **spaces))
    training = TrainingData(
        train=opened[0].relabelled(captions=texts.train), val=None, bank=bank,
        audio=audio.spec, text=text.spec, stated=stated(sets[0], {}),
    )  # fmt: skip
    return Music(training, opened[1], texts)


def music_run(job: Job) -> tuple[TrainingData, Recipe, Callable[[JointProjector], dict[str, float]]]:
    """FIGMA's losses on the music world, with projectors of one layer of 128."""
    shared = music(job.data, job.out, job.split, job.shards)
    loss, data = LOSSES[job.variant], shared.data
    if job.variant in SHORT:
        data = replace(data, train=data.train.relabelled(captions=[own[1:] for own in shared.texts.train]))
    towers = [
        TowerConfig(
            whole=TransformerConfig(
                in_dim=dim, width=128, num_heads=4, feed_forward=256, num_layers=1, out_dim=128
            ),
            shared=True,
        )
        for dim in (data.audio.dim, data.text.dim)
    ]  # fmt: skip
    base = (united if job.variant == "united" else figma)(data.audio.dim, data.text.dim, small=True)
    recipe = replace(small(base, job), model=JointConfig(audio=towers[0], text=towers[1]), objective=loss)
    if job.variant.startswith("negatives"):  # all of one batch, so that only the pool differs
        recipe = replace(recipe, batch_size=256)
    return data, recipe, partial(measure_music, shared, job.variant in IN_DEPTH)


def measure_music(shared: Music, deep: bool, model: JointProjector) -> dict[str, float]:
    """Recall by order of the caption and by view; of some runs saturation and robustness too."""
    rows, texts, found = np.array(shared.texts.rows), shared.texts, {}
    audio = embeddings(model, shared.pool, rows)

    own = Relevance.of_targets(np.arange(len(rows)), len(rows))
    for order in ("early", "mixed", "late"):
        asked = read(model, shared.pool, getattr(texts, order))
        for view in VIEWS:
            scores = joint_scores(audio, asked, view)
            both = rank_relevant(scores, own), rank_relevant(scores.transposed(), own)
            found |= {
                f"{order} {view} {way} R@{k}": float(hit_at(r, k).mean())
                for way, r in zip(("T2A", "A2T"), both, strict=True)
                for k in (1, 5, 10)
            }
    if not deep:
        return found
    spans = tokenizer_spans(load_backbone("minilm", "text").tokenizer)
    for view in ("global", "mix"):
        for order in ("late", "early"):
            curve = saturation(
                lambda cut, view=view: rank_relevant(joint_scores(audio, read(model, shared.pool, cut), view), own),
                getattr(texts, order), spans, steps=STEPS,
            )  # fmt: skip
            for point in curve:
                found[f"cut {order} {view} {point.num_tokens or 'whole'}"] = point.metrics["R@10"].value
        found |= falsified(model, audio, shared.pool, texts.mixed, view)
    return found


def falsified(
    model: JointProjector, audio: Features, features: FrozenFeatures, captions: Sequence[str], view: View
) -> dict[str, float]:
    """What one false attribute does, by kind."""

    def score(some: np.ndarray, asked: Sequence[str]) -> Scores:
        part = Features(audio.global_BD[some], audio.frames_BTD[some], audio.mask_BT[some])
        return joint_scores(part, read(model, features, asked), view).transposed()

    found = {}
    for kind, result in robustness(score, captions).items():
        for name, recall in result.retrieval.items():
            pool = name if " " in name else f"counterfactuals {name}"
            found[f"{kind} {view} {pool}"] = recall.value
        found |= {f"{kind} {view} preferred": result.preferred.value, f"{kind} num": float(result.num)}
        found |= {
            f"{kind} {view} mismatched": result.mismatched.value, f"{kind} {view} detected": float(result.detected),
            f"{kind} text-only": max(i.value for i in result.text_only.values()),
        }  # fmt: skip
    return found
