"""Networks that denoise latents given the states of a text: a 1-D UNet and an MLP, as GD-Retriever has. Needs torch.

Letters as in ``guidance``; C channels. Sizes that are defaults here are the published ones (arXiv 2506.17886).
"""

import math
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from solfa.core.errors import InputError
from solfa.diffusion.schedule import Prediction, Schedule


@dataclass(frozen=True, kw_only=True)
class DenoiserConfig:
    """Sizes of a denoiser, and what it is trained to do. Raises InputError if a value is out of range.

    - ``prediction``: ``sample``, ``epsilon`` or ``v`` (``Schedule.target``)
    - ``text_dropout``: share of texts that the null text, of ``null_tokens`` learnt states, stands in for
    - ``contrastive``: weight of InfoNCE, with ``temperature``, between means over time of what was predicted and of
      what is right; 0 is the mean squared error alone
    - ``generates``: False trains a regression baseline: one learnt input in place of noise, one pass
    """

    kind: ClassVar[str]
    dim: int
    text_dim: int
    length: int = 64
    time_dim: int = 1024
    prediction: Prediction = "sample"
    text_dropout: float = 0.5
    null_tokens: int = 77
    contrastive: float = 0.0
    temperature: float = 0.1
    generates: bool = True

    def __post_init__(self) -> None:
        fine = 0 <= self.text_dropout < 1 and self.null_tokens > 0 and self.contrastive >= 0 and self.temperature > 0
        fine = fine and self.time_dim > 1 and self.prediction in get_args(Prediction) and self._sizes_fit()
        if not (fine and (self.generates or self.prediction == "sample")):
            raise InputError(f"{self}: a value is out of range, or sizes do not fit; a baseline predicts the sample.")

    def _sizes_fit(self) -> bool:
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        """Plain JSON with the ``kind``, for the record of a run."""
        return {"kind": self.kind, **asdict(self)}


@dataclass(frozen=True, kw_only=True)
class UNetConfig(DenoiserConfig):
    """A UNet over ``length`` steps; the tuples have a value for each level.

    ``items`` are residual blocks on the way down, and as many on the way up; ``attention`` is 1 where each is followed
    by self-attention and attention to the text; ``factors`` say by how much a level shortens time.
    """

    kind: ClassVar[str] = "unet"
    channels: tuple[int, ...] = (1024, 1024, 1536, 2048)
    factors: tuple[int, ...] = (2, 2, 4, 4)
    items: tuple[int, ...] = (1, 1, 2, 2)
    attention: tuple[int, ...] = (0, 0, 1, 1)
    heads: int = 8
    head_dim: int = 768
    groups: int = 2

    def _sizes_fit(self) -> bool:
        levels = {len(values) for values in (self.channels, self.factors, self.items, self.attention)}
        sizes = (*self.channels, *self.factors, *self.items, self.heads, self.head_dim, self.groups)
        positive = len(levels) == 1 and min(sizes) > 0 and self.length % math.prod(self.factors) == 0
        return positive and not any(channels % self.groups for channels in self.channels)


@dataclass(frozen=True, kw_only=True)
class MlpDenoiserConfig(DenoiserConfig):
    """Layers over the mean of a latent in time (``length`` is 1), with the mean of the text's states."""

    kind: ClassVar[str] = "mlp-denoiser"
    length: int = 1
    time_dim: int = 512
    width: int = 2048
    layers: int = 3
    dropout: float = 0.1

    def _sizes_fit(self) -> bool:
        return self.length == 1 and 0 <= self.dropout < 1 and min(self.width, self.layers) > 0


CONFIGS: dict[str, Any] = {config.kind: config for config in (UNetConfig, MlpDenoiserConfig)}


class Modulation(nn.Module):
    """A layer norm whose scale and shift come from a condition (adaptive layer norm)."""

    def __init__(self, dim: int, condition_dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, elementwise_affine=False)
        self.layers = nn.Sequential(nn.SiLU(), nn.Linear(condition_dim, 2 * dim))

    def forward(self, x_BTC: Tensor, condition_BD: Tensor) -> Tensor:
        scale, shift = self.layers(condition_BD)[:, None].chunk(2, dim=-1)
        out: Tensor = self.norm(x_BTC) * (1 + scale) + shift
        return out


