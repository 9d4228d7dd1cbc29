"""What the torch encoders share: devices, checkpoints, pieces of text, and the packing of vectors."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from solfa.core.errors import InputError, WeightsError
from solfa.core.types import Audio, Features, FloatArray
from solfa.encoders.backbones import pack_states

# A rest of a track shorter than this is no window of its own.
LEAST_REST_S = 1.0

Tokenize = Callable[[str], list[int]]
# Larger sizes in a configuration are a mistake, and would take all memory before a tensor is missed.
_MOST = {("layers", "depth", "depths"): 1000, ("size", "dim", "d_model", "d_ff", "mels", "embeddings"): 10**7}


def device_for(name: str) -> Any:
    """The torch device of this name, seen to work; there is no fallback to another.

    Raises InputError if torch does not know the name or cannot use the device.
    """
    import torch

    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # torch asserts where it was built without CUDA
        raise InputError(
            f"the device {name!r} cannot be used: {str(error).splitlines()[0].rstrip('.')}. Use 'cpu', "
            f"or install a torch that was built for it."
        ) from error
    return device


def locate(source: str) -> Path:
    """A folder or file, or the cached snapshot of a Hugging Face id; nothing is fetched.

    Raises InputError if it is none of these.
    """
    try:
        place = Path(source).expanduser()
        if place.exists():
            return place
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(source, local_files_only=True))
    except (OSError, ValueError, RuntimeError) as error:  # the last over the home of somebody who is not there
        raise InputError(
            f"{source!r} is neither a file or folder nor a Hugging Face id in the local cache. solfa fetches nothing "
            f"by itself; get it with: hf download {source}"
        ) from error


def refuse_not_finite(batch: Sequence[Audio]) -> None:
    """See that all samples are finite numbers, or the weights would be blamed. Raises InputError if they are not."""
    bad = [i for i, audio in enumerate(batch) if not np.isfinite(audio.samples).all()]
    if bad:
        raise InputError(f"sound {bad[0]} of {len(batch)} has samples that are not finite numbers. Leave it out.")


def pieces(text: str, count: Callable[[str], int], limit: int) -> list[str]:
    """A text in pieces of at most ``limit`` tokens that together hold every word of it, cut between clauses.

    ``count`` says how many tokens a text has for the model, special ones included.
    """
    if count(text) <= limit:
        return [text]
    clauses = [clause for clause in re.split(r"(?<=[.,;:!?\n])\s+", text) if clause.strip()]
    out: list[str] = []
    for clause in (part for c in clauses for part in _halves(c, count, limit)):
        joined = f"{out[-1]} {clause}" if out else clause
        if out and count(joined) <= limit:
            out[-1] = joined
        else:
            out.append(clause)
    return out


def token_pieces(text: str, tokenize: Tokenize, limit: int) -> list[list[int]]:
    """The token numbers of a text, in pieces as ``pieces`` cuts them."""
    return [tokenize(piece) for piece in pieces(clean(text), lambda part: len(tokenize(part)), limit)]


def clean(text: str) -> str:
    """The text that a tokenizer takes: half a surrogate pair, as hostile or cut text may hold, is none."""
    return text.encode("utf-8", "replace").decode()


def _halves(clause: str, count: Callable[[str], int], limit: int) -> list[str]:
    """A clause, halved between words (within a word where it has only one) until every part fits."""
    if count(clause) <= limit or len(clause) < 2:
        return [clause]
    words = clause.split()
    if len(words) > 1:
        half = len(words) // 2
        sides = " ".join(words[:half]), " ".join(words[half:])
    else:
        sides = clause[: len(clause) // 2], clause[len(clause) // 2 :]
    return [part for side in sides for part in _halves(side, count, limit)]


def pack(rows: Sequence[FloatArray], dim: int, weights: Sequence[Sequence[float]] | None = None) -> Features:
    """Frames (each [shape=(T, D)], any T) as ``Features``; the global vector is their (weighted) mean direction.

    Raises WeightsError if a frame has no direction (zeros, NaN).
    """
    units = [_unit(row) for row in rows]
    shares = [None] * len(units) if weights is None else weights
    means = [np.average(unit, axis=0, weights=share)[None] for unit, share in zip(units, shares, strict=True)]
    return features(units, dim, [_unit(mean)[0] for mean in means])


def features(rows: Sequence[FloatArray], dim: int, pooled: Sequence[FloatArray]) -> Features:
    """Frames and a global vector of each item, as they are."""
    packed: Any = pack_states(rows, dim, pooled)
    return Features(global_BD=packed.pooled_BD, frames_BTD=packed.states_BTD, mask_BT=packed.mask_BT)


class TextTokenizer:
    """Token numbers of a text; ``tokenizer`` is the ``tokenizers.Tokenizer`` behind it."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def __call__(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text).ids)


def tokenizer(folder: Path, special: Sequence[str] = ()) -> Tokenize:
    """What ``tokenizer.json`` of a folder makes of a text: its token numbers, special ones included, none cut off.

    ``special`` are more words that are one token wherever they stand. Raises WeightsError if there is no such file or
    it cannot be read.
    """
    from tokenizers import Tokenizer

    file = folder / "tokenizer.json"
    if not file.is_file():
        raise WeightsError(f"{folder} has no tokenizer.json.")
    try:
        made = Tokenizer.from_str(file.read_text(encoding="utf-8"))
    except Exception as error:  # the library raises Exception itself
        raise WeightsError(f"{file} is not a tokenizer: {error}") from error
    made.no_truncation()
    made.no_padding()
    made.add_special_tokens(list(special))
    return TextTokenizer(made)


