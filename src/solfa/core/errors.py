"""Every error that solfa raises on purpose.

A message says what happened, what was got, what was expected and what to do.
"""

import shlex
from collections.abc import Iterable
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any


class SolfaError(Exception):
    """Base of all errors that solfa raises on purpose."""


class DryRun(BaseException):
    """The request to a language model that a dry run does not send, as text; it ends the run, not one item of it."""


class InputError(SolfaError, ValueError):
    """An argument, query or option that cannot be understood."""


class UnknownName(InputError):
    """A name that nothing is registered under."""

    def __init__(self, kind: str, name: str, available: Iterable[str]) -> None:
        names = sorted(set(available))
        near = get_close_matches(name, names, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        super().__init__(f"unknown {kind} {name!r}.{hint} Available: {', '.join(names) or 'none'}.")
        self.kind, self.name, self.available = kind, name, tuple(names)


class DecodeError(SolfaError):
    """One audio file that cannot be read; ``reason`` is a short clause without the path."""

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = Path(path), reason

    def __reduce__(self) -> "tuple[type[DecodeError], tuple[str, str]]":
        return type(self), (str(self.path), self.reason)  # crosses process borders


class FileUnavailable(DecodeError):
    """A file that cannot be reached now; that says nothing of what is in it."""


class MissingExtra(SolfaError):
    """An optional package that is not installed."""

    def __init__(self, feature: str, install: str) -> None:
        super().__init__(f"{feature} needs a package that is not installed. Install it with: {install}")
        self.feature, self.install = feature, install


def need(module: str, feature: str, install: str) -> Any:
    """A module of an optional package. Raises MissingExtra, which says how to install it, where there is none."""
    try:
        return import_module(module)
    except ImportError as missing:
        raise MissingExtra(feature, install) from missing


class MissingWeights(SolfaError):
    """A model whose files have not been pulled yet."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"the files of model {name!r} are not on this machine. Get them with: solfa models pull {name}"
        )
        self.name = name


class WeightsError(SolfaError):
    """A model file with the wrong hash, of the wrong shape, or with dead weights."""


class CollectionError(SolfaError):
    """A collection that cannot be opened, written or trusted."""


class UnknownTrack(CollectionError):
    """A track that a collection does not have."""


class CollectionBusy(CollectionError):
    """Another process is writing to the collection."""


class CollectionDamaged(CollectionError):
    """What is stored in a collection is not what was written."""

    def __init__(self, directory: Path | str, reason: object) -> None:
        said = " ".join(str(reason).split())
        super().__init__(
            f"{directory} is not a collection, or a damaged one: {said}. See what is wrong with: solfa doctor "
            f"--collection {shlex.quote(str(directory))}; repair it by adding --repair."
        )
        self.directory, self.reason = Path(directory), said


class SpaceMismatch(CollectionError):
    """Vectors of two embedding spaces would meet."""

    def __init__(self, have: str, want: str) -> None:
        super().__init__(
            f"the collection holds vectors of the embedding space {have!r}, and {want!r} was asked for; they cannot "
            f"be compared. Re-embed with: solfa index --model NAME (analysis is kept), or search with the old model."
        )
        self.have, self.want = have, want


class ExtractorError(SolfaError):
    """An analysis tool that failed on sound input."""


class TrainingError(SolfaError):
    """A training run that cannot go on: a loss or a gradient that is not finite."""
