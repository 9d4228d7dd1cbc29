"""Projectors: the small networks from the states of a frozen backbone to vectors of a shared space. Needs torch.

Conventions: a projector maps states [shape=(B, T, in)] and a mask [shape=(B, T)] to unit float32 vectors [shape=(B, T,
out)]; a pooled vector is a sequence of length one. Masked rows come out as zeros and never reach a real row, so padding
changes nothing but rounding. A mask of None means that every row is real.

Published sizes: FIGMA (arXiv 2606.06615) has one Transformer a modality, shared by both views, 22,060,032 parameters in
all; FineLAP has two global MLPs of 1,837,056 each and a frame Transformer of 25,979,904. Positional encoding is added
nowhere: the backbones carry it.

Shape letters: B batch, T frames or tokens, D dimensions, H heads.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from solfa.core.errors import InputError

_KEPT_AT_FIRST = 2.0  # logit of the share of a vector's squared length that what is kept of a state has at first


@dataclass(frozen=True, kw_only=True, slots=True)
class TransformerConfig:
    """A stack of Transformer encoder layers.

    ``in_dim`` other than ``width`` adds a linear map before, ``out_dim`` other than None one after. ``norm_first`` is
    pre-norm (no norm at the end, so that both variants have the same parameters). The first ``kept`` numbers of a state
    are the first of its vector, too, at a length that is learnt, and with ``gated`` learnt for each state by itself (a
    linear map of the state); what is projected are the other ``out_dim - kept``.
    """

    in_dim: int
    out_dim: int | None = 512
    width: int = 1024
    num_heads: int = 8
    feed_forward: int = 512
    num_layers: int = 2
    dropout: float = 0.1
    norm_first: bool = False
    activation: Literal["gelu", "relu"] = "gelu"
    kept: int = 0
    gated: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class MlpConfig:
    """Linear, ReLU, Linear, each row by itself; ``hidden`` None leaves one linear map."""

    in_dim: int
    out_dim: int = 1024
    hidden: int | None = 1024
    bias: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class BiGruConfig:
    """A bidirectional GRU; the output is twice ``hidden`` wide."""

    in_dim: int
    hidden: int = 512
    num_layers: int = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class IdentityConfig:
    """Nothing but the unit length: for backbones that end in a projection of their own, as CLAP's towers do."""

    in_dim: int


ProjectorConfig: TypeAlias = TransformerConfig | MlpConfig | BiGruConfig | IdentityConfig
KINDS: dict[str, type[ProjectorConfig]] = {
    "transformer": TransformerConfig, "mlp": MlpConfig, "bigru": BiGruConfig, "identity": IdentityConfig
}  # fmt: skip


def to_json(config: ProjectorConfig) -> dict[str, Any]:
    """The configuration as plain JSON with its ``kind``."""
    kind = next(name for name, known in KINDS.items() if type(config) is known)
    values = asdict(config)
    for name, usual in (("bias", True), ("kept", 0), ("gated", False)):
        if values.get(name) == usual:
            del values[name]  # as files had it before there was a choice
    return {"kind": kind, **values}


class Projector(nn.Module):
    """A projector of any kind; ``out_dim`` is the width of its vectors."""

    def __init__(self, config: ProjectorConfig) -> None:
        super().__init__()
        self.config = config
        self.body: nn.Module
        self.kept = getattr(config, "kept", 0)
        if self.kept:
            self.share = nn.Parameter(torch.tensor(_KEPT_AT_FIRST))
            self.gate = nn.Linear(config.in_dim, 1, bias=False) if getattr(config, "gated", False) else None
            if self.gate is not None:
                nn.init.zeros_(self.gate.weight)
        if isinstance(config, TransformerConfig):
            self.out_dim = config.width if config.out_dim is None else config.out_dim
            if self.kept and not 0 < self.kept < min(config.in_dim, config.out_dim or 0):
                raise InputError(f"{self.kept} numbers kept of {config.in_dim}, in {config.out_dim}: expected fewer.")
            self.body = _Transformer(replace(config, out_dim=config.out_dim and config.out_dim - self.kept))
        elif isinstance(config, MlpConfig):
            self.body, self.out_dim = _Mlp(config), config.out_dim
        elif isinstance(config, IdentityConfig):
            self.body, self.out_dim = _Identity(), config.in_dim
        else:
            self.body, self.out_dim = _BiGru(config), 2 * config.hidden

    def forward(self, states_BTD: Tensor, mask_BT: Tensor | None = None) -> Tensor:
        """Unit vectors, float32 [shape=(B, T, out)]; zeros where the mask is False."""
        unit = F.normalize(self.body(states_BTD, mask_BT).float(), dim=-1)
        if self.kept:
            logit = self.share if self.gate is None else self.share + self.gate(states_BTD)
            share = logit.float().sigmoid()
            kept = F.normalize(states_BTD[..., : self.kept].float(), dim=-1)
            unit = F.normalize(torch.cat([share.sqrt() * kept, (1 - share).sqrt() * unit], dim=-1), dim=-1)
        return unit if mask_BT is None else unit.masked_fill(~mask_BT[..., None], 0.0)