def tokenizer_of(file: Path, given: str | Path | None, hub: str, special: Sequence[str] = ()) -> Tokenize:
    """``tokenizer`` of the folder given, of that of the weights, or else of a Hugging Face id in the local cache."""
    beside = file.parent if (file.parent / "tokenizer.json").is_file() else hub
    return tokenizer(locate(str(given or beside)), special)


def fill(network: Any, state: Mapping[str, Any], file: Path, what: str) -> None:
    """Put tensors into a network, all of them and no others.

    Raises WeightsError if weights are missing, unknown, or of another shape.
    """
    with reading(file, what):
        try:
            found = network.load_state_dict(state, strict=False)
        except RuntimeError as error:  # shapes
            raise WeightsError(f"{file} does not fit {what}: {str(error).splitlines()[-1].strip()}") from error
    # Buffers that count positions hold no knowledge, and not every release of the libraries saves them.
    missing = [key for key in found.missing_keys if not key.endswith(("position_ids", "token_type_ids", "inv_freq"))]
    if missing or found.unexpected_keys:
        raise WeightsError(
            f"{file} does not fit {what}: {len(missing)} weights are missing and {len(found.unexpected_keys)} unknown, "
            f"such as {(missing or found.unexpected_keys)[0]}."
        )


def _unit(rows: FloatArray) -> FloatArray:
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    if not (np.isfinite(lengths).all() and (lengths > 1e-9).all()):
        raise WeightsError(
            f"a network gave a vector of length {float(lengths.min())}, expected a direction: dead weights."
        )
    unit: FloatArray = (rows / lengths).astype(np.float32)
    return unit


def digest(file: Path) -> str:
    """The first 12 hex digits of a file's SHA-256, for the name of an embedding space.

    Raises WeightsError if the file cannot be read.
    """
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()[:12]
    except OSError as error:
        raise WeightsError(f"the weights {file} cannot be read: {error.strerror}.") from error


def load_tensors(file: Path) -> dict[str, Any]:
    """The tensors of a checkpoint: safetensors, or a torch file without anything that runs code.

    Raises WeightsError if the file holds something else.
    """
    if file.suffix == ".safetensors":
        from safetensors.torch import load_file

        with reading(file, "a readable safetensors file"):
            return dict(load_file(str(file)))
    import torch

    # Training scripts leave numpy scalars and their arguments beside the tensors; they are plain and safe to read.
    scalar = np.float64(0).__reduce__()[0]
    plain: list[Any] = [scalar, Namespace, np.dtype, *(type(np.dtype(kind)) for kind in ("f8", "f4", "i8"))]
    with torch.serialization.safe_globals(plain), reading(file, "a checkpoint that can be read safely"):
        loaded = torch.load(file, map_location="cpu", weights_only=True)
    if not isinstance(loaded, dict):
        raise WeightsError(f"{file} holds a {type(loaded).__name__}, expected a dictionary of tensors.")
    return loaded


def pretrained(made: Any, folder: Path, what: str) -> Any:
    """A network of the library's class ``made`` that transformers saved; a pooler, which nothing uses, is left out.

    Raises WeightsError if it is not ``what`` it should be, or weights are missing or of another shape.
    """
    import transformers

    library: Any = transformers
    say = library.utils.logging
    say.disable_progress_bar()
    loud = say.get_verbosity()
    say.set_verbosity_error()  # it reports what is left out on purpose
    try:
        with reading(folder, what):
            network, report = made.from_pretrained(
                folder, local_files_only=True, output_loading_info=True, ignore_mismatched_sizes=True
            )
    finally:
        say.set_verbosity(loud)
    keys = (*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"]))
    misfits = sorted(key for key in keys if not key.startswith("pooler."))
    if misfits:
        raise WeightsError(f"{folder} lacks weights of {what}, or has others: {misfits[0]}.")
    if hasattr(network, "pooler"):
        network.pooler = None
    return network


@contextmanager
def reading(place: Path, what: str) -> Iterator[None]:
    """What libraries raise over damaged or absurd files becomes a WeightsError: the place is not ``what`` it should."""
    from huggingface_hub import errors
    from safetensors import SafetensorError

    known: tuple[type[Exception], ...] = (
        ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, OSError, RuntimeError, TypeError,
        ValueError, pickle.UnpicklingError, SafetensorError, getattr(errors, "StrictDataclassError", OSError),
    )  # fmt: skip
    try:
        yield
    except InputError:
        raise
    except known as error:
        raise WeightsError(f"{place} is not {what}: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    under: BaseException | None = error
    while under is not None:  # transformers 4 says something else over it
        if isinstance(under, pickle.UnpicklingError):  # torch's own message tells how to run the code after all
            found = re.search(r"GLOBAL (\S+)", str(under))
            wants = f"wants to run {found[1]}" if found else "is damaged, or holds more than tensors"
            return f"it {wants}. Save its tensors alone, where you trust it."
        under = under.__context__
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return f"it lacks {first}." if isinstance(error, KeyError) else first


def config(file: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises WeightsError if the file cannot be read, holds something else, or speaks of absurd sizes.
    """
    try:
        loaded = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{file} cannot be read as JSON: {error}") from error
    if not isinstance(loaded, dict):
        raise WeightsError(f"{file} holds a {type(loaded).__name__}, expected an object.")
    for part in (loaded, *(value for value in loaded.values() if isinstance(value, dict))):
        for key, value in part.items():
            most = next((n for endings, n in _MOST.items() if key.endswith(endings)), float("inf"))
            if any(isinstance(n, int | float) and n > most for n in (value if isinstance(value, list) else [value])):
                raise WeightsError(f"{file} says {key} = {value}, expected {most:g} at most.")
    return loaded
