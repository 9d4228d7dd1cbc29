"""MuQ (Zhu et al., 2025) and MusicFM (Won et al., ICASSP 2024) as bodies: 25 states a second from sound at 24 kHz.

They are one network (``muq_network``) trained on other targets, with the same names of tensors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from solfa.core.errors import WeightsError
from solfa.encoders import towers
from solfa.encoders.muq_network import SAMPLE_RATE_HZ, MuQ
from solfa.encoders.torch_backbone import layer_of, place, spec_of, weights_in
from solfa.encoders.windowed import Grid, WindowedBackbone

_HOP_S, _MEL_HOP = 0.04, 240
# Of training only: targets, quantisers, losses; and positions that rotary attention does not use.
_UNUSED = re.compile(
    r"^model\.(rvq|quantizer_\w+|preprocessor_\w+|linear|loss|cls_token|recon_\w+)\b|\.pos_conv_embed\."
)


class _Body(nn.Module):
    def __init__(self, model: MuQ) -> None:
        super().__init__()
        self.model = model

    def forward(self, windows_WN: Tensor, lengths_W: Tensor) -> tuple[None, Tensor]:
        return None, self.model(windows_WN)


def load_muq(
    *,
    name: str,
    hub: str,
    source: str | Path | None = None,
    device: str = "cpu",
    layer: int = -1,
    window_s: float = 10.0,
) -> WindowedBackbone:
    """MuQ: a folder with ``config.json`` and the weights, as the package muq saves it.

    Parameters
    ----------
    name, hub, source, device
        and errors as ``text_backbone.load``
    layer
        whose states: 0 is what goes into the first layer, -1 what comes out of the last
    window_s
        seconds analyzed at once
    """
    where = place(source, hub)
    file = weights_in(where, "a MuQ model")
    state = towers.load_tensors(file)
    return _backbone(name, source, file, state, towers.config(file.parent / "config.json"), layer, window_s, device)


def load_musicfm(
    *,
    name: str,
    hub: str,
    source: str | Path | None = None,
    device: str = "cpu",
    layer: int = 7,
    window_s: float = 10.0,
) -> WindowedBackbone:
    """MusicFM: a folder with ``pretrained_msd.pt`` and ``msd_stats.json`` (or ``fma``), or the ``.pt`` file.

    Parameters and errors as ``load_muq``.
    """
    where = place(source, hub)
    file = weights_in(where, "a MusicFM checkpoint", ("pretrained_msd.pt", "pretrained_fma.pt"))
    stats = file.with_name(file.stem.removeprefix("pretrained_") + "_stats.json")
    loaded = towers.load_tensors(file)
    with towers.reading(file, "a MusicFM checkpoint"):
        state = loaded.get("state_dict", loaded)
        sizes = _sizes(state) | {"stat": towers.config(stats)}
    return _backbone(name, source, file, state, sizes, layer, window_s, device)


def _sizes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The configuration of a MusicFM checkpoint, read off its tensors.

    Heads of 64 are those of facebook/wav2vec2-conformer-rope-large-960h-ft, which its code takes all else from.
    """
    first = "model.conformer.layers.0"
    dim, flat = state["model.conv.linear.weight"].shape
    width = len(state["model.conv.conv.0.conv1.weight"])
    layers = {key.split(".")[3] for key in state if key.startswith("model.conformer.layers.")}
    return {
        "hop_length": 240,
        "n_mels": flat * 4 // width,
        "conv_dim": width,
        "encoder_dim": dim,
        "encoder_depth": len(layers),
        "w2v2_config": {
            "hidden_act": "swish",
            "intermediate_size": len(state[f"{first}.ffn1.intermediate_dense.weight"]),
            "num_attention_heads": max(1, dim // 64),
            "position_embeddings_type": "rotary",
            "conv_depthwise_kernel_size": state[f"{first}.conv_module.depthwise_conv.weight"].shape[-1],
            "layer_norm_eps": 1e-5,
        },
    }


def _backbone(
    name: str,
    source: str | Path | None,
    file: Path,
    state: Mapping[str, Tensor],
    config: Mapping[str, Any],
    layer: int,
    window_s: float,
    device: str,
) -> WindowedBackbone:
    with towers.reading(file, f"a checkpoint of {name} with its configuration"):
        depth, dim = int(config["encoder_depth"]), int(config["encoder_dim"])
        layer = layer_of(name, layer, depth)
        model = MuQ(config, layer)
    if model.hop != _MEL_HOP:
        raise WeightsError(f"the configuration of {file} says hop_length = {model.hop}, expected {_MEL_HOP}.")
    body = _Body(model)
    towers.fill(body, {key: value for key, value in state.items() if not _UNUSED.search(key)}, file, name)
    model.drop_unread()
    grid = Grid(sample_rate_hz=SAMPLE_RATE_HZ, window_s=window_s, step_s=window_s, hop_s=_HOP_S)
    key = f"24k-{window_s:g}s-layer{layer}-v1"
    spec = spec_of("audio", name, source, file, key, dim, sample_rate_hz=SAMPLE_RATE_HZ, hop_s=_HOP_S)
    return WindowedBackbone(body, spec, towers.device_for(device), grid, file)