class _Transformer(nn.Module):
    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        if config.width % config.num_heads:
            raise InputError(f"width {config.width} is not a multiple of the number of heads {config.num_heads}.")
        same = config.in_dim == config.width
        self.enter = nn.Identity() if same else nn.Linear(config.in_dim, config.width)
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.num_layers))
        self.leave = nn.Identity() if config.out_dim is None else nn.Linear(config.width, config.out_dim)

    def forward(self, x_BTD: Tensor, mask_BT: Tensor | None) -> Tensor:
        x_BTD = self.enter(x_BTD)
        attend = None
        if mask_BT is not None:
            # An item without a real row attends to its padding: a softmax over nothing would be NaN.
            attend = (mask_BT | ~mask_BT.any(dim=1, keepdim=True))[:, None, None, :]
        for layer in self.layers:
            x_BTD = layer(x_BTD, attend)
        out: Tensor = self.leave(x_BTD)
        return out


class _Layer(nn.Module):
    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width, inner = config.width, config.feed_forward
        self.num_heads, self.dropout, self.norm_first = config.num_heads, config.dropout, config.norm_first
        self.activation = F.gelu if config.activation == "gelu" else F.relu
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, inner), nn.Linear(inner, width)
        self.norm_attention, self.norm_feed = nn.LayerNorm(width), nn.LayerNorm(width)
        nn.init.xavier_uniform_(self.qkv.weight)  # as torch's own layer starts
        nn.init.zeros_(self.qkv.bias)
        nn.init.zeros_(self.out.bias)

    def forward(self, x_BTD: Tensor, attend: Tensor | None) -> Tensor:
        if self.norm_first:
            x_BTD = x_BTD + self._attention(self.norm_attention(x_BTD), attend)
            return x_BTD + self._feed(self.norm_feed(x_BTD))
        x_BTD = self.norm_attention(x_BTD + self._attention(x_BTD, attend))
        out: Tensor = self.norm_feed(x_BTD + self._feed(x_BTD))
        return out

    def _attention(self, x_BTD: Tensor, attend: Tensor | None) -> Tensor:
        B, T, D = x_BTD.shape
        q, k, v = self.qkv(x_BTD).view(B, T, 3, self.num_heads, D // self.num_heads).permute(2, 0, 3, 1, 4)
        drop = self.dropout if self.training else 0.0
        mixed_BHTD = F.scaled_dot_product_attention(q, k, v, attn_mask=attend, dropout_p=drop)
        return self._drop(self.out(mixed_BHTD.transpose(1, 2).reshape(B, T, D)))

    def _feed(self, x_BTD: Tensor) -> Tensor:
        return self._drop(self.down(self._drop(self.activation(self.up(x_BTD)))))

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)


class _Identity(nn.Module):
    def forward(self, x_BTD: Tensor, mask_BT: Tensor | None) -> Tensor:
        return x_BTD


class _Mlp(nn.Module):
    def __init__(self, config: MlpConfig) -> None:
        super().__init__()
        if config.hidden is None:
            self.map: nn.Module = nn.Linear(config.in_dim, config.out_dim, config.bias)
        else:
            into = nn.Linear(config.in_dim, config.hidden, config.bias)
            out = nn.Linear(config.hidden, config.out_dim, config.bias)
            self.map = nn.Sequential(into, nn.ReLU(), out)

    def forward(self, x_BTD: Tensor, mask_BT: Tensor | None) -> Tensor:
        out: Tensor = self.map(x_BTD)
        return out


class _BiGru(nn.Module):
    def __init__(self, config: BiGruConfig) -> None:
        super().__init__()
        self.gru = nn.GRU(config.in_dim, config.hidden, config.num_layers, batch_first=True, bidirectional=True)

    def forward(self, x_BTD: Tensor, mask_BT: Tensor | None) -> Tensor:
        if mask_BT is None:
            out: Tensor = self.gru(x_BTD)[0]
            return out
        lengths_B = mask_BT.sum(dim=1)
        if not torch.equal(mask_BT, torch.arange(mask_BT.shape[1], device=mask_BT.device) < lengths_B[:, None]):
            raise InputError("a recurrent projector takes sequences whose real rows come first, without gaps.")
        # The backward direction must start at the last real row, not in the padding.
        packed = nn.utils.rnn.pack_padded_sequence(
            x_BTD, lengths_B.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False
        )
        whole, _ = nn.utils.rnn.pad_packed_sequence(self.gru(packed)[0], True, total_length=x_BTD.shape[1])
        return whole
