"""What is minimised: FIGMA, FineLAP, and ours, which unites them. Needs torch.

An objective has one method, ``losses(batch)``: its terms by name, weighted, whose sum is minimised. It sees the whole
batch whatever the number of devices (``gather``), so a loss is the same to rounding on one device or many.

FIGMA (arXiv 2606.06615): ``alpha L_global + (1 - alpha) L_frame``, both symmetric InfoNCE at temperature tau, the frame
term over the frame score S(i, j) of ``alignment``, which takes the mean over frames of the maximum over tokens in both
directions. FineLAP: ``alpha L_clip + beta L_frame``; L_clip is SigLIP's sum of log-sigmoids over all
pairs divided by B, L_frame the mean binary cross-entropy of every frame with each of N phrases, over clips whose frames
are labelled; logits are ``cosine / t + b`` with t and b learnt, of their own for both terms. United: FIGMA, and
FineLAP's frame term where labels exist.

Shape letters: B items of all devices, N phrases, T frames, L tokens, D dimensions.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from solfa.alignment.gather import gather, rank
from solfa.alignment.joint import Projected
from solfa.alignment.pairwise import Direction, Implementation, frame_scores
from solfa.core import types
from solfa.core.errors import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class FigmaConfig:
    """FIGMA's loss.

    ``alpha`` weights the global term against the frame term (1 or 0 leaves one of them). ``num_negatives`` draws so
    many negatives for each anchor in place of all others of the batch. ``precision`` is what vectors are rounded to in
    the frame score. Where a teacher knows the pairs of a batch, ``distil`` is the weight of its probabilities in the
    targets, beside the pairs of the data.
    """

    alpha: float = 0.6
    tau: float = 0.07
    direction: Direction = "frames"
    num_negatives: int | None = None
    distil: float = 1.0
    implementation: Implementation = "auto"
    precision: Literal["float32", "bfloat16"] = "float32"


@dataclass(frozen=True, kw_only=True, slots=True)
class FineLapConfig:
    """FineLAP's loss.

    ``alpha`` and ``beta`` weight the clip and the frame term; 0 leaves one out. ``infonce`` is the paper's ablation.
    ``safe_temperature`` learns log(1/t), so that t cannot cross zero (the published code learns t).
    """

    alpha: float = 1.0
    beta: float = 1.0
    clip_loss: Literal["sigmoid", "infonce"] = "sigmoid"
    temperature: float = 0.1
    bias: float = -10.0
    safe_temperature: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitedConfig:
    """FIGMA's loss on captions, plus ``beta`` times FineLAP's frame term on labelled phrases.

    ``bias`` starts near the log odds of a phrase being present in a frame (one in twenty); from -10 it takes thousands
    of steps to come back.
    """

    figma: FigmaConfig = FigmaConfig()
    beta: float = 0.2
    temperature: float = 0.1
    bias: float = -3.0


ObjectiveConfig: TypeAlias = FigmaConfig | FineLapConfig | UnitedConfig


def views_of(config: ObjectiveConfig) -> types.Views:
    """The views that a loss trains, and the one that it is best ranked by.

    FineLAP's frames are trained against phrases, not captions, so that it ranks by the global view if that is trained.
    """
    if isinstance(config, FineLapConfig):
        names: tuple[tuple[types.ViewName, bool], ...] = ("global", config.alpha > 0), ("frame", config.beta > 0)
        trained = tuple(name for name, is_trained in names if is_trained)
        return types.Views(trained=trained, rank=types.View(name=trained[0] if trained else "global"))
    figma = config.figma if isinstance(config, UnitedConfig) else config
    name: types.ViewName = "global" if figma.alpha == 1 else "frame" if figma.alpha == 0 else "mix"
    rank = types.View(name=name, alpha=figma.alpha, direction=figma.direction)
    return types.Views(trained=("global", "frame", "mix") if name == "mix" else (name,), rank=rank)


class Objective(nn.Module):
    """What is minimised; the learnt parameters of a loss are its own.

    ``reads_rows``: whether frames and tokens are looked at; where not, they need not be projected; ``logits``: the
    temperatures and biases that its sigmoid terms of a weight learn: of ``clip``, of ``frame``.
    """

    def __init__(self, *, reads_rows: bool = True) -> None:
        super().__init__()
        self.reads_rows = reads_rows
        self.logits: dict[str, LearntLogit] = {}

    def losses(self, batch: Projected) -> dict[str, Tensor]:
        """The terms by name, weighted: scalars whose sum is minimised."""
        raise NotImplementedError


class Figma(Objective):
    """FIGMA's two InfoNCE terms. Raises InputError if alpha or distil is not in 0..1 or tau is not positive."""

    def __init__(self, config: FigmaConfig) -> None:
        super().__init__(reads_rows=config.alpha < 1)
        if not (0 <= config.alpha <= 1 and config.tau > 0 and 0 <= config.distil <= 1):
            said = f"alpha {config.alpha}, distil {config.distil} and tau {config.tau}"
            raise InputError(f"figma: {said}; expected 0..1, 0..1 and > 0.")
        self.config = config

    def losses(self, batch: Projected) -> dict[str, Tensor]:
        """``global`` and ``frame``; a term of weight 0 is not computed."""
        c, terms = self.config, {}
        negatives = c.num_negatives if self.training else None  # validation may have smaller batches
        if c.alpha > 0:
            scores_BB = gather(batch.audio_BD) @ gather(batch.text_BD).T
            terms["global"] = c.alpha * self._contrast(scores_BB / c.tau, negatives, batch)
        if c.alpha < 1:
            # Frames remain where they are: each device scores its own against the tokens of all.
            own = frame_scores(
                batch.frames_BTD,
                batch.frame_mask_BT,
                gather(batch.tokens_BLD),
                gather(batch.token_mask_BL),
                direction=c.direction,
                implementation=c.implementation,
                precision=getattr(torch, c.precision),
            )
            terms["frame"] = (1 - c.alpha) * self._contrast(gather(own) / c.tau, negatives, batch)
        return terms

    def _contrast(self, logits_BB: Tensor, negatives: int | None, batch: Projected) -> Tensor:
        if batch.teacher_BB is None:
            return info_nce(logits_BB, negatives, batch.seed)
        return distilled(logits_BB, batch.teacher_BB, self.config.distil)


