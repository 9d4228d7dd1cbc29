"""LAION-CLAP (Wu et al., ICASSP 2023): sound and English text in one space, and its towers as backbones. Needs torch.

Sound is taken at 48 kHz in windows of exactly 10 s, one after the other from the start (never a random crop); a
shorter one at the end is repeated as often as it fits into 10 s, then silence, as in training. One window is one frame.
A text longer than the 77 tokens that the model reads is cut between clauses; each piece is one frame, and all count by
their length. Weights are a folder as transformers saves it, or a LAION ``.pt`` file: the same network under other
names.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import transformers
from torch import Tensor

from solfa.core.errors import InputError, WeightsError
from solfa.core.types import FloatArray, JointModel
from solfa.encoders.checkpoints import Checkpoint, config, fill, load_tensors, pretrained, published, reading
from solfa.encoders.joint import joint_model
from solfa.encoders.published.bert import sizes
from solfa.encoders.published.htsat import HtsAt, audio_config, rename, with_front_end
from solfa.encoders.text_backbone import TextBackbone, TextTower
from solfa.encoders.tokens import tokenizer_of
from solfa.encoders.windowed import Grid, WindowedBackbone, windowed

RATE, WINDOW_S = 48000, 10.0
MAX_TOKENS = 77
_AUTHORS = "sed_model."  # what names begin with in a checkpoint of HTS-AT's authors
Front = Callable[[list[FloatArray]], FloatArray]


@published("model", "clap")
def load(checkpoint: Checkpoint, *, tokenizer: str | Path | None = None) -> JointModel:
    """A CLAP model.

    Raises as ``text_backbone.load``; MissingWeights if no source was given and nothing was pulled.

    ``checkpoint``: a folder as transformers saves it, a Hugging Face id that is in the local cache, or a LAION ``.pt``
    file; by default what ``solfa models pull clap`` fetched; ``tokenizer``: For a ``.pt`` file: a folder with RoBERTa's
    ``tokenizer.json``; by default the folder of the file, or else what ``solfa models pull roberta-tokenizer`` fetched.
    """
    backbone, network, file = _vectors(checkpoint, "48k-10s-v1", WINDOW_S, WINDOW_S)
    words = tokenizer_of(file, tokenizer, pulled="roberta-tokenizer")
    return joint_model(backbone, _text_tower(network), words, MAX_TOKENS)


@published("audio", "clap")
def load_windows(checkpoint: Checkpoint, *, window_s: float = 2.0, step_s: float = 1.0) -> WindowedBackbone:
    """CLAP's vectors of short windows, by default as GD-Retriever takes them; weights and errors as ``load``.

    ``window_s`` and ``step_s`` are seconds of one vector (10 at most), and from one to the next.
    """
    if not 0 < step_s <= window_s <= WINDOW_S:
        raise InputError(f"clap needs 0 < step_s <= window_s <= {WINDOW_S:g}, got {step_s} and {window_s}.")
    return _vectors(checkpoint, f"48k-{window_s:g}s-{step_s:g}s-v2", window_s, step_s)[0]


def _vectors(checkpoint: Checkpoint, key: str, window_s: float, step_s: float) -> tuple[WindowedBackbone, Any, Path]:
    network, front, file = _read(checkpoint)
    grid = Grid(sample_rate_hz=RATE, window_s=window_s, step_s=step_s, fill="front")
    tower, dim = HtsAt(network.audio_model, network.audio_projection), int(network.config.projection_dim)
    return windowed(checkpoint, tower, file, key, dim, grid, front), network, file


@published("audio", "htsat")
def load_states(checkpoint: Checkpoint) -> WindowedBackbone:
    """HTS-AT's 32 states of 10 s before any projection; weights and errors as ``load``.

    They can also be a checkpoint of HTS-AT's authors such as ``HTSAT_AudioSet_Saved_1.ckpt`` (FineLAP's other audio
    encoder): for 32 kHz, with the window function and mel filters that it holds itself.
    """
    place, tower = checkpoint.place(), None
    loaded = load_tensors(place) if place.is_file() else {}
    with reading(place, "a checkpoint of HTS-AT or CLAP"):
        if any(key.startswith(_AUTHORS) for key in loaded):
            tower, own = with_front_end(loaded, _AUTHORS)
            fill(tower, own, place, "HTS-AT")
    if tower is not None:
        grid = Grid(sample_rate_hz=32000, window_s=WINDOW_S, hop_s=tower.hop_s(WINDOW_S))
        return windowed(checkpoint, tower, place, "32k-10s-v2", tower.dim, grid)
    network, front, file = _read(checkpoint, loaded)
    tower = HtsAt(network.audio_model)
    grid = Grid(sample_rate_hz=RATE, window_s=WINDOW_S, hop_s=tower.hop_s(WINDOW_S), fill="front")
    return windowed(checkpoint, tower, file, "48k-10s-v2", tower.dim, grid, front)


def _text_tower(network: Any) -> TextTower:
    def vectors(tower: Any, ids_PL: Tensor, real_PL: Tensor) -> Tensor:
        out: Tensor = tower.text_projection(tower.text_model(input_ids=ids_PL, attention_mask=real_PL).pooler_output)
        return out

    return TextTower(vectors, text_model=network.text_model, text_projection=network.text_projection)


@published("text", "clap")
def load_text(checkpoint: Checkpoint, *, tokenizer: str | Path | None = None, cut: bool = False) -> TextBackbone:
    """CLAP's vectors of text: one for each piece of 77 tokens, or of the first alone (``cut``).

    Weights, ``tokenizer`` and errors as ``load``.
    """
    network, _, file = _read(checkpoint)
    words = tokenizer_of(file, tokenizer, pulled="roberta-tokenizer")
    key = f"pieces-{MAX_TOKENS}{'-cut' if cut else ''}-v1"
    spec = checkpoint.spec(int(network.config.projection_dim), key, file)
    return TextBackbone(_text_tower(network), spec, checkpoint.device, file, words, MAX_TOKENS, cut=cut)


def _read(checkpoint: Checkpoint, loaded: Mapping[str, Any] | None = None) -> tuple[Any, Front, Path]:
    """Network, feature extractor and weight file; ``loaded`` is what a LAION checkpoint holds, if it was read already.

    The extractor is a function of windows, which it fills up. Raises WeightsError if the files are not a CLAP model.
    """
    place = checkpoint.place()
    network, extractor, file = _laion(place, loaded) if place.is_file() else _transformers(checkpoint, place)

    def mels(windows: list[FloatArray]) -> FloatArray:
        return np.asarray(extractor(windows, sampling_rate=RATE, return_tensors="np")["input_features"], np.float32)

    return network, mels, file


def _transformers(checkpoint: Checkpoint, folder: Path) -> tuple[Any, Any, Path]:
    library: Any = transformers
    file = checkpoint.file("a saved ClapModel", place=folder)
    config(folder / "config.json")
    network = pretrained(library.ClapModel, folder, "a CLAP model")
    with reading(folder, "a CLAP model"):
        extractor = library.ClapFeatureExtractor.from_pretrained(folder, local_files_only=True)
    if extractor.sampling_rate != RATE or extractor.nb_max_samples != 480000:
        raise WeightsError(
            f"{folder} takes {extractor.max_length_s} s at {extractor.sampling_rate} Hz, expected 10 s at 48000 Hz."
        )
    return network, extractor, file


def _laion(file: Path, loaded: Mapping[str, Any] | None) -> tuple[Any, Any, Path]:
    library: Any = transformers
    with reading(file, "a LAION-CLAP checkpoint"):
        given = {str(key).removeprefix("module."): value for key, value in (loaded or load_tensors(file)).items()}
        if "audio_branch.patch_embed.proj.weight" not in given or "text_branch.pooler.dense.weight" not in given:
            raise WeightsError(
                f"{file} is not a LAION-CLAP checkpoint with an HTSAT audio tower and a RoBERTa text tower; its "
                f"tensors are named {', '.join(sorted(given)[:3])}, ..."
            )
        state = rename(given)
        settings = {
            "projection_dim": int(state["text_projection.linear2.weight"].shape[0]),
            "audio_config": audio_config(state),
            "text_config": sizes(state, "text_model.") | {"layer_norm_eps": 1e-5},
        }
        network = library.ClapModel(library.ClapConfig(**settings))
    fill(network, state, file, "LAION-CLAP")
    fused = network.config.audio_config.enable_fusion
    extractor = library.ClapFeatureExtractor(frequency_min=50, truncation="fusion" if fused else "rand_trunc")
    return network, extractor, file
