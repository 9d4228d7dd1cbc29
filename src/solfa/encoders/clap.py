"""LAION-CLAP (Wu et al., ICASSP 2023): sound and English text in one space. Needs torch and transformers.

Sound is heard at 48 kHz in windows of exactly 10 s, one after the other from the start (never a random crop); a
shorter one at the end is repeated as often as it fits into 10 s, then silence, as in training. One window is one frame.
A text longer than the 77 tokens that the model reads is cut between clauses; each piece is one frame, and all count by
their length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn

from solfa.core.errors import InputError, WeightsError
from solfa.core.types import EncoderSpec, FloatArray, JointModel
from solfa.encoders import laion, towers
from solfa.encoders.joint import TextVectors, WindowVectors
from solfa.encoders.masks import Stripes
from solfa.encoders.text_backbone import TextBackbone
from solfa.encoders.torch_backbone import Tensors, spec_of, weights_in
from solfa.encoders.windowed import Grid, WindowedBackbone
from solfa.weights import path, weight

RATE, WINDOW_S = 48000, 10.0
MAX_TOKENS = 77


def load(*, source: str | Path | None = None, device: str = "cpu", tokenizer: str | Path | None = None) -> JointModel:
    """A CLAP model.

    Raises InputError if ``source`` is nothing of these, or the device cannot be used; MissingExtra if torch or
    transformers is not installed; MissingWeights if nothing was given and nothing was pulled; WeightsError if the files
    are not a CLAP model.

    Parameters
    ----------
    source
        A folder as transformers saves it, a Hugging Face id that is in the local cache, or a LAION ``.pt`` file; by
        default what ``solfa models pull clap`` fetched.
    device
        A torch device. It is used or refused, never replaced by another.
    tokenizer
        For a ``.pt`` file: a folder with RoBERTa's ``tokenizer.json``; by default the folder of the file, or else
        what ``solfa models pull roberta-tokenizer`` fetched.
    """
    place = towers.device_for(device)
    folder = path("clap") if source is None else towers.locate(str(source))
    own = source is None
    network, extractor, file = read(folder)
    words = towers.tokenizer(_words(folder, tokenizer))
    spec = EncoderSpec(
        name="clap",
        space=f"clap/{towers.digest(file)}/{network.config.projection_dim}/48k-10s-v1",
        dim=int(network.config.projection_dim),
        licence=weight("clap").licence if own else "of the given file, not known to solfa",
        commercial_use=own,
    )
    network = network.to(place).eval()
    grid = Grid(sample_rate_hz=RATE, window_s=WINDOW_S, step_s=WINDOW_S, hop_s=WINDOW_S, fill="front")
    audio = WindowVectors(WindowedBackbone(_Vectors(network), spec, place, grid, file, front(extractor)))
    return JointModel(name="clap", audio=audio, text=text_of(network, place, words, spec))


def text_of(network: Any, device: Any, tokenize: towers.Tokenize, spec: EncoderSpec) -> TextVectors:
    """The text tower of a network that speaks as transformers' ``ClapModel``."""

    def tower(row: Tensor) -> Any:
        return network.get_text_features(input_ids=row, attention_mask=torch.ones_like(row))

    return TextVectors(spec, device, tokenize, MAX_TOKENS, tower)


class _Vectors(nn.Module):
    """The audio tower with its projection: one unit vector a window."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.audio_model, self.audio_projection = model.audio_model, model.audio_projection
        self.stripes = striped(self.audio_model)

    def forward(self, mels: Tensor, lengths_W: Tensor) -> tuple[None, Tensor]:
        pooled = hear(self.audio_model, mels).pooler_output
        return None, F.normalize(self.audio_projection(pooled), dim=-1).unsqueeze(1)


def striped(audio_model: Any) -> Stripes:
    """Where stripes enter CLAP's audio tower: after its normalisation of each mel band [shape=(W, mels, T, 1)]."""
    stripes = Stripes(time=2, frequency=1)
    audio_model.audio_encoder.batch_norm.register_forward_hook(stripes.after)
    return stripes


def hear(audio_model: Any, mels: Tensor) -> Any:
    """What CLAP's audio tower makes of the mels of windows."""
    # Fused checkpoints ask whether a window is longer than 10 s; none is.
    longer = torch.zeros((len(mels), 1), dtype=torch.bool, device=mels.device)
    return audio_model(input_features=mels, is_longer=longer)


def load_windows(
    *,
    name: str,
    hub: str,
    source: str | Path | None = None,
    device: str = "cpu",
    window_s: float = 2.0,
    step_s: float = 1.0,
) -> WindowedBackbone:
    """CLAP's vectors of short windows as a body, one every ``step_s``: by default as GD-Retriever takes them.

    Parameters
    ----------
    name, hub
        as ``text_backbone.load``
    source, device
        and errors as ``load``
    window_s, step_s
        seconds of one vector (10 at most), and from one to the next
    """
    if not 0 < step_s <= window_s <= WINDOW_S:
        raise InputError(f"clap needs 0 < step_s <= window_s <= {WINDOW_S:g}, got {step_s} and {window_s}.")
    network, extractor, file = read(path("clap") if source is None else towers.locate(str(source)))
    grid = Grid(sample_rate_hz=RATE, window_s=window_s, step_s=step_s, hop_s=step_s, fill="front")
    dim, key = int(network.config.projection_dim), f"48k-{window_s:g}s-{step_s:g}s-v2"
    spec = spec_of("audio", name, source, file, key, dim, sample_rate_hz=RATE, hop_s=step_s)
    return WindowedBackbone(_Vectors(network), spec, towers.device_for(device), grid, file, front(extractor))


