"""The words for what can be present in music: one table of concepts that queries, analysis and search share.

A concept has an id (``electric_piano``), a kind, the names people use for it, and the wider concept it is a case of.
The table is ``vocabulary.toml`` next to this file.
"""

from dataclasses import dataclass
from functools import cache

from solfa.core.errors import UnknownName
from solfa.core.files import table_of

KINDS = ("instrument", "voice", "genre", "mood", "use", "sound")


@dataclass(frozen=True, kw_only=True, slots=True)
class Concept:
    """One thing that can be present in music."""

    id: str
    kind: str
    names: tuple[str, ...]
    is_a: str | None = None

    @property
    def title(self) -> str:
        """The name to show."""
        return self.names[0]


@cache
def concepts() -> dict[str, Concept]:
    """Every concept by id, in the order of the table."""
    table = table_of("solfa.core", "vocabulary.toml")
    parents: dict[str, str] = table.get("is_a", {})
    return {
        name: Concept(id=name, kind=kind, names=tuple(names), is_a=parents.get(name))
        for kind in KINDS
        for name, names in table[kind].items()
    }


def concept(name: str) -> Concept:
    """One concept.

    Raises UnknownName if no concept has this id.
    """
    table = concepts()
    if name not in table:
        raise UnknownName("concept", name, table)
    return table[name]


@cache
def lineage(name: str) -> tuple[str, ...]:
    """A concept's id and its ever wider parents.

    >>> lineage("rhodes")
    ('rhodes', 'electric_piano', 'keyboard')
    """
    chain = [name]
    while (parent := concept(chain[-1]).is_a) is not None:
        chain.append(parent)
    return tuple(chain)


def is_other_source(name: str, than: str) -> bool:
    """Whether a concept is an instrument or voice that is neither a kind of another one nor what it is a kind of.

    >>> [is_other_source(name, "rhodes") for name in ("drums", "keyboard", "rhodes", "jazz")]
    [True, False, False, False]
    """
    if name not in concepts() or concept(name).kind not in ("instrument", "voice"):
        return False
    return name not in lineage(than) and than not in lineage(name)
