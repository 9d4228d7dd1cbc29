"""LAION-CLAP (Wu et al., ICASSP 2023): sound and English text in one space. Needs torch and transformers.

Sound is heard at 48 kHz in windows of exactly 10 s, one after the other from the start (never a random crop); a
shorter one at the end is repeated as often as it fits into 10 s, then silence, as in training. One window is one frame.
A text longer than the 77 tokens that the model reads is cut between clauses; each piece is one frame, and all count by
their length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from solfa.core.errors import WeightsError
from solfa.core.types import Audio, EncoderSpec, Features, FloatArray, JointModel
from solfa.encoders import laion, towers
from solfa.weights import path, weight

RATE, WINDOW_S = 48000, 10.0
MAX_TOKENS = 77


def load(*, source: str | Path | None = None, device: str = "cpu", tokenizer: str | Path | None = None) -> JointModel:
    """A CLAP model.

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

    Raises
    ------
    InputError
        If ``source`` is nothing of these, or the device cannot be used.
    MissingExtra
        If torch or transformers is not installed.
    MissingWeights
        If nothing was given and nothing was pulled.
    WeightsError
        If the files are not a CLAP model.
    """
    torch = towers.torch_for("clap")
    place = towers.device_for(torch, device)
    folder = path("clap") if source is None else towers.locate(str(source))
    own = source is None
    network, extractor, file = read(torch, folder)
    words = towers.tokenizer(_words(folder, tokenizer))
    spec = EncoderSpec(
        name="clap",
        space=f"clap/{towers.digest(file)}/{network.config.projection_dim}/48k-10s-v1",
        dim=int(network.config.projection_dim),
        licence=weight("clap").licence if own else "of the given file, not known to solfa",
        commercial_use=own,
    )
    network = network.to(place).eval()
    # One window a pass on a CPU: nothing is gained by more, and a vector is then the same to the last bit in any batch.
    batch = 1 if place.type == "cpu" else 16
    heard = replace(spec, sample_rate_hz=RATE, hop_s=WINDOW_S)
    audio = ClapAudio(torch, network, extractor, heard, batch)
    return JointModel(name="clap", audio=audio, text=ClapText(torch, network, words, spec))


class ClapAudio:
    """The audio tower; made by ``load``."""

    def __init__(self, torch: Any, network: Any, extractor: Any, spec: EncoderSpec, batch: int) -> None:
        self._torch, self._network, self._extractor, self.spec, self._batch = torch, network, extractor, spec, batch

    def encode(self, batch: Sequence[Audio]) -> Features:
        """One frame for each window (10 s) from the start of each stretch (a rest under 1 s is left out)."""
        towers.refuse_not_finite(batch)
        rate = self.spec.sample_rate_hz
        length = round(self.spec.hop_s * rate)
        clips = [towers.windows(towers.heard(audio, rate), length, rate) for audio in batch]
        flat = [clip for row in clips for clip in row]
        vectors = [self._forward(flat[i : i + self._batch]) for i in range(0, len(flat), self._batch)]
        rows = np.split(np.concatenate(vectors), np.cumsum([len(row) for row in clips])[:-1]) if flat else []
        return towers.pack(rows, self.spec.dim)

    def _forward(self, clips: Sequence[FloatArray]) -> FloatArray:
        # The library marks one random clip as "longer" for fused checkpoints; no window is, so that is undone here.
        mels = self._extractor(list(clips), sampling_rate=self.spec.sample_rate_hz, return_tensors="np")
        features = self._torch.as_tensor(np.asarray(mels["input_features"], np.float32)).to(self._network.device)
        longer = self._torch.zeros((len(clips), 1), dtype=self._torch.bool, device=self._network.device)
        with self._torch.inference_mode():
            return _vectors(self._network.get_audio_features(input_features=features, is_longer=longer))


class ClapText:
    """The text tower; made by ``load``."""

    def __init__(self, torch: Any, network: Any, tokenize: towers.Tokenize, spec: EncoderSpec) -> None:
        self._torch, self._network, self._tokenize, self.spec = torch, network, tokenize, spec

    def encode(self, batch: Sequence[str]) -> Features:
        """One frame for each piece of at most 77 tokens; every word of a text counts."""
        return towers.encode_texts(batch, self._tokenize, MAX_TOKENS, self._forward, self.spec.dim)

    def _forward(self, ids: list[int]) -> FloatArray:
        row = self._torch.tensor([ids], device=self._network.device)
        with self._torch.inference_mode():
            return _vectors(self._network.get_text_features(input_ids=row, attention_mask=self._torch.ones_like(row)))


def _vectors(out: Any) -> FloatArray:
    # transformers 5 wraps the vectors, 4 gives them bare.
    tensor = getattr(out, "pooler_output", out)
    vectors: FloatArray = tensor.float().cpu().numpy()
    return vectors


def read(torch: Any, place: Path) -> tuple[Any, Any, Path]:
    """Network, feature extractor and weight file of a folder that transformers saved, or of a LAION checkpoint.

    Raises
    ------
    WeightsError
        If the files are not a CLAP model.
    """
    return _laion(torch, place) if place.is_file() else _transformers(place)


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
    import transformers

    library: Any = transformers
    files = [folder / name for name in ("model.safetensors", "pytorch_model.bin") if (folder / name).is_file()]
    if not files:
        raise WeightsError(f"{folder} has no model.safetensors or pytorch_model.bin; expected a saved ClapModel.")
    towers.config(folder / "config.json")
    network = towers.pretrained(library.ClapModel, folder, "a CLAP model")
    with towers.reading(folder, "a CLAP model"):
        extractor = library.ClapFeatureExtractor.from_pretrained(folder, local_files_only=True)
    if extractor.sampling_rate != RATE or extractor.nb_max_samples != 480000:
        raise WeightsError(
            f"{folder} hears {extractor.max_length_s} s at {extractor.sampling_rate} Hz, expected 10 s at 48000 Hz."
        )
    return network, extractor, files[0]


def _laion(torch: Any, file: Path) -> tuple[Any, Any, Path]:
    import transformers

    library: Any = transformers
    with towers.reading(file, "a LAION-CLAP checkpoint"):
        state = laion.convert(towers.load_tensors(torch, file))
        network = library.ClapModel(library.ClapConfig(**laion.config(state)))
    towers.fill(network, state, file, "LAION-CLAP")
    fused = network.config.audio_config.enable_fusion
    extractor = library.ClapFeatureExtractor(frequency_min=50, truncation="fusion" if fused else "rand_trunc")
    return network, extractor, file
