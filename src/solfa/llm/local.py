"""A language model on this machine: llama.cpp (package ``xllamacpp``) behind the protocol that endpoints have."""

import secrets
from functools import cache
from pathlib import Path
from threading import Lock

from solfa.core.errors import InputError, UnknownName, WeightsError, need
from solfa.core.files import file_hash
from solfa.weights import path, weight
from solfa.weights.manifest import manifest

LOCAL, KIND, _CONTEXT_TOKENS = "local", "language model", 8192  # an endpoint's address; a kind of the manifest
_lock, _running = Lock(), dict[str, tuple[object, str, str]]()


@cache
def model_file(model: str) -> tuple[Path, str]:
    """The GGUF file of a pulled model or a path, and its SHA-256.

    Raises UnknownName and as ``weights.path`` for the name of a model; InputError if a file cannot be read.
    """
    if model.endswith(".gguf"):
        try:
            return Path(model), file_hash(Path(model))
        except OSError as bad:
            raise InputError(f"{model} cannot be read: {bad.strerror}. Expected a GGUF file.") from bad
    if model not in (names := [name for name, entry in manifest().items() if entry.kind == KIND]):
        raise UnknownName("local language model", model, [*names, "FILE.gguf"])
    return path(model), weight(model).sha256


def serve(model: str) -> tuple[str, str]:
    """Address and key of a server in this process, on the loopback interface; one for each model.

    Raises as ``model_file``, MissingExtra without ``xllamacpp``, and WeightsError if that cannot load the file.
    """
    with _lock:
        if model not in _running:
            file = model_file(model)[0]
            package = need("xllamacpp", "a language model on this machine", "pip install 'solfa[llm]'")
            options, key = package.CommonParams(), secrets.token_hex(16)
            options.model.path, options.n_ctx, options.n_parallel = str(file), _CONTEXT_TOKENS, 1
            options.api_keys, options.ui, options.verbosity = [key], False, -1
            try:
                server = package.Server(options)
            except RuntimeError as bad:
                raise WeightsError(f"{file} is not a GGUF file that llama.cpp can load.") from bad
            _running[model] = server, f"{server.listening_address}/v1", key
        return _running[model][1:]
