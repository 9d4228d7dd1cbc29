"""The loop: batches in, a model folder out; exact to resume, the same on one device or several. Needs torch.

Why a plain loop and neither Accelerate nor Fabric: ``docs/adr/0005-training-loop.md``.
"""

import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, nn

from solfa.alignment.gather import average_gradients, gather, num_devices, rank
from solfa.alignment.joint import Batch, JointProjector
from solfa.alignment.objectives import objective, views_of
from solfa.alignment.pairwise import kernel_choices, use_kernel_choices
from solfa.core.errors import InputError, TrainingError, WeightsError
from solfa.datasets.features import FrozenFeatures
from solfa.datasets.loading import AudioSource, IntArray, Loader
from solfa.encoders.checkpoints import device_for, fill
from solfa.encoders.trained import logits_of, read_description
from solfa.training import checkpoint
from solfa.training.batches import PairSource, TrainingData
from solfa.training.model_file import load_projectors, load_tuned
from solfa.training.recipes import Recipe
from solfa.training.validation import detection, recalls


@dataclass(frozen=True, kw_only=True, slots=True)
class StepReport:
    """Where a run is: ``metrics`` is the line that ``metrics.jsonl`` got."""

    step: int
    num_steps: int
    metrics: Mapping[str, Any]
    clips_per_s: float
    seconds_left: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a run ended; ``best`` is the validation score of the weights that are kept, in the ``measure``.

    It is None where the last weights are kept: without a validation split, or as the recipe says.
    """

    steps: int
    epochs: int
    measure: str
    best: float | None
    stopped_early: bool

    @property
    def text(self) -> str | None:
        """The score in words."""
        said = {"detection": "mAP of frames", "caption": "probability of a caption's token"}
        what = said.get(self.measure, f"R@1 in the {self.measure} view")
        return None if self.best is None else f"{what} {self.best:.4f}"


@dataclass
class _Where:
    """The counters of a run; with the tensors, all that a checkpoint holds."""

    step: int = 0
    best: float = -1.0
    bad_epochs: int = 0
    done: bool = False
    loader: dict[str, int] = field(default_factory=dict)
    kernels: dict[str, dict[str, list[int]]] = field(default_factory=dict)  # by rank, what the frame score was tuned to


@contextmanager
def joined(device: str = "cpu") -> Iterator[None]:
    """Join the processes that ``torchrun`` started, if it did, until the block ends."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or num_devices() > 1:
        yield
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    cuda = device_for(f"cuda:{local}" if device == "cuda" else device).type == "cuda"
    if cuda:
        torch.cuda.set_device(local)
    # A process may compute states for hours longer than another.
    distributed.init_process_group("nccl" if cuda else "gloo", timeout=timedelta(days=7))
    try:
        yield
    finally:
        distributed.destroy_process_group()


