"""Learned captioners by the one trainer: from a data set to a captioner's folder. Needs torch and transformers."""

import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from solfa.alignment.gather import gather, rank
from solfa.core.errors import InputError
from solfa.core.files import table_of
from solfa.core.types import EncoderSpec
from solfa.datasets.features import FrozenFeatures
from solfa.datasets.shards import Dataset
from solfa.encoders.trained import load_on
from solfa.language.captioner.folder import save
from solfa.language.captioner.networks import LOG_MEL, CaptionerConfig, CaptionNetwork, LanguageModel
from solfa.training import checkpoint
from solfa.training.batches import Raw, prepare, stated
from solfa.training.recipes import Recipe, merged
from solfa.training.trainer import Outcome, StepReport, Trainer

_WORDS = EncoderSpec(name="words", space="words", dim=1, licence="no weights", commercial_use=True)


class CaptionLoss(nn.Module):
    """Cross-entropy of the captions' tokens, each of the batch counting alike; an objective of no views."""

    reads_rows = False

    def losses(self, made: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The one term."""
        return {"caption": made["loss_B"].sum() / made["count_B"].sum()}


class CaptionTrainer(Trainer):
    """The trainer, of what ``make`` builds; weights are chosen by the geometric mean of tokens' probabilities."""

    def __init__(self, make: Callable[[], CaptionNetwork], *given: Any, **more: Any) -> None:
        self._make = make
        super().__init__(*given, **more)

    def _networks(self) -> tuple[Any, Any]:
        return self._make(), CaptionLoss()

    def _validated(self, val: FrozenFeatures) -> dict[str, float]:
        loss = float(gather(torch.tensor([self._val_loss(val)], device=self.device)).mean())
        return {"val_probability": math.exp(-loss), "val_loss": loss}


def captioner(kind: str, in_dim: int, *, small: bool = True, **model: Any) -> tuple[Recipe, dict[str, Any]]:
    """The recipe of a kind of captioner (``captioner.toml``), and the sizes of a new language model for it."""
    tables = table_of("solfa.training", "captioner.toml")
    own = merged(tables[kind]["common"], tables[kind]["small" if small else "published"])
    given: Any = {k: None if v == "none" else v for k, v in merged(tables["small"] if small else {}, own).items()}
    sizes, model = given.pop("lm"), {"kind": kind, "in_dim": in_dim, **given.pop("model"), **model}
    raw = ("audio", "text") if kind == "encoder-decoder" else ("text",)  # sides that come as they are
    return Recipe(name="captioner", model=CaptionerConfig(**model), objective=None, tune=raw, **given), sizes


def run_captioner(
    data: Path, out: Path, *, kind: str | None = None, mode: str | None = None, lm: str | None = None,
    audio: str = "taggers", small: bool = True, device: str = "cpu", features: Path | None = None, resume: bool = False,
    allow_noncommercial: bool = False, change: Callable[[Recipe], Recipe] = lambda recipe: recipe,
    report: Callable[[StepReport], None] = lambda progress: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Path, Outcome]:  # fmt: skip
    """Train a captioner and write ``OUT/model``; that folder and how the run ended.

    ``kind`` and ``mode`` are as in ``CaptionerConfig``; ``lm`` is a local checkpoint of a language model, which stays
    frozen unless the recipe tunes it, or None for a new one. The others are as in ``run.run``, which raises the same.
    """
    kind, features = kind or "prefix", features or data / "features"
    checkpoint.check_folder(out, features)
    dataset, sound = Dataset.open(data), "" if kind == "encoder-decoder" else audio
    backbone: Any = Raw(LOG_MEL, lambda clip: round(clip.duration_s / LOG_MEL.hop_s) + 1)
    if sound:
        backbone = load_on(sound, "audio", device=device, allow_noncommercial=allow_noncommercial)
    given = {key: value for key, value in (("mode", mode), ("tune_lm", lm is None)) if value}
    recipe, sizes = captioner(kind, backbone.spec.dim, small=small, **given)
    recipe = change(recipe)
    if recipe.measure not in ("caption", "last") or (lm is None and not recipe.model.tune_lm):
        raise InputError("a captioner is chosen by itself or last; a new language model is trained too (tune_lm=true).")
    texts = [text for record in dataset.split("train") for text in record.captions]

    def make() -> CaptionNetwork:
        return CaptionNetwork(recipe.model, LanguageModel.load(lm) if lm else LanguageModel.new(sizes, texts))

    make()  # what is wrong shows before states are computed
    command = {"name": "captioner", "kind": kind, "mode": mode, "lm": lm, "audio": audio, "small": small,
               "data": {str(data.absolute()): None}, "features": str(features.absolute()), "tune": ()}  # fmt: skip
    spaces = {"audio": backbone.spec.space, "lm": lm or sizes["model_type"]}
    config = checkpoint.describe(recipe.to_json(), stated(dataset, spaces), None, command)
    if (out / checkpoint.CONFIG).exists():
        checkpoint.check_same_run(out, config, resume)
    with checkpoint.locked(out) if rank() == 0 else nullcontext():
        words = Raw(_WORDS, lambda text: len(text.split()) + 1)
        prepared = prepare(dataset, features, audio=backbone, text=words, tune=recipe.tune, progress=progress)
        trainer = CaptionTrainer(make, recipe, prepared, out, device=device, config=config)
        outcome = trainer.run(resume=resume, report=report)
        if rank() == 0:
            lengths_s = sorted(record.duration_s for record in dataset.split("train"))
            window_s = recipe.crop_s if not sound else min(max(lengths_s[len(lengths_s) // 2], 0.1), 600.0)
            save(out / "model", trainer.model, backbone.spec, {
                "sound": sound, "window_s": round(window_s, 3), "recipe": recipe.to_json(), "steps": outcome.steps,
                "validation": outcome.text, "data": stated(dataset, {}),
            })  # fmt: skip
    return out / "model", outcome
