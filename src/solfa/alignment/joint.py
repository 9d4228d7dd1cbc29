"""Two towers of projectors on frozen or tuned backbones, and the batches that go in and come out. Needs torch.

A tower has a *whole* projector for the pooled vector and a *rows* projector for the sequence. FIGMA shares one network
between both; FineLAP has two, and none for the tokens of a text (its one row is then the whole vector). Phrases go the
way of whole texts. A tower *by row* projects each row by itself, and the pooled vector is the mean of their vectors: so
is that of any stretch of a longer sound. A tuned backbone is part of the model: it makes the states that otherwise come
with the batch.

Shape letters: B batch, T frames, L tokens, N phrases, D dimensions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from solfa.alignment.projectors import Projector, ProjectorConfig, to_json
from solfa.core.errors import InputError


class Tunable(Protocol):
    """A backbone that can be tuned (``encoders.torch_backbone.TorchBackbone``)."""

    @property
    def network(self) -> nn.Module: ...
    def prepare(self, batch: Sequence[Any]) -> dict[str, Tensor]:
        """What the network takes for these sounds or texts."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class TowerConfig:
    """The projectors of one modality; ``rows`` None means no view of the sequence, ``shared`` one network for both.

    ``by_row``: of a shared tower of sound: rows do not see each other, and the pooled vector is the mean of theirs.
    """

    whole: ProjectorConfig
    rows: ProjectorConfig | None = None
    shared: bool = False
    by_row: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class JointConfig:
    """Both towers; their outputs have one width."""

    audio: TowerConfig
    text: TowerConfig

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, as a model's folder and a run's record have it."""
        return {
            name: {
                "whole": to_json(tower.whole),
                "rows": None if tower.rows is None else to_json(tower.rows),
                "shared": tower.shared,
                **({"by_row": True} if tower.by_row else {}),  # files had none before there was a choice
            }
            for name, tower in (("audio", self.audio), ("text", self.text))
        }


@dataclass(frozen=True, eq=False, slots=True)
class Batch:
    """Raw states of B pairs of clip and caption, as tensors.

    Frame truth is given for the clips where ``grounded_B`` is True: N phrases each (pooled states), and for each phrase
    and frame whether it is present (``labels_BNT``, 0 or 1). N may be 0.

    A side whose backbone is tuned has masks but states of no width, and what they are made of: ``sounds`` and the
    stripes over their spectrograms (``encoders.windowed``), or ``texts`` and N ``phrases`` a clip. ``teacher_BB`` is
    what a teacher says of the sound of clip i and the caption of clip j (``objectives.distilled``).
    """

    ids: tuple[str, ...]
    audio_BD: Tensor
    frames_BTD: Tensor
    frame_mask_BT: Tensor
    text_BD: Tensor
    tokens_BLD: Tensor
    token_mask_BL: Tensor
    phrases_BND: Tensor
    labels_BNT: Tensor
    grounded_B: Tensor
    stripes_BM3: Tensor | None = None
    teacher_BB: Tensor | None = None
    sounds: tuple[Any, ...] = ()
    texts: tuple[str, ...] = ()
    phrases: tuple[tuple[str, ...], ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name."""
        values = ((f.name, getattr(self, f.name)) for f in fields(self))
        return {name: value for name, value in values if isinstance(value, Tensor)}

    def to(self, device: torch.device) -> "Batch":
        """The same batch on a device, halves as float32."""
        moved: dict[str, Any] = {name: tensor.to(device, non_blocking=True) for name, tensor in self.tensors().items()}
        return replace(self, **{n: t.float() if t.dtype is torch.float16 else t for n, t in moved.items()})

    def chunks(self, size: int) -> "list[Batch]":
        """Parts of at most ``size`` pairs, padded alike."""
        cuts = [slice(i, i + size) for i in range(0, len(self), size)]
        given = {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}
        return [Batch(**{name: value[cut] for name, value in given.items()}) for cut in cuts]


@dataclass(frozen=True, eq=False, slots=True)
class Projected:
    """What the projectors made of a batch: unit vectors, and masks and labels as they came.

    ``seed`` is what an objective draws from; it is the same on all devices of a step.
    """

    audio_BD: Tensor
    frames_BTD: Tensor
    text_BD: Tensor
    tokens_BLD: Tensor
    phrases_BND: Tensor
    frame_mask_BT: Tensor
    token_mask_BL: Tensor
    labels_BNT: Tensor
    grounded_B: Tensor
    teacher_BB: Tensor | None = None
    seed: int = 0

    @classmethod
    def of(cls, vectors: Mapping[str, Tensor], batch: Batch, token_mask_BL: Tensor, seed: int) -> "Projected":
        """The vectors that ``JointProjector`` made, with the masks and labels of their batch."""
        given = {name: getattr(batch, name) for name in ("frame_mask_BT", "labels_BNT", "grounded_B", "teacher_BB")}
        return cls(**vectors, **given, token_mask_BL=token_mask_BL, seed=seed)