class _Pieces(nn.Module):
    """The text tower with its projection: a unit vector of each piece, and their mean by length."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.text_model, self.text_projection = model.text_model, model.text_projection

    def forward(self, tensors: Tensors) -> tuple[Tensor, Tensor, Tensor]:
        """Pooled [shape=(B, D)], a state for each piece [shape=(B, T, D)] and the mask [shape=(B, T)]."""
        out = self.text_model(input_ids=tensors["ids"], attention_mask=tensors["real"])
        vectors_PD = F.normalize(self.text_projection(out.pooler_output).float(), dim=-1)
        counts_B = (tensors["share"] > 0).sum(dim=1)
        place_T = torch.arange(int(counts_B.max()) if len(counts_B) else 0, device=counts_B.device)
        mask = place_T < counts_B[:, None]
        states = vectors_PD[((counts_B.cumsum(0) - counts_B)[:, None] + place_T) * mask] * mask[..., None]
        return tensors["share"] @ vectors_PD, states, mask


class _TextBackbone(TextBackbone):
    def lengths(self, batch: Sequence[str]) -> list[int]:
        """How many pieces each text has."""
        return [len(self.tokens(text)) for text in batch]


def load_text(
    *,
    name: str,
    hub: str,
    source: str | Path | None = None,
    device: str = "cpu",
    tokenizer: str | Path | None = None,
    cut: bool = False,
) -> TextBackbone:
    """CLAP's vectors of text as a backbone: one for each piece of 77 tokens, or of the first alone (``cut``).

    ``name`` and ``hub`` as ``text_backbone.load``, the others and errors as ``load``.
    """
    folder = path("clap") if source is None else towers.locate(str(source))
    network, _, file = read(folder)
    key, dim = f"pieces-{MAX_TOKENS}{'-cut' if cut else ''}-v1", int(network.config.projection_dim)
    spec, on = spec_of("text", name, source, file, key, dim), towers.device_for(device)
    words = towers.tokenizer(_words(folder, tokenizer))
    return _TextBackbone(_Pieces(network), spec, on, words, "", MAX_TOKENS, cut, True, file)


def read(place: Path, loaded: dict[str, Any] | None = None) -> tuple[Any, Any, Path]:
    """Network, feature extractor and weight file of a folder that transformers saved, or of a LAION checkpoint.

    ``loaded`` is what the checkpoint holds, where it has been read already. Raises WeightsError if the files are not a
    CLAP model.
    """
    return _laion(place, loaded) if place.is_file() else _transformers(place)


def front(extractor: Any) -> Callable[[list[FloatArray]], FloatArray]:
    """A feature extractor as a function of windows, which it fills up."""

    def mels(windows: list[FloatArray]) -> FloatArray:
        return np.asarray(extractor(windows, sampling_rate=RATE, return_tensors="np")["input_features"], np.float32)

    return mels


def _words(place: Path, tokenizer: str | Path | None) -> Path:
    """Where the tokenizer of a model lies."""
    if place.is_dir():
        return place
    if tokenizer is not None:
        return Path(tokenizer)
    return place.parent if (place.parent / "tokenizer.json").is_file() else path("roberta-tokenizer")


def _transformers(folder: Path) -> tuple[Any, Any, Path]:
    library: Any = transformers
    file = weights_in(folder, "a saved ClapModel")
    towers.config(folder / "config.json")
    network = towers.pretrained(library.ClapModel, folder, "a CLAP model")
    with towers.reading(folder, "a CLAP model"):
        extractor = library.ClapFeatureExtractor.from_pretrained(folder, local_files_only=True)
    if extractor.sampling_rate != RATE or extractor.nb_max_samples != 480000:
        raise WeightsError(
            f"{folder} hears {extractor.max_length_s} s at {extractor.sampling_rate} Hz, expected 10 s at 48000 Hz."
        )
    return network, extractor, file


def _laion(file: Path, loaded: dict[str, Any] | None) -> tuple[Any, Any, Path]:
    library: Any = transformers
    with towers.reading(file, "a LAION-CLAP checkpoint"):
        state = laion.convert(towers.load_tensors(file) if loaded is None else loaded)
        network = library.ClapModel(library.ClapConfig(**laion.config(state)))
    towers.fill(network, state, file, "LAION-CLAP")
    fused = network.config.audio_config.enable_fusion
    extractor = library.ClapFeatureExtractor(frequency_min=50, truncation="fusion" if fused else "rand_trunc")
    return network, extractor, file
