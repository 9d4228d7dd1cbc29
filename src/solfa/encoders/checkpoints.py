"""Published weights: where they are, what they are called, and how they are read without running any of their code.

A loader of ``registry.toml`` is a function of a ``Checkpoint`` and options, under the decorator ``published``. torch is
imported when tensors are.
"""

import json
import pickle
import re
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from solfa.core.errors import InputError, WeightsError
from solfa.core.files import file_hash
from solfa.core.types import EncoderSpec
from solfa.encoders.registry import ROWS, stated_spec
from solfa.weights import path

R = TypeVar("R")
# Larger sizes in a configuration are a mistake, and would take all memory before a tensor is missed.
_MOST = {("layers", "depth", "depths"): 1000, ("size", "dim", "d_model", "d_ff", "mels", "embeddings"): 10**7}


@dataclass(frozen=True, eq=False, slots=True)
class Checkpoint:
    """The weights that an entry of ``registry.toml`` stands for, and the device that they are to run on.

    ``kind``, ``name``: of the entry: its section (``model``, ``audio``, ``text``) and its name there; ``source``: a
    file, a folder, or a Hugging Face id in the local cache; None for what the entry names; ``device``: a torch device.
    """

    kind: str
    name: str
    source: str | None
    device: Any

    def place(self) -> Path:
        """The file or folder. Raises InputError or MissingWeights if it is not on this machine; says how to get it."""
        row = ROWS[self.kind][self.name]
        if self.source is None and "pulled" in row:
            return path(row["pulled"])
        if self.source is None and "hub" not in row:
            raise InputError(f"{self.name} has no weights that solfa could find by itself; give them: {row['source']}.")
        return locate(self.source or row["hub"])

    def file(
        self, what: str, names: Sequence[str] = ("model.safetensors", "pytorch_model.bin"), place: Path | None = None
    ) -> Path:
        """The weight file: the place, or the first of these names in the folder there. Raises WeightsError if none."""
        where = place or self.place()
        if where.is_file():
            return where
        found = [where / name for name in names if (where / name).is_file()]
        if not found:
            raise WeightsError(f"{where} has no {' or '.join(names)}; expected {what}.")
        return found[0]

    def spec(self, dim: int, preprocessing: str, *files: Path, **sound: Any) -> EncoderSpec:
        """What these weight files make; other weights than the entry's may have another licence than it states."""
        space = f"{self.name}/{'-'.join(hash_of(file)[:12] for file in files)}/{dim}/{preprocessing}"
        spec = stated_spec(self.kind, self.name, space, dim, **sound)
        if self.source in (None, ROWS[self.kind][self.name].get("hub")) or not spec.commercial_use:
            return spec
        return replace(spec, licence="of the given file, not known to solfa", commercial_use=False)


def published(kind: str, entry: str = "") -> Callable[[Callable[..., R]], Callable[..., R]]:
    """A function of a ``Checkpoint`` as a loader (``core.registry``): ``source`` and ``device`` become options.

    ``entry`` is the name in the table where the loader has one entry.
    """

    def decorate(load: Callable[..., R]) -> Callable[..., R]:
        @wraps(load)
        def loader(*, name: str = entry, source: str | Path | None = None, device: str = "cpu", **options: Any) -> R:
            given = Checkpoint(kind, name, None if source is None else str(source), device_for(device))
            return load(given, **options)

        shared = {"name": (entry, "str"), "source": (None, ""), "device": ("cpu", "str")}
        first = [Parameter(k, Parameter.KEYWORD_ONLY, default=d, annotation=a) for k, (d, a) in shared.items()]
        own = list(signature(load).parameters.values())[1:]
        loader.__signature__ = Signature([*first, *own])  # type: ignore[attr-defined]
        return loader

    return decorate


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


def hash_of(file: Path) -> str:
    """The SHA-256 of a file of weights, in hex. Raises WeightsError if it cannot be read."""
    try:
        return file_hash(file)
    except OSError as error:
        raise WeightsError(f"{file} cannot be read: {error.strerror}.") from error


def load_tensors(file: Path) -> dict[str, Any]:
    """The tensors of a checkpoint: safetensors, or a torch file without anything that runs code.

    What training scripts keep besides a ``state_dict`` or ``model`` is left out. Raises WeightsError if the file holds
    something else.
    """
    if file.suffix == ".safetensors":
        from safetensors.torch import load_file

        with reading(file, "a readable safetensors file"):
            return dict(load_file(str(file)))
    import torch

    # Training scripts leave numpy scalars and their arguments besides the tensors; they are plain and safe to read.
    scalar = np.float64(0).__reduce__()[0]
    plain: list[Any] = [scalar, Namespace, np.dtype, *(type(np.dtype(kind)) for kind in ("f8", "f4", "i8"))]
    with torch.serialization.safe_globals(plain), reading(file, "a checkpoint that can be read safely"):
        loaded = torch.load(file, map_location="cpu", weights_only=True)
    if not isinstance(loaded, dict):
        raise WeightsError(f"{file} holds a {type(loaded).__name__}, expected a dictionary of tensors.")
    inner = loaded.get("state_dict", loaded.get("model"))
    return inner if isinstance(inner, dict) else loaded


def library_config(kind: Any, sizes: Mapping[str, Any], **more: Any) -> Any:
    """A configuration of the library's class from that of a published file, which says more than sizes."""
    about = ("architectures", "auto_map", "model_type", "torch_dtype")
    return kind(**{key: value for key, value in sizes.items() if key not in about} | more)


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

    Raises WeightsError if the file cannot be read, holds something else, or refers to absurd sizes.
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


def count(state: Mapping[str, Any], pattern: str) -> int:
    """How many layers there are: one more than the largest number in this place of the tensors' names."""
    found = [int(match[1]) for key in state if (match := re.match(pattern, key))]
    return max(found, default=-1) + 1