class Attention(nn.Module):
    """Attention of steps to each other, or to the real tokens of a text; its input is added."""

    def __init__(self, dim: int, context_dim: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.heads, inner = heads, heads * head_dim
        self.norm, self.norm_context = nn.LayerNorm(dim), nn.LayerNorm(context_dim)
        self.query, self.key_value = nn.Linear(dim, inner, bias=False), nn.Linear(context_dim, 2 * inner, bias=False)
        self.out = nn.Linear(inner, dim, bias=False)

    def forward(self, x_BTC: Tensor, context_BLE: Tensor, mask_BL: Tensor | None = None) -> Tensor:
        key, value = self.key_value(self.norm_context(context_BLE)).chunk(2, dim=-1)
        q, k, v = (a.unflatten(2, (self.heads, -1)).transpose(1, 2) for a in (self.query(self.norm(x_BTC)), key, value))
        attend = None if mask_BL is None else mask_BL[:, None, None]
        out: Tensor = self.out(F.scaled_dot_product_attention(q, k, v, attn_mask=attend).transpose(1, 2).flatten(2))
        return x_BTC + out


class UNetItem(nn.Module):
    """Two convolutions and their input, modulated by the level of noise; then perhaps attention."""

    def __init__(self, config: UNetConfig, width: int, attention: bool) -> None:
        super().__init__()
        blocks = [(nn.GroupNorm(config.groups, width), nn.SiLU(), nn.Conv1d(width, width, 3, padding=1)) for _ in "ab"]
        self.residual = nn.Sequential(*blocks[0], *blocks[1])
        self.modulation, sizes = Modulation(width, config.time_dim), (config.heads, config.head_dim)
        self.own = Attention(width, width, *sizes) if attention else None
        self.cross = Attention(width, config.text_dim, *sizes) if attention else None

    def forward(self, x_BCT: Tensor, time_BD: Tensor, text_BLE: Tensor, mask_BL: Tensor) -> Tensor:
        x_BTC: Tensor = self.modulation((x_BCT + self.residual(x_BCT)).transpose(1, 2), time_BD)
        if self.own is not None and self.cross is not None:
            x_BTC = self.cross(self.own(x_BTC, x_BTC), text_BLE, mask_BL)
        return x_BTC.transpose(1, 2)


class UNet(nn.Module):
    """From level ``depth`` on: down in time, items, the levels below, items, up again, joined with what came in.

    The layout is that of ``XUNet`` of the package a-unet, which GD-Retriever uses.
    """

    def __init__(self, config: UNetConfig, depth: int = 0) -> None:
        super().__init__()
        outer = config.dim if depth == 0 else config.channels[depth - 1]
        inner, factor, attention = config.channels[depth], config.factors[depth], bool(config.attention[depth])
        self.down = nn.Conv1d(outer, inner, factor, stride=factor)
        before, after = ([UNetItem(config, inner, attention) for _ in range(config.items[depth])] for _ in "ab")
        below = [UNet(config, depth + 1)] if depth + 1 < len(config.channels) else []
        self.items = nn.ModuleList([*before, *below, *after])
        self.up = nn.Sequential(nn.Upsample(scale_factor=factor), nn.Conv1d(inner, outer, 3, padding=1))
        self.join = nn.Conv1d(2 * outer, outer, 1)

    def forward(self, x_BCT: Tensor, time_BD: Tensor, text_BLE: Tensor, mask_BL: Tensor) -> Tensor:
        y_BCT = self.down(x_BCT)
        for item in self.items:
            y_BCT = item(y_BCT, time_BD, text_BLE, mask_BL)
        out: Tensor = self.join(torch.cat([x_BCT, self.up(y_BCT)], dim=1))
        return out


class Mlp(nn.Module):
    """Layers behind layer norms that the level of noise and the text modulate."""

    def __init__(self, config: MlpDenoiserConfig) -> None:
        super().__init__()
        self.text, widths = nn.Linear(config.text_dim, config.time_dim), [config.dim, *[config.width] * config.layers]
        self.norms = nn.ModuleList([Modulation(width, config.time_dim) for width in widths])
        self.layers = nn.ModuleList([nn.Linear(a, b) for a, b in zip(widths, [*widths[1:], config.dim], strict=True)])
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x_BCT: Tensor, time_BD: Tensor, text_BLE: Tensor, mask_BL: Tensor) -> Tensor:
        share_BL1 = (mask_BL / mask_BL.sum(dim=1, keepdim=True).clamp(min=1))[..., None]
        condition_BD, x = time_BD + self.text((text_BLE * share_BL1).sum(dim=1)), x_BCT.transpose(1, 2)
        for norm, layer in zip(self.norms[:-1], self.layers[:-1], strict=True):
            x = self.dropout(F.silu(layer(norm(x, condition_BD))))
        out: Tensor = self.layers[-1](self.norms[-1](x, condition_BD))
        return out.transpose(1, 2)


