"""MuQ-MuLan (Zhu et al., 2025): music and English or Chinese text in one space. Needs torch and transformers.

The weights are CC-BY-NC-4.0: not for commercial use. Sound is heard at 24 kHz in windows of 10 s from the start; a
shorter one at the end is filled up from the start of the stretch, as published. One window is one frame. A text of more
than 512 tokens is cut between clauses; each piece is one frame, and all count by their length.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from solfa.core.errors import InputError, WeightsError
from solfa.core.types import Audio, EncoderSpec, Features, FloatArray, JointModel
from solfa.encoders import towers
from solfa.weights import path, weight

WINDOW_S = 10.0
MAX_TOKENS = 512

# Of training only: targets, quantisers, losses, an unused mixture of layers.
_UNUSED = re.compile(
    r"^mulan\.(contrast|multi_layer_contrastive_learning|audio\.aggregator)\b|\.pos_conv_embed\."
    r"|^mulan\.audio\.model\.model\.(rvq|quantizer_\w+|preprocessor_\w+|linear|cls_token|recon_\w+)\b|\.position_ids$"
)


def load(*, source: str | Path | None = None, device: str = "cpu") -> JointModel:
    """The MuQ-MuLan model.

    Parameters
    ----------
    source
        A folder with ``config.json`` and ``pytorch_model.bin`` or ``model.safetensors``, and, where they differ from
        the published ones, ``muq/config.json`` and ``xlm-roberta-base/``; by default what ``solfa models pull
        muq-mulan`` fetched.
    device
        A torch device. It is used or refused, never replaced by another.

    Raises
    ------
    InputError
        If ``source`` is no folder, or the device cannot be used.
    MissingExtra
        If torch or transformers is not installed.
    MissingWeights
        If a file was not given and not pulled.
    WeightsError
        If the files are not a MuQ-MuLan model.
    """
    torch = towers.torch_for("muq-mulan")
    place = towers.device_for(torch, device)
    folder = path("muq-mulan") if source is None else Path(source).expanduser()
    if not folder.is_dir():
        raise InputError(f"{str(source)!r} is not a folder. Expected one with config.json and pytorch_model.bin.")
    network, tokenizer, file = read(torch, folder)
    info = weight("muq-mulan")
    spec = EncoderSpec(
        name="muq-mulan",
        space=f"muq-mulan/{towers.digest(file)}/{network.dim}/24k-10s-v1",
        dim=network.dim,
        licence=info.licence,
        commercial_use=info.commercial_use,
    )
    network = network.to(place).eval()
    # One window a pass on a CPU: nothing is gained by more, and a vector is then the same to the last bit in any batch.
    heard = replace(spec, sample_rate_hz=24000, hop_s=WINDOW_S)
    audio = MuQMuLanAudio(torch, network, heard, 1 if place.type == "cpu" else 16)
    return JointModel(name="muq-mulan", audio=audio, text=MuQMuLanText(torch, network, tokenizer, spec))


class MuQMuLanAudio:
    """The audio tower; made by ``load``."""

    def __init__(self, torch: Any, network: Any, spec: EncoderSpec, batch: int) -> None:
        self._torch, self._network, self.spec, self._batch = torch, network, spec, batch
        self._device = next(network.parameters()).device

    def encode(self, batch: Sequence[Audio]) -> Features:
        """One frame for each 10 s from the start of each stretch (a rest under 1 s is left out)."""
        towers.refuse_not_finite(batch)
        clips = [self._clips(audio) for audio in batch]
        flat = [clip for row in clips for clip in row]
        vectors = [self._forward(flat[i : i + self._batch]) for i in range(0, len(flat), self._batch)]
        rows = np.split(np.concatenate(vectors), np.cumsum([len(row) for row in clips])[:-1]) if flat else []
        return towers.pack(rows, self.spec.dim)

    def _clips(self, audio: Audio) -> list[FloatArray]:
        rate = self.spec.sample_rate_hz
        length = int(WINDOW_S * rate)
        samples = towers.heard(audio, rate)
        return [
            piece if len(piece) == length else np.resize(np.concatenate([piece, samples]), length)
            for piece in towers.windows(samples, length, rate)
        ]

    def _forward(self, clips: Sequence[FloatArray]) -> FloatArray:
        with self._torch.inference_mode():
            out = self._network.audio(self._torch.as_tensor(np.stack(clips)).to(self._device))
        vectors: FloatArray = out.float().cpu().numpy()
        return vectors


class MuQMuLanText:
    """The text tower; made by ``load``."""

    def __init__(self, torch: Any, network: Any, tokenize: towers.Tokenize, spec: EncoderSpec) -> None:
        self._torch, self._network, self._tokenize, self.spec = torch, network, tokenize, spec
        self._device = next(network.parameters()).device

    def encode(self, batch: Sequence[str]) -> Features:
        """One frame for each piece of at most 512 tokens; every word of a text counts."""
        return towers.encode_texts(batch, self._tokenize, MAX_TOKENS, self._forward, self.spec.dim)

    def _forward(self, ids: list[int]) -> FloatArray:
        with self._torch.inference_mode():
            out = self._network.text(self._torch.tensor([ids], device=self._device))
        vectors: FloatArray = out.float().cpu().numpy()
        return vectors


def read(torch: Any, folder: Path) -> tuple[Any, Any, Path]:
    """Network, tokenizer and weight file of a folder; raises as ``load``."""
    from solfa.encoders.muq_network import MuQMuLanNetwork

    files = [folder / name for name in ("model.safetensors", "pytorch_model.bin") if (folder / name).is_file()]
    if not files:
        raise WeightsError(f"{folder} has no model.safetensors or pytorch_model.bin; expected a MuQ-MuLan model.")
    muq = folder / "muq" if (folder / "muq").is_dir() else path("muq-config")
    text = folder / "xlm-roberta-base" if (folder / "xlm-roberta-base").is_dir() else path("xlm-roberta-tokenizer")
    configs = [towers.config(place / "config.json") for place in (folder, muq, text)]
    with towers.reading(folder, "a MuQ-MuLan model"):
        network = MuQMuLanNetwork(*configs)
    state = {k: v for k, v in towers.load_tensors(torch, files[0]).items() if not _UNUSED.search(k)}
    towers.fill(network, state, files[0], "MuQ-MuLan")
    return network, towers.tokenizer(text), files[0]
