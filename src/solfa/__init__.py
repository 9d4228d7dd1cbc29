"""solfa: find music by what is written about it.

::

    import solfa

    with solfa.Collection.open("music", create=True) as music:
        solfa.index(music, ["songs/"])
        results = solfa.search(music, "slow waltz in D minor, solo piano, no vocals", where=["tempo_bpm=60..90"])
        print(results.hits[0].path, results.hits[0].evidence)
    print(solfa.analyze("songs/a.flac").key)
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from solfa.analysis.analyze import analyze
    from solfa.api import index, search
    from solfa.collection import Collection
    from solfa.encoders.registry import load_model
    from solfa.language import Session
    from solfa.query import parse
    from solfa.relevance import summaries, summarize
    from solfa.serve.client import Client

__version__ = "0.1.0"
__all__ = ["Client", "Collection", "Session", "__version__", "analyze", "index", "load_model", "parse", "search",
           "summaries", "summarize"]  # fmt: skip

# Libraries that report on their use read these when they begin (ONNX Runtime, the Hugging Face clients, Ray); worker
# processes inherit them. Nothing turns it on: SECURITY.md promises that there is no telemetry.
_SILENT = ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY", "DISABLE_SAFETENSORS_CONVERSION", "DO_NOT_TRACK")
os.environ.update(dict.fromkeys(_SILENT, "1") | {"RAY_USAGE_STATS_ENABLED": "0"})

# Imported at first use, so that `import solfa` remains cheap.
_HOMES = {
    "Client": "solfa.serve.client",
    "Collection": "solfa.collection",
    "Session": "solfa.language",
    "analyze": "solfa.analysis.analyze",
    "index": "solfa.api",
    "load_model": "solfa.encoders.registry",
    "parse": "solfa.query",
    "search": "solfa.api",
    "summaries": "solfa.relevance",
    "summarize": "solfa.relevance",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'solfa' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