class LearntLogit(nn.Module):
    """``cosine / t + b``, both learnt."""

    def __init__(self, temperature: float, bias: float, safe: bool) -> None:
        super().__init__()
        if temperature <= 0:
            raise InputError(f"a temperature starts above 0, got {temperature}.")
        self.safe = safe
        self.scale = nn.Parameter(torch.tensor(-math.log(temperature) if safe else temperature))
        self.bias = nn.Parameter(torch.tensor(bias))

    def factor(self) -> Tensor:
        """1 / t; where it is safe, t is between 0.001 and 1000, and its gradient is never cut off there."""
        if not self.safe:
            return 1.0 / self.scale
        limited = self.scale.clamp(-math.log(1000.0), math.log(1000.0))
        return (self.scale + (limited - self.scale).detach()).exp()

    @property
    def value(self) -> types.Logit:
        """What has been learnt."""
        return types.Logit(temperature=1 / self.factor().item(), bias=self.bias.item())

    @torch.no_grad()
    def start(self, value: types.Logit) -> None:
        """Go on from what another run has learnt. Raises InputError if it cannot be held."""
        if self.safe and value.temperature <= 0:
            raise InputError(f"a temperature of {value.temperature} cannot be learnt on as log(1/t); expected above 0.")
        self.scale.fill_(-math.log(value.temperature) if self.safe else value.temperature)
        self.bias.fill_(value.bias)

    def forward(self, cosines: Tensor) -> Tensor:
        """Logits of the same shape."""
        return cosines * self.factor() + self.bias


class FineLap(Objective):
    """FineLAP's dual-stream sigmoid loss."""

    def __init__(self, config: FineLapConfig) -> None:
        super().__init__(reads_rows=config.beta > 0)
        self.config = config
        self.clip = LearntLogit(config.temperature, config.bias, config.safe_temperature)
        self.frame = LearntLogit(config.temperature, config.bias, config.safe_temperature)
        used = {"clip": config.alpha > 0 and config.clip_loss == "sigmoid", "frame": config.beta > 0}
        self.logits = {name: getattr(self, name) for name, is_used in used.items() if is_used}

    def losses(self, batch: Projected) -> dict[str, Tensor]:
        """``clip`` and ``frame``; a term of weight 0 is not computed."""
        c, terms = self.config, {}
        if c.alpha > 0 and c.clip_loss == "sigmoid":
            terms["clip"] = c.alpha * self._pairs(batch)
        elif c.alpha > 0:
            cosines_BB = gather(batch.audio_BD) @ gather(batch.text_BD).T
            terms["clip"] = c.alpha * info_nce(cosines_BB * self.clip.factor())
        if c.beta > 0:
            terms["frame"] = c.beta * frame_cross_entropy(batch, self.frame)
        return terms

    def _pairs(self, batch: Projected) -> Tensor:
        """-1/B of the sum over all pairs of log sigmoid(y x), y = 1 on the diagonal and -1 elsewhere."""
        text_BD = gather(batch.text_BD)
        logits = self.clip(batch.audio_BD @ text_BD.T)
        first = rank() * len(batch.audio_BD)  # of this device's rows among those of all
        own = torch.arange(len(logits), device=logits.device)
        sign = torch.full_like(logits, -1.0)
        sign[own, own + first] = 1.0
        return gather(-F.logsigmoid(sign * logits).sum(dim=1)).sum() / len(text_BD)


