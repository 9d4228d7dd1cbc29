"""HTS-AT (Chen et al., ICASSP 2022): the audio tower of CLAP. Needs torch and transformers.

The network is transformers' ``ClapAudioModel``. LAION's and its authors' checkpoints are the same network under other
names; sizes are read off the tensors, and what no tensor shows is LAION's published configuration (window 8,
spectrogram 256 x 256).
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn

from solfa.encoders.checkpoints import count
from solfa.encoders.windowed import Stripes

_HOP = 320  # of the front ends that checkpoints hold
# Read from the left; "text_branch." keys of RoBERTa need the first rule only.
_AUDIO_NAMES = (
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.attn\.", ".attention.self."),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"\.bn0\.", ".batch_norm."),
    (r"^audio_branch\.", "audio_model.audio_encoder."),
)
# Of training only, or computed again: the classifier head, augmentation, fixed transforms, masks, unused projections.
_UNUSED = re.compile(
    r"^audio_branch\.(tscam_conv|head|spectrogram_extractor|logmel_extractor|spec_augmenter)\.|\.attn_mask$"
    r"|^(audio|text)_transform\.|position_ids$|token_type_ids$"
)


class HtsAt(nn.Module):
    """HTS-AT over windows of samples, or of mels where it has no front end of its own.

    It gives pooled vectors [shape=(W, D)] and 32 states of a window [shape=(W, 32, D)], the mean over the two rows of
    frequency; with a ``projection`` to a joint space no pooled vectors, and one unit vector a window. The front end,
    a window function of ``fft_size`` samples and mel filters, comes with the tensors of a checkpoint.
    """

    def __init__(self, audio_model: Any, projection: nn.Module | None = None, fft_size: int = 0) -> None:
        super().__init__()
        self.audio_model, self.audio_projection = audio_model, projection
        self.stripes = Stripes(time=2, frequency=1)  # after the normalisation of each mel band [shape=(W, mels, T, 1)]
        audio_model.audio_encoder.batch_norm.register_forward_hook(self.stripes.after)
        self.has_front_end = fft_size > 0
        if self.has_front_end:
            self.register_buffer("window", torch.zeros(fft_size))
            self.register_buffer("bank", torch.zeros(fft_size // 2 + 1, audio_model.config.num_mel_bins))

    def forward(self, windows: Tensor, lengths_W: Tensor) -> tuple[Tensor | None, Tensor]:
        """As ``windowed.WindowedNetwork`` asks for it."""
        mels = self._mels(windows) if self.has_front_end else windows
        # Fused checkpoints ask whether a window is longer than 10 s; none is.
        longer = torch.zeros((len(mels), 1), dtype=torch.bool, device=mels.device)
        out = self.audio_model(input_features=mels, is_longer=longer)
        if self.audio_projection is None:
            return out.pooler_output, out.last_hidden_state.mean(dim=2).transpose(1, 2)
        return None, F.normalize(self.audio_projection(out.pooler_output), dim=-1).unsqueeze(1)

    @property
    def dim(self) -> int:
        """Width of the states."""
        return int(self.audio_model.config.hidden_size)

    def hop_s(self, window_s: float) -> float:
        """Seconds from one state of a window to the next."""
        sizes = self.audio_model.config
        rows = sizes.spec_size // sizes.num_mel_bins
        return window_s / int(sizes.spec_size // sizes.patch_size // 2 ** (len(sizes.depths) - 1) * rows)

    def _mels(self, windows_WN: Tensor) -> Tensor:
        window, bank = self.get_buffer("window"), self.get_buffer("bank")
        with torch.autocast(windows_WN.device.type, enabled=False):
            spectrum = torch.stft(windows_WN, len(window), _HOP, window=window, return_complex=True)
            mels = (spectrum.abs() ** 2).transpose(1, 2) @ bank
            return (10 * torch.log10(mels.clamp(min=1e-10))).unsqueeze(1)


def with_front_end(given: Mapping[str, Tensor], prefix: str) -> tuple[HtsAt, dict[str, Tensor]]:
    """The network that fits a checkpoint's tensors of this prefix, and those tensors under its names."""
    own = {f"audio_branch.{k.removeprefix(prefix)}": v for k, v in given.items() if k.startswith(prefix)}
    state = rename(own) | {
        # The Fourier transform's part at 0 Hz is the window itself.
        "window": given[f"{prefix}spectrogram_extractor.stft.conv_real.weight"][0, 0],
        "bank": given[f"{prefix}logmel_extractor.melW"],
    }
    library: Any = transformers
    audio_model = library.ClapAudioModel(library.ClapAudioConfig(**audio_config(state)))
    return HtsAt(audio_model, fft_size=len(state["window"])), state


def rename(state: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors of a network that ``ClapModel`` has, under its names; others keep theirs."""
    out: dict[str, Any] = {}
    for key, value in state.items():
        if _UNUSED.search(key):
            continue
        name = _rename(key)
        if ".qkv." in name:
            for part, tensor in zip(("query", "key", "value"), value.chunk(3), strict=True):
                out[name.replace(".qkv.", f".{part}.")] = tensor
        else:
            out[name] = value
    return out


def audio_config(state: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of ``ClapAudioConfig`` for a state dictionary that ``rename`` gave."""
    audio = "audio_model.audio_encoder"
    layers = count(state, rf"{re.escape(audio)}\.layers\.(\d+)\.")
    depths = [count(state, rf"{re.escape(audio)}\.layers\.{i}\.blocks\.(\d+)\.") for i in range(layers)]
    bias = f"{audio}.layers.{{}}.blocks.0.attention.self.relative_position_bias_table"
    embed = int(state[f"{audio}.patch_embed.proj.weight"].shape[0])
    fused = any(".fusion_model." in key for key in state)
    return {
        "patch_embeds_hidden_size": embed,
        "hidden_size": embed * 2 ** (layers - 1),
        "depths": depths,
        "num_attention_heads": [int(state[bias.format(i)].shape[1]) for i in range(layers)],
        "num_hidden_layers": layers,
        "num_mel_bins": int(state[f"{audio}.batch_norm.weight"].shape[0]),
        "window_size": (int(state[bias.format(0)].shape[0] ** 0.5) + 1) // 2,
        "enable_fusion": fused,
        "fusion_type": "aff_2d" if fused else None,
    }


def _rename(key: str) -> str:
    if key.startswith("text_branch."):
        return "text_model." + key.removeprefix("text_branch.")
    if match := re.fullmatch(r"(text|audio)_projection\.([02])\.(weight|bias)", key):
        return f"{match[1]}_projection.linear{1 if match[2] == '0' else 2}.{match[3]}"
    if key.startswith("audio_branch."):
        for pattern, new in _AUDIO_NAMES:
            key = re.sub(pattern, new, key)
    return key