class Tower(nn.Module):
    """The projectors of one modality."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.config = config
        self.whole = Projector(config.whole)
        if config.shared and config.rows is not None:
            raise InputError("a shared tower has one projector for pooled and frames: omit rows.")
        if config.by_row and not config.shared:
            raise InputError("a tower that projects row by row has one projector: give shared=True.")
        self.own_rows = None if config.rows is None else Projector(config.rows)
        if self.own_rows is not None and self.own_rows.out_dim != self.whole.out_dim:
            raise InputError(f"whole and rows have {self.whole.out_dim} and {self.own_rows.out_dim} dimensions.")

    @property
    def has_rows(self) -> bool:
        """Whether there is a view of the sequence."""
        return self.config.shared or self.own_rows is not None

    def pooled(self, pooled_BD: Tensor) -> Tensor:
        """Whole vectors of pooled states [shape=(B, out)]."""
        out: Tensor = self.whole(pooled_BD[:, None])[:, 0]
        return out

    def of_sound(self, pooled_BD: Tensor, states_BTD: Tensor, mask_BT: Tensor | None) -> Tensor:
        """Whole vectors [shape=(B, out)], of the pooled states or, by row, of the sequence."""
        if not self.config.by_row:
            return self.pooled(pooled_BD)
        return F.normalize(self.rows(states_BTD, mask_BT).sum(dim=1), dim=-1)

    def rows(self, states_BTD: Tensor, mask_BT: Tensor | None) -> Tensor:
        """Vectors of the sequence [shape=(B, T, out)]; only where ``has_rows``."""
        if self.config.by_row:
            B, T, D = states_BTD.shape
            each: Tensor = self.whole(states_BTD.reshape(B * T, 1, D)).view(B, T, self.whole.out_dim)
            return each if mask_BT is None else each.masked_fill(~mask_BT[..., None], 0.0)
        projector = self.whole if self.own_rows is None else self.own_rows
        out: Tensor = projector(states_BTD, mask_BT)
        return out


class JointProjector(nn.Module):
    """Both towers, and below them the backbones that are tuned, by kind (``audio``, ``text``).

    Backbones never draw: no dropout, no skipped layers, normalisation by the statistics that they came with. So chunks
    change nothing and a run resumes to the bit. Raises InputError if the towers end in different widths, or the audio
    tower has no view of frames.
    """

    def __init__(self, config: JointConfig, backbones: Mapping[str, Tunable] | None = None) -> None:
        super().__init__()
        self.config = config
        self._prepare = {kind: backbone.prepare for kind, backbone in (backbones or {}).items()}
        self.bodies = nn.ModuleDict({kind: backbone.network for kind, backbone in (backbones or {}).items()})
        self.audio, self.text = Tower(config.audio), Tower(config.text)
        self.dim = self.audio.whole.out_dim
        if self.text.whole.out_dim != self.dim:
            raise InputError(f"audio ends in {self.dim} dimensions, text in {self.text.whole.out_dim}.")
        if not self.audio.has_rows:
            raise InputError("the audio tower needs a view of frames: give rows, or shared=True.")
        if config.text.by_row:
            raise InputError("by_row is for the audio tower: the pooled vector of a text is of its pooled state.")

    def train(self, mode: bool = True) -> "JointProjector":
        """As of any module, but backbones remain as they are used."""
        super().train(mode)
        self.bodies.eval()
        return self

    def with_states(self, batch: Batch) -> Batch:
        """The batch with the states of tuned backbones; without such, as it is."""
        made: dict[str, Any] = {}
        if "audio" in self.bodies:
            longest, more = batch.frame_mask_BT.shape[1], {"stripes": batch.stripes_BM3}
            made["audio_BD"], made["frames_BTD"] = self._states("audio", batch.sounds, longest, more)
        if "text" in self.bodies:
            made["text_BD"], made["tokens_BLD"] = self._states("text", batch.texts, batch.token_mask_BL.shape[1])
            row = {text: i for i, text in enumerate(dict.fromkeys(chain(*batch.phrases)))}
            if row:
                at_BN = torch.tensor([[row[text] for text in own] for own in batch.phrases])
                made["phrases_BND"] = self._states("text", list(row), 0)[0][at_BN]
        return replace(batch, **made)

    def _states(
        self, kind: str, items: Sequence[Any], longest: int, more: Mapping[str, Tensor | None] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Pooled, and states filled up to those of the batch that these items are a part of."""
        given = {name: tensor for name, tensor in (more or {}).items() if tensor is not None}
        pooled, states, _ = self.bodies[kind](self._prepare[kind](items) | given)
        return pooled, F.pad(states, (0, 0, 0, max(0, longest - states.shape[1])))

    def forward(self, batch: Batch, rows: bool = True) -> dict[str, Tensor]:
        """The vectors of ``Projected`` by its names: audio, frames, text, tokens, phrases.

        Without ``rows`` there are no frames, tokens and phrases (B x 0 x dim), for a loss that reads none.
        """
        batch = self.with_states(batch)
        text_BD = self.text.pooled(batch.text_BD)
        B, N, D = batch.phrases_BND.shape
        frames = tokens = phrases = text_BD.new_zeros((B, 0, self.dim))
        if rows:
            tokens = self.text.rows(batch.tokens_BLD, batch.token_mask_BL) if self.text.has_rows else text_BD[:, None]
            if N:
                phrases = self.text.pooled(batch.phrases_BND.reshape(B * N, D)).view(B, N, self.dim)
            frames = self.audio.rows(batch.frames_BTD, batch.frame_mask_BT)
        return {
            "audio_BD": self.audio.of_sound(batch.audio_BD, batch.frames_BTD, batch.frame_mask_BT),
            "frames_BTD": frames, "text_BD": text_BD, "tokens_BLD": tokens, "phrases_BND": phrases,
        }  # fmt: skip

    def token_mask(self, batch: Batch) -> Tensor:
        """Which rows of the text view are real: the batch's tokens, or the one whole vector."""
        return batch.token_mask_BL if self.text.has_rows else torch.ones_like(batch.token_mask_BL[:, :1])

    def projected(self, vectors: Mapping[str, Tensor], batch: Batch, seed: int) -> Projected:
        """The vectors of a batch as an objective takes them."""
        return Projected.of(vectors, batch, self.token_mask(batch), seed)