class United(Objective):
    """FIGMA's terms on captions and FineLAP's frame term on labelled phrases, over the same frames."""

    def __init__(self, config: UnitedConfig) -> None:
        super().__init__(reads_rows=config.figma.alpha < 1 or config.beta > 0)
        self.config, self.figma = config, Figma(config.figma)
        self.label = LearntLogit(config.temperature, config.bias, safe=True)
        self.logits = {"frame": self.label} if config.beta > 0 else {}

    def losses(self, batch: Projected) -> dict[str, Tensor]:
        """``global``, ``frame``, ``label``; a term of weight 0 is not computed."""
        terms = self.figma.losses(batch)
        if self.config.beta > 0:
            terms["label"] = self.config.beta * frame_cross_entropy(batch, self.label)
        return terms


def frame_cross_entropy(batch: Projected, logit: LearntLogit) -> Tensor:
    """Mean binary cross-entropy over labelled clips, their phrases and their real frames; 0 if the batch has none."""
    real_BNT = batch.grounded_B[:, None, None] & batch.frame_mask_BT[:, None, :].expand_as(batch.labels_BNT)
    cosines_BNT = torch.einsum("bnd,btd->bnt", batch.phrases_BND, batch.frames_BTD)
    each = F.binary_cross_entropy_with_logits(logit(cosines_BNT), batch.labels_BNT.float(), reduction="none")
    total = gather(torch.where(real_BNT, each, 0.0).sum()[None]).sum()
    return total / gather(real_BNT.sum()[None].float()).sum().clamp(min=1)


def info_nce(logits_BB: Tensor, num_negatives: int | None = None, seed: int = 0) -> Tensor:
    """Mean of both directions' cross-entropies with the diagonal as answer.

    With ``num_negatives`` every anchor has so many others in its denominator, drawn from ``seed``. Raises InputError if
    the batch has not so many.
    """
    targets = torch.arange(len(logits_BB), device=logits_BB.device)
    rows, columns = logits_BB.float(), logits_BB.float().T
    if num_negatives is not None:
        if not 1 <= num_negatives < len(logits_BB):
            raise InputError(f"{num_negatives} negatives of a batch of {len(logits_BB)}: expected 1 to one less.")
        generator = torch.Generator().manual_seed(seed)
        rows = rows.masked_fill(~_drawn(len(rows), num_negatives, generator).to(rows.device), -torch.inf)
        columns = columns.masked_fill(~_drawn(len(rows), num_negatives, generator).to(rows.device), -torch.inf)
    return (F.cross_entropy(rows, targets) + F.cross_entropy(columns, targets)) / 2


def distilled(logits_BB: Tensor, teacher_BB: Tensor, share: float) -> Tensor:
    """``info_nce`` against what a teacher says of the pairs: log-probabilities of clip i given text j.

    Pairs that the teacher does not know are NaN: of texts without a teacher, which are compared with each other's clips
    alone, with the diagonal as answer. A target is ``share`` times the teacher's probabilities among the clips (texts)
    of the batch that it knows, and the rest on the diagonal: the cross-entropy of which, up to a constant, is the
    divergence of CLIP-style distillation (Hinton et al. 2015; Wu et al., TinyCLIP, ICCV 2023).
    """
    known_BB = ~teacher_BB.isnan()
    free_BB = ~known_BB.any(dim=1)[:, None] & ~known_BB.any(dim=0)[None]
    hidden_BB, own_BB = ~(known_BB | free_BB), torch.eye(len(logits_BB), device=logits_BB.device)
    losses = []
    for dim in (1, 0):
        taught_BB = teacher_BB.masked_fill(~known_BB, -torch.inf).softmax(dim).nan_to_num() * share
        targets_BB = taught_BB + own_BB * (1 - taught_BB.sum(dim, keepdim=True))
        logs_BB = logits_BB.float().masked_fill(hidden_BB & (own_BB == 0), -torch.inf).log_softmax(dim)
        losses.append(-torch.where(targets_BB > 0, targets_BB * logs_BB, 0.0).sum() / len(logits_BB))
    return (losses[0] + losses[1]) / 2


def _drawn(count: int, num_negatives: int, generator: torch.Generator) -> Tensor:
    """For each row its own column and so many others, bool [shape=(B, B)]."""
    chance = torch.rand((count, count), generator=generator).fill_diagonal_(2.0)
    return torch.zeros((count, count), dtype=torch.bool).scatter_(1, chance.topk(num_negatives + 1).indices, True)


_BY_CONFIG: dict[type[ObjectiveConfig], tuple[str, type[Objective]]] = {
    FigmaConfig: ("figma", Figma),
    FineLapConfig: ("finelap", FineLap),
    UnitedConfig: ("united", United),
}
KINDS = {name: config for config, (name, _) in _BY_CONFIG.items()}


def objective(config: ObjectiveConfig) -> Objective:
    """The objective of a configuration."""
    made: Any = _BY_CONFIG[type(config)][1]
    out: Objective = made(config)
    return out


def to_json(config: ObjectiveConfig) -> dict[str, Any]:
    """The configuration as plain JSON with its ``kind``, for the record of a run."""
    return {"kind": _BY_CONFIG[type(config)][0], **asdict(config)}