class Generator(nn.Module):
    """A denoiser with what else it learns: the null text, and of a regression baseline its one input.

    Latents are standardised: ``z = (x - mean_D) / scale``.
    """

    mean_D: Tensor
    scale: Tensor

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        self.config = config
        self.network = UNet(config) if isinstance(config, UNetConfig) else Mlp(config)  # type: ignore[arg-type]
        self.periods, dim = config.time_dim // 2, config.time_dim
        self.time = nn.Sequential(nn.Linear(2 * self.periods, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.null_LE = nn.Parameter(0.1 * torch.randn(config.null_tokens, config.text_dim))
        self.start_TD = None if config.generates else nn.Parameter(torch.randn(config.length, config.dim))
        self.register_buffer("mean_D", torch.zeros(config.dim))
        self.register_buffer("scale", torch.ones(()))

    def forward(self, z_BTD: Tensor, t_B: Tensor, text_BLE: Tensor, mask_BL: Tensor) -> Tensor:
        """The prediction [shape=(B, T, D)]; of a baseline whatever the latent and its level."""
        if self.start_TD is not None:
            z_BTD, t_B = self.start_TD + 0 * z_BTD, 0 * t_B
        powers = torch.arange(self.periods, device=t_B.device, dtype=torch.float32) / self.periods
        angles = t_B[:, None].float() * torch.exp(-math.log(10_000.0) * powers)
        time_BD = self.time(torch.cat([angles.sin(), angles.cos()], dim=1))
        found: Tensor = self.network(z_BTD.transpose(1, 2), time_BD, text_BLE, mask_BL)
        return found.transpose(1, 2)

    def errors(self, frames_BTD: Tensor, frame_mask_BT: Tensor, text_BLE: Tensor, mask_BL: Tensor) -> dict[str, Tensor]:
        """Squared errors [shape=(B,)], means over time predicted and right [shape=(B, D)]; draws are torch's own."""
        config, schedule, z0 = self.config, Schedule(), self.latents(frames_BTD, frame_mask_BT)
        if config.generates:
            text_BLE, mask_BL = self.some_null(text_BLE, mask_BL)
        t_B, eps = torch.randint(schedule.num_levels, (len(z0),)), torch.randn(z0.shape).to(z0)
        z = schedule.add_noise(z0, eps, t_B)
        found = self(z, t_B.to(z0.device), text_BLE, mask_BL).float()
        error_B = (found - schedule.target(config.prediction, z0, eps, t_B)).square().mean(dim=(1, 2))
        x0 = schedule.to_x0(config.prediction, found, z, t_B)
        return {"error_B": error_B, "predicted_BD": x0.mean(dim=1), "right_BD": z0.mean(dim=1)}

    def latents(self, frames_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        """Standardised crops of ``length`` steps, at random places; shorter sounds are repeated. Means if it is 1."""
        lengths_B1, length = mask_BT.sum(dim=1, keepdim=True), self.config.length
        if length == 1:
            cut = (frames_BTD * mask_BT[..., None]).sum(dim=1, keepdim=True) / lengths_B1[..., None]
        else:
            drawn_B1 = torch.rand((len(frames_BTD), 1)).to(lengths_B1.device)
            starts_B1 = (drawn_B1 * ((lengths_B1 - length).clamp(min=0) + 1)).long()
            at_BT = (starts_B1 + torch.arange(length, device=lengths_B1.device)) % lengths_B1
            cut = frames_BTD.gather(1, at_BT[..., None].expand(-1, -1, frames_BTD.shape[2]))
        return (cut - self.mean_D) / self.scale

    def some_null(self, text_BLE: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
        """The texts with the null text behind, and a mask: ``text_dropout`` of them show the null text alone."""
        drop_B1 = (torch.rand((len(text_BLE), 1)) < self.config.text_dropout).to(text_BLE.device)
        null_BLE = self.null_LE.to(text_BLE).expand(len(text_BLE), -1, -1)
        masks = mask_BL & ~drop_B1, drop_B1.expand(-1, len(self.null_LE))
        return torch.cat([text_BLE, null_BLE], dim=1), torch.cat(masks, dim=1)
