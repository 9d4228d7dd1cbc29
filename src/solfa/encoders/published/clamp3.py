"""CLaMP 3 (Wu et al., 2025): music and text of a hundred languages in one space. Needs torch and transformers.

Sound, at 24 kHz and brought to mean 0 and variance 1 as one, goes through MERT-v1-95M in windows of 5 s: the mean over
time and over all its hidden states is one vector each 5 s. A transformer reads up to 126 of them with a zero vector at
either end; the vector of a stretch is the projected mean of its states, as published, and a frame what one state adds.
Longer stretches are read in parts of 128 that count by their length, as do the pieces of a text longer than 128 tokens.
MERT's weights are CC-BY-NC-4.0: not for commercial use.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from solfa.audio import at_rate
from solfa.core.errors import WeightsError
from solfa.core.types import Audio, EncoderSpec, Features, FloatArray, JointModel
from solfa.encoders.checkpoints import Checkpoint, fill, load_tensors, published, reading
from solfa.encoders.joint import StateVectors
from solfa.encoders.published import mert
from solfa.encoders.published.bert import bert
from solfa.encoders.text_backbone import TextBackbone, TextTower
from solfa.encoders.tokens import tokenizer_of
from solfa.encoders.torch_backbone import inputs_of, masked_mean
from solfa.encoders.vectors import features, refuse_not_finite
from solfa.encoders.windowed import LEAST_REST_S

_WORDS = "FacebookAI/xlm-roberta-base"
_RATE, _WINDOW_S, _ROWS, _MAX_TOKENS = 24000, 5.0, 128, 128
_PARTS = ("audio_model.", "audio_proj.", "text_model.", "text_proj.")


class _Network(nn.Module):
    """Both towers, with the names of the checkpoint."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()
        self.audio_model = bert("Bert", state, "audio_model.")
        self.text_model = bert("XLMRoberta", state, "text_model.")
        shapes = (state[f"{kind}_proj.weight"].shape for kind in ("audio", "text"))
        self.audio_proj, self.text_proj = (nn.Linear(into, out) for out, into in shapes)


def _text_vectors(tower: Any, ids_PL: Tensor, real_PL: Tensor) -> Tensor:
    states_PLD = tower.text_model(input_ids=ids_PL, attention_mask=real_PL).last_hidden_state
    out: Tensor = tower.text_proj(masked_mean(states_PLD, real_PL))
    return out


class ClampAudio:
    """Sound to unit vectors; made by ``load``."""

    def __init__(self, network: _Network, windows: Any, spec: EncoderSpec, device: Any) -> None:
        self.spec, self._network, self._mert, self._device = spec, network, windows, device

    def encode(self, batch: Sequence[Audio]) -> Features:
        """One frame for each 5 s of each stretch, and the published vector of the whole; nothing counts as silence."""
        refuse_not_finite(batch)
        with torch.inference_mode():
            parts = [self._stretch(at_rate(audio, _RATE).samples) for audio in batch]
        return features([frames for _, frames in parts], self.spec.dim, [whole for whole, _ in parts])

    def _stretch(self, samples: FloatArray) -> tuple[FloatArray, FloatArray]:
        rows_TD = F.pad(self._vectors(samples), (0, 0, 1, 1))
        weights, hidden = [], []
        for start in range(0, len(rows_TD), _ROWS):
            weights.append(min(_ROWS, len(rows_TD) - start))
            part = rows_TD[-_ROWS:] if weights[-1] < _ROWS else rows_TD[start : start + _ROWS]
            hidden.append(
                self._network.audio_proj(self._network.audio_model(inputs_embeds=part[None]).last_hidden_state[0])
            )
        whole_D = torch.stack([w * h.mean(dim=0) for w, h in zip(weights, hidden, strict=True)]).sum(dim=0)
        frames_TD = torch.cat([h[-w:] for w, h in zip(weights, hidden, strict=True)])[1:-1]
        whole, frames = (F.normalize(x, dim=-1).float().cpu().numpy() for x in (whole_D, frames_TD))
        if not (np.isfinite(frames).all() and np.abs(whole).max() > 0):
            raise WeightsError("clamp3 gave vectors that are not finite or have no direction: dead weights.")
        return whole, frames

    def _vectors(self, samples: FloatArray) -> Tensor:
        """MERT's vectors of 5 s windows [shape=(T, D)]; a rest under 1 s is left out."""
        if len(samples) < _RATE:
            samples = np.pad(samples, (0, _RATE - len(samples)))
        sound = torch.from_numpy(samples).to(self._device)
        sound = (sound - sound.mean()) / torch.sqrt(sound.var(unbiased=False) + 1e-7)
        windows = [w for w in torch.split(sound, int(_WINDOW_S * _RATE)) if len(w) >= _RATE * LEAST_REST_S]
        return torch.stack([self._mean(window) for window in windows])

    def _mean(self, window: Tensor) -> Tensor:
        """The mean over time and over what goes into each layer and comes out of the last."""
        states, out = inputs_of(self._mert.encoder.layers, lambda: self._mert(window[None]))
        return torch.stack([*states, out.last_hidden_state]).mean(dim=(0, 1, 2))


@published("model", "clamp3")
def load(
    checkpoint: Checkpoint, *, mert_source: str | Path | None = None, tokenizer: str | Path | None = None
) -> JointModel:
    """CLaMP 3, its audio and text side; that of scores is left out. Raises as ``clap.load``.

    - ``checkpoint``: a file ``weights_clamp3_*.pth`` or its folder; by default what the local Hugging Face cache has of
      sander-wood/clamp3 (``saas``, which its authors advise for sound, before others)
    - ``mert_source``: a folder of MERT-v1-95M; by default what the local cache has of m-a-p/MERT-v1-95M
    - ``tokenizer``: folder with XLM-RoBERTa's ``tokenizer.json``; by default that of the weights, or
      FacebookAI/xlm-roberta-base
    """
    where, on = checkpoint.place(), checkpoint.device
    names = sorted((p.name for p in where.glob("weights_clamp3_*.pth")), key=lambda n: "saas" not in n)
    file = checkpoint.file("CLaMP 3", names or ("weights_clamp3_*.pth",), where)
    with reading(file, "CLaMP 3"):
        state = {k: v for k, v in load_tensors(file).items() if k.startswith(_PARTS) and ".pooler." not in k}
        network = _Network(state)
    fill(network, state, file, "CLaMP 3")
    windows, mert_file = mert.read(Checkpoint("audio", "mert", None if mert_source is None else str(mert_source), on))
    dim, width = network.audio_proj.out_features, network.audio_model.config.hidden_size
    if windows.config.hidden_size != width:
        raise WeightsError(
            f"{mert_file} gives {windows.config.hidden_size} numbers, {file} takes {width}. Take MERT-v1-95M."
        )
    spec = checkpoint.spec(dim, "24k-5s-v1", file, mert_file, sample_rate_hz=_RATE, hop_s=_WINDOW_S)
    network, windows = network.to(on).eval(), windows.to(on).eval()
    tower = TextTower(_text_vectors, text_model=network.text_model, text_proj=network.text_proj)
    text = TextBackbone(tower, spec, on, None, tokenizer_of(file, tokenizer, hub=_WORDS), _MAX_TOKENS)
    return JointModel(name=spec.name, audio=ClampAudio(network, windows, spec, on), text=StateVectors(text))