def check_recipe(recipe: Recipe, audio: Any) -> None:
    """See that each device gets an equal part of a batch, and the audio backbone has spectrograms if they are masked.

    Raises InputError if not.
    """
    if recipe.batch_size % (count := num_devices()):
        near = max(count, recipe.batch_size // count * count)
        raise InputError(
            f"a batch of {recipe.batch_size} cannot be divided evenly over {count} devices. Use: --batch-size {near}."
        )
    tuned = "audio" in recipe.tune and getattr(getattr(audio, "network", None), "striped", None)
    if (recipe.time_masks or recipe.mel_masks) and not tuned:
        raise InputError("time_masks and mel_masks are for a tuned audio backbone of spectrograms (--tune audio).")


class Terminated(KeyboardInterrupt):
    """The process was asked to end (SIGTERM) and has written a checkpoint."""


class Trainer:
    """One run, in a folder of its own, on what ``batches.prepare`` made.

    ``init`` is the folder of a model to start from, of the same projectors; ``config`` is what ``config.json`` says, by
    default the recipe and what the data is (``checkpoint.describe``). Raises InputError if the batch cannot be spread
    over the devices or is larger than the data, ``init`` is of other sizes, or the data was not prepared for the
    backbones that the recipe tunes.
    """

    def __init__(
        self, recipe: Recipe, data: TrainingData, folder: Path, *, device: str = "cpu", init: Path | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        check_recipe(recipe, data.tuned.get("audio"))
        if set(recipe.tune) != set(data.tuned):
            raise InputError(f"the recipe tunes {list(recipe.tune)}, the data was prepared to tune {list(data.tuned)}.")
        self.recipe, self.data, self.folder, self.device = recipe, data, folder, torch.device(device)
        self._terminated = False
        space = None if init is None else read_description(init)["space"]
        self.config = config or checkpoint.describe(recipe.to_json(), data.stated, space, {})
        self.tuned = deepcopy(dict(data.tuned))  # another run on the same data starts where this one did
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            self.model, self.objective = (network.to(self.device) for network in self._networks())
        if init is not None:
            self.model.load_state_dict(load_projectors(init, recipe.model), strict=False)
            load_tuned(init, self.tuned)
            for name, learnt in logits_of(read_description(init)).items():
                if name in self.objective.logits:
                    self.objective.logits[name].start(learnt)
        self.parameters = [*self.model.parameters(), *self.objective.parameters()]
        self.mean = {n: p.detach().clone() for n, p in self._named()} if recipe.ema_decay else {}
        self.optimizer = torch.optim.AdamW(self._groups(), lr=recipe.learning_rate, foreach=True)
        source = self._source("train")
        self.loader = Loader(
            _OnDevice(source, self.device) if self.device.type == "cuda" else source,
            batch_size=recipe.batch_size // num_devices(), seed=recipe.seed, rank=rank(), world_size=num_devices(),
            shares=data.shares, lengths_N=source.lengths_N, bucket=recipe.bucket_batches,
            workers=4 if self.device.type == "cuda" else 2,
        )  # fmt: skip
        self.val = data.val
        if self.measured == "detection" and not any(data.val.phrases if data.val is not None else ()):
            raise InputError(
                "no clip of the validation split has timed phrases, which the choice of weights needs. Choose "
                "by another measure: --set select=last keeps the last weights."
            )
        if self.val is not None and len(self.val) < num_devices():
            raise InputError(f"{len(self.val)} clips to validate on, fewer than {num_devices()} devices.")
        if self.val is not None and self.tuned:
            self.val = self.val.with_live(self.tuned)
        self.num_steps = len(self.loader) * recipe.epochs
        self.where = _Where(loader=self.loader.state)

    def _networks(self) -> tuple[Any, Any]:
        """What is trained, and its loss."""
        return JointProjector(self.recipe.model, self.tuned), objective(self.recipe.objective)

    def _named(self) -> Iterator[tuple[str, Tensor]]:
        """Every parameter by name; a tied one, as some backbones have, under each of its names."""
        yield from self.model.named_parameters(remove_duplicate=False)

    def _groups(self) -> list[dict[str, Any]]:
        """Matrices decay; biases, norms, temperatures do not. Backbones have a learning rate of their own."""
        tuned = set(self.model.bodies.parameters())
        groups = []
        for is_body, factor in ((False, 1.0), (True, self.recipe.body_lr)):
            own = [p for p in self.parameters if (p in tuned) is is_body]
            matrices, others = [p for p in own if p.ndim > 1], [p for p in own if p.ndim < 2]
            groups.append({"params": matrices, "weight_decay": self.recipe.weight_decay, "factor": factor})
            groups.append({"params": others, "weight_decay": 0.0, "factor": factor})
        return [group for group in groups if group["params"]]

    def _source(self, split: str) -> PairSource:
        """Pairs of a split, with the phrases and cuts that are trained on."""
        crops, features = None, self.data.train if split == "train" else self.data.val
        assert features is not None
        if "audio" in self.tuned:
            rate = self.tuned["audio"].spec.sample_rate_hz
            crops = AudioSource(self.data.records[split], crop_s=self.recipe.crop_s, sample_rate_hz=rate)
        r, counts = self.recipe, (self.recipe.time_masks, self.recipe.mel_masks) if split == "train" else (0, 0)
        stripes = counts, (r.time_mask_frames, r.mel_mask_bands)
        return PairSource(
            features, self.data.bank, r.num_phrases, tuned=self.tuned, crops=crops, stripes=stripes,
            teacher=self.data.teacher,
        )  # fmt: skip

    def run(self, *, resume: bool = False, report: Callable[[StepReport], None] = lambda progress: None) -> Outcome:
        """Train to the end, or until validation stops getting better; the best weights are then in ``model``.

        Raises InputError if the folder has a run and it is not to be resumed, or has another one; or the data is bad.
        Raises TrainingError if the loss or the gradient is not finite; names the clips of the batch. Raises
        WeightsError if the checkpoint is damaged or of another model. Raises Terminated at SIGTERM, when a checkpoint
        has been written.
        """
        if rank() == 0:
            checkpoint.start(self.folder, self.config, resume)
        self._barrier()
        if (self.folder / checkpoint.CHECKPOINT).exists():
            self._load()
        if rank() == 0:
            checkpoint.cut_metrics(self.folder, self.where.step)
            free = {name: getattr(self.recipe, name) for name in checkpoint.MAY_CHANGE}
            where = {"device": str(self.device), "num_devices": num_devices()}
            checkpoint.append_history(self.folder, self.where.step, free | where)
        with self._at_sigterm(), torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            while not self.where.done:
                self._epoch(report)
        if (self.folder / checkpoint.BEST).exists():
            tensors, _ = checkpoint.load(self.folder / checkpoint.BEST)
            for name, module in self._modules():
                fill(module, checkpoint.part(tensors, name), self.folder / checkpoint.BEST, "this model")
        elif self.mean:
            self.model.load_state_dict(self.mean, strict=False)
        epochs = self.where.step // len(self.loader)
        best = self.where.best if self.measured is not None else None
        early = self.where.step < self.num_steps
        measure = self.measured or "last"
        return Outcome(steps=self.where.step, epochs=epochs, measure=measure, best=best, stopped_early=early)

    def _epoch(self, report: Callable[[StepReport], None]) -> None:
        began, first = time.monotonic(), self.where.step
        for batch in self.loader:
            metrics = self.step(batch)
            passed, steps = time.monotonic() - began, self.where.step - first
            self._note(metrics, steps / max(passed, 1e-9), report)
            inside, asked = self.loader.state["position"] != 0, self._asked_to_end()
            if inside and (asked or self.where.step % self.recipe.checkpoint_every == 0):
                self._save()
            if inside and asked:
                raise Terminated(f"at step {self.where.step}, a checkpoint is written")
        self._end_of_epoch(report, (self.where.step - first) / max(time.monotonic() - began, 1e-9))
        self._save()
        if not self.where.done and self._asked_to_end():
            raise Terminated(f"at step {self.where.step}, a checkpoint is written")

    @contextmanager
    def _at_sigterm(self) -> Iterator[None]:
        """SIGTERM, as of a scheduler, asks for an end after the step; only the main thread can take signals."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, lambda *_: setattr(self, "_terminated", True))
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before or signal.SIG_DFL)

    def _asked_to_end(self) -> bool:
        """Whether any of the processes was."""
        if num_devices() == 1:
            return self._terminated
        asked = torch.tensor(int(self._terminated), device=self.device)
        distributed.all_reduce(asked)
        return bool(asked)

    def step(self, batch: Batch) -> dict[str, Any]:
        """One step of the optimizer; the terms of the loss, the learning rate, the norm of the gradient.

        Raises TrainingError if the loss or the gradient is not finite, or the batch does not fit into memory.
        """
        step, recipe = self.where.step, self.recipe
        self.model.train(), self.objective.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(step) * group["factor"]
        self.optimizer.zero_grad(set_to_none=True)
        batch = batch.to(self.device)
        if self.device.type == "cuda":  # it was allocated on the loader's stream, which may not reuse it too early
            for tensor in batch.tensors().values():
                tensor.record_stream(torch.cuda.current_stream(self.device))
        try:
            terms = self._backward(batch)
        except RuntimeError as error:
            if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
                raise
            raise TrainingError(_too_large(step + 1, recipe, batch)) from error
        average_gradients(self.parameters)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, recipe.grad_clip or math.inf)
        values = {name: float(term) for name, term in {**terms, "grad_norm": norm}.items()}
        loss = sum(values[name] for name in terms)
        if not (math.isfinite(loss) and math.isfinite(values["grad_norm"])):
            with torch.no_grad():
                batch = self.model.with_states(batch)
            raise TrainingError(_not_finite(step + 1, values, batch, tuned=bool(self.tuned)))
        self.optimizer.step()
        if recipe.ema_decay:
            decay = min(recipe.ema_decay, (1 + step) / (10 + step))  # else the mean of a short run is where it began
            with torch.no_grad():
                for name, parameter in self._named():
                    self.mean[name].lerp_(parameter, 1 - decay)
        self.where.step += 1
        counters: dict[str, Any] = {"step": step + 1, "epoch": step // len(self.loader)}
        if self.device.type == "cuda":
            values["gpu_GiB"] = torch.cuda.max_memory_allocated(self.device) / 2**30
        return {**counters, "loss": loss, **values, "lr": self.learning_rate(step)}

    def learning_rate(self, step: int) -> float:
        """Of this step, counted from 0."""
        recipe = self.recipe
        if step < recipe.warmup_steps:
            return recipe.learning_rate * (step + 1) / recipe.warmup_steps
        if recipe.schedule == "constant":
            return recipe.learning_rate
        share = (step - recipe.warmup_steps) / max(1, self.num_steps - recipe.warmup_steps)
        return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * share))

    def _backward(self, batch: Batch) -> dict[str, Tensor]:
        """Gradients of the whole batch's loss; its terms.

        In chunks: project all without gradients, take the loss's gradient at the vectors, then project each chunk
        again, with the same dropout, and pass its part on. The sum is the gradient of the whole batch.
        """
        size = self.recipe.chunk_size or len(batch)
        parts = batch.chunks(size)
        if len(parts) == 1:
            vectors = self._project(parts[0], 0)
        else:
            with torch.no_grad():
                made = [self._project(part, i) for i, part in enumerate(parts)]
            vectors = {name: tensor.requires_grad_() for name, tensor in _joined(made).items()}
        seed = _drawn(self.recipe.seed, self.where.step)
        terms = self.objective.losses(self.model.projected(vectors, batch, seed))
        torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
        if len(parts) > 1:
            for i, part in enumerate(parts):
                again = self._project(part, i)
                cut = slice(i * size, i * size + len(part))
                asked = {n: v.grad[cut] for n, v in vectors.items() if v.grad is not None and again[n].requires_grad}
                torch.autograd.backward([again[name] for name in asked], list(asked.values()))
        return {name: term.detach() for name, term in terms.items()}

    def _project(self, part: Batch, chunk: int) -> dict[str, Tensor]:
        torch.manual_seed(_drawn(self.recipe.seed, self.where.step, rank(), chunk))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bfloat16"):
            vectors: dict[str, Tensor] = self.model(part, self.objective.reads_rows)
        return vectors

    def _end_of_epoch(self, report: Callable[[StepReport], None], rate: float) -> None:
        where, recipe = self.where, self.recipe
        if self.val is not None:
            with self._averaged():
                found = self._validated(self.val)
                score = next(iter(found.values())) if recipe.measure != "last" else -1.0
                if score > where.best:
                    where.best, where.bad_epochs = score, 0
                    if rank() == 0:
                        checkpoint.save(self.folder / checkpoint.BEST, self._weights(), {"step": where.step})
                elif where.step >= recipe.warmup_steps:
                    where.bad_epochs += 1
            self._note({"step": where.step, **found}, rate, report)
        where.done = self._is_done()

    def _is_done(self) -> bool:
        patience = None if self.measured is None else self.recipe.patience
        return self.where.step >= self.num_steps or (patience is not None and self.where.bad_epochs >= patience)

    @property
    def measured(self) -> str | None:
        """What the weights are chosen by; None where the last ones are kept."""
        return None if self.val is None or self.recipe.measure == "last" else self.recipe.measure

    def _validated(self, val: FrozenFeatures) -> dict[str, float]:
        """Scores of the validation split, the one that counts first, and the loss."""
        names = ["val_R@1", "val_T2A_R@1", "val_A2T_R@1"] if self.measured != "detection" else ["val_mAP"]
        scores = torch.zeros(len(names), dtype=torch.float64, device=self.device)
        if rank() == 0 and self.measured is not None:
            if self.measured == "detection":
                scores[:] = detection(self.model, val, self.device)
            else:
                name: Any = self.measured
                view = replace(views_of(self.recipe.objective).rank, name=name)
                t2a, a2t = recalls(self.model, val, self.device, view)
                scores[:] = torch.tensor([(t2a + a2t) / 2, t2a, a2t], dtype=torch.float64)
        if num_devices() > 1:
            distributed.broadcast(scores, 0)
        found = dict(zip(names, scores.tolist(), strict=True)) if self.measured is not None else {}
        return found | {"val_loss": self._val_loss(val)}

    @torch.no_grad()
    def _val_loss(self, val: FrozenFeatures) -> float:
        """Mean loss of the validation split, in batches as large as in training if there are so many clips."""
        size = min(self.recipe.batch_size, len(val)) // num_devices()
        given: Any = {"seed": self.recipe.seed, "rank": rank(), "world_size": num_devices(), "shuffle": False}
        self.model.eval(), self.objective.eval()
        losses = []
        for batch in Loader(self._source("val"), batch_size=size, workers=0, **given):
            batch = batch.to(self.device)
            parts = [self._project(part, 0) for part in batch.chunks(self.recipe.chunk_size or len(batch))]
            made = self.model.projected(_joined(parts), batch, _drawn(self.recipe.seed))
            losses.append(float(sum(self.objective.losses(made).values())))
        return float(np.mean(losses))

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """The model with its running mean for weights, where there is one."""
        own = {n: p.detach().clone() for n, p in self._named()} if self.mean else {}
        try:
            if self.mean:
                self.model.load_state_dict(self.mean, strict=False)
            yield
        finally:
            if own:
                self.model.load_state_dict(own, strict=False)

    def _note(self, metrics: dict[str, Any], steps_per_s: float, report: Callable[[StepReport], None]) -> None:
        rate, left = steps_per_s * self.recipe.batch_size, (self.num_steps - self.where.step) / max(steps_per_s, 1e-9)
        if rank() == 0:
            with (self.folder / checkpoint.METRICS).open("a", encoding="utf-8") as file:
                file.write(json.dumps({**metrics, "clips_per_s": round(rate, 1)}) + "\n")
            where = {"step": self.where.step, "num_steps": self.num_steps}
            report(StepReport(**where, metrics=metrics, clips_per_s=rate, seconds_left=left))

    def _save(self) -> None:
        self.where.loader = self.loader.state
        tuned = [kernel_choices()] * num_devices()
        if num_devices() > 1:
            distributed.all_gather_object(tuned, kernel_choices())
        self.where.kernels = {str(i): choices for i, choices in enumerate(tuned)}
        if rank() == 0:
            checkpoint.save(self.folder / checkpoint.CHECKPOINT, self._tensors(), vars(self.where))
        self._barrier()

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {f"mean.{name}": tensor for name, tensor in self.mean.items()}
        tensors.update(self._weights())
        for i, kept in self.optimizer.state_dict()["state"].items():
            tensors.update({f"adam.{i}.{name}": torch.as_tensor(value) for name, value in kept.items()})
        return tensors

    def _modules(self) -> tuple[tuple[str, nn.Module], ...]:
        return ("model", self.model), ("objective", self.objective)

    def _weights(self) -> dict[str, Tensor]:
        return {f"{name}.{n}": tensor for name, module in self._modules() for n, tensor in module.state_dict().items()}

    def _load(self) -> None:
        file = self.folder / checkpoint.CHECKPOINT
        tensors, state = checkpoint.load(file)
        state.setdefault("kernels", {})  # a checkpoint of an earlier release has none
        found = {name: tensor.shape for name, tensor in tensors.items() if not name.startswith("adam.")}
        kinds = [{name: type(value) for name, value in where.items()} for where in (state, vars(self.where))]
        if found != {name: t.shape for name, t in self._tensors().items()} or kinds[0] != kinds[1]:
            raise WeightsError(f"{file} does not fit this model. Begin in another folder.")
        for name, module in self._modules():
            module.load_state_dict(checkpoint.part(tensors, name))
        self.mean = {n: t.to(self.device) for n, t in checkpoint.part(tensors, "mean").items()}
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in checkpoint.part(tensors, "adam").items():
            number, _, what = name.partition(".")
            moments.setdefault(int(number), {})[what] = tensor
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})
        self.where = _Where(**state)
        self.where.done = self._is_done()  # by the epochs and the patience of now
        use_kernel_choices(self.where.kernels.get(str(rank()), {}))
        self.loader.load_state(self.where.loader)

    def _barrier(self) -> None:
        if num_devices() > 1:
            distributed.barrier()


class _OnDevice:
    """Batches of a source on a CUDA device: the loader's threads copy them there while the step before runs."""

    def __init__(self, source: PairSource, device: torch.device) -> None:
        self._source, self._device, self._stream = source, device, torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def __len__(self) -> int:
        return len(self._source)

    def gather(self, rows: IntArray, rng: np.random.Generator) -> Batch:
        with torch.cuda.stream(self._stream):
            batch = self._source.gather(rows, rng).to(self._device)
            self._stream.synchronize()
        return batch


def _not_finite(step: int, values: Mapping[str, float], batch: Batch, tuned: bool) -> str:
    """What happened at a step, and the clips whose states are not finite, or all of the batch if all are."""
    floats = [t.flatten(1) for t in batch.tensors().values() if t.is_floating_point()]
    fine_B = torch.stack([f.isfinite().all(dim=1) for f in floats]).all(dim=0)
    bad = [name for name, whole in zip(batch.ids, fine_B.tolist(), strict=True) if not whole]
    shown = ", ".join(f"{name} {value:g}" for name, value in values.items())
    said = f"step {step}: the loss is not finite ({shown}). "
    if not gather((~fine_B).float()).any():
        return f"{said}All states are; lower the learning rate. Clips of the batch: {', '.join(batch.ids)}."
    if not bad:
        return f"{said}Another process names clips whose states are not finite."
    remedy = "Leave them out, or lower the learning rate" if tuned else "Compute them again: delete the cache"
    return f"{said}These clips have states that are not finite: {', '.join(bad)}. {remedy}."


def _too_large(step: int, recipe: Recipe, batch: Batch) -> str:
    longest = [
        f"{int(count)} {what} ({batch.ids[int(row)]})"
        for what, mask in (("frames", batch.frame_mask_BT), ("tokens", batch.token_mask_BL))
        for count, row in [mask.sum(dim=1).max(dim=0)]
    ]
    return (
        f"step {step}: {recipe.chunk_size or len(batch)} pairs do not fit into memory at once; the longest have "
        f"{' and '.join(longest)}. Take a smaller --chunk-size, which changes no loss, or shorter captions and clips."
    )


def _joined(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Vectors of parts of a batch as those of the batch."""
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _drawn(*numbers: int) -> int:
    """A seed of its own for each tuple of numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))
