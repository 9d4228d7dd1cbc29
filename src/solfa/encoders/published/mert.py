"""MERT (Li et al., ICLR 2024) as a backbone: 75 states a second from sound at 24 kHz.

The published v1 checkpoints are transformers' HuBERT under their own name (no constant-Q transform, no DeepNorm); a
configuration that says otherwise is refused. The relaxed attention that MERT-v1-330M's names is of training: their own
code reads it with DeepNorm only, and a softmax is the same with it.
"""

from math import prod
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from solfa.core.errors import WeightsError
from solfa.encoders.checkpoints import Checkpoint, config, fill, library_config, load_tensors, published, reading
from solfa.encoders.torch_backbone import layer_of, states_at
from solfa.encoders.windowed import Grid, WindowedBackbone, windowed

_HUBERT = {"feature_extractor_cqt": False, "deepnorm": False}


class MertNetwork(nn.Module):
    """HuBERT up to a layer; ``normalise`` brings each window to mean 0 and variance 1."""

    def __init__(self, model: Any, normalise: bool, layer: int) -> None:
        super().__init__()
        self.model, self.normalise, self.layer = model, normalise, layer

    def forward(self, windows_WN: Tensor, lengths_W: Tensor) -> tuple[None, Tensor]:
        if self.normalise:  # as transformers' Wav2Vec2FeatureExtractor
            mean = windows_WN.mean(dim=1, keepdim=True)
            windows_WN = (windows_WN - mean) / torch.sqrt(windows_WN.var(dim=1, unbiased=False, keepdim=True) + 1e-7)
        return None, states_at(self.layer, self.model.encoder.layers, lambda: self.model(windows_WN))


@published("audio")
def load(checkpoint: Checkpoint, *, layer: int = -1, window_s: float = 5.0) -> WindowedBackbone:
    """MERT: a folder with ``config.json``, ``preprocessor_config.json`` and the weights.

    It was trained on windows of 5 s. Parameters and errors as ``muq.load_muq``.
    """
    model, file = read(checkpoint)
    front = config(file.parent / "preprocessor_config.json")
    with reading(file.parent, "a MERT model"):
        depth, rate = model.config.num_hidden_layers, int(getattr(model.config, "sample_rate", 24000))
        hop_s = prod(model.config.conv_stride) / rate
    index = layer_of(checkpoint.name, layer, depth)
    model.encoder.layers = model.encoder.layers[: index + 1]  # later ones cost time, and a trainer finds no gradient
    network = MertNetwork(model, bool(front.get("do_normalize", True)), index)
    grid = Grid(sample_rate_hz=rate, window_s=window_s, hop_s=hop_s)
    return windowed(
        checkpoint, network, file, f"{rate}-{window_s:g}s-layer{index}-v1", int(model.config.hidden_size), grid
    )


def read(checkpoint: Checkpoint) -> tuple[Any, Path]:
    """Network and weight file. Raises WeightsError if they are not MERT's."""
    file = checkpoint.file("a MERT model")
    sizes = config(file.parent / "config.json")
    for key, value in _HUBERT.items():
        if sizes.get(key, value) != value:
            raise WeightsError(
                f"{file.parent} says {key} = {sizes[key]}, which no published MERT v1 has: not supported."
            )
    library: Any = transformers
    with reading(file.parent, "a MERT model"):
        model = library.HubertModel(library_config(library.HubertConfig, sizes))
    state = load_tensors(file)
    if "masked_spec_embed" not in state:
        state["masked_spec_embed"] = model.masked_spec_embed  # of training only
    fill(model, state, file, "MERT")
    return model, file
