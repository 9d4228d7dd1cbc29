"""Which file of which Debian package is a sound of what, and the phrase bank that follows: ``ontology.toml``."""

from __future__ import annotations

import fnmatch
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

from solfa.core.files import table_of
from solfa.datagen.scenes.music_words import music_bank
from solfa.datasets.bank import Cluster, PhraseBank

BACKGROUND = ""
_LIMIT = 60  # files of one cluster; drum kits have hundreds of takes


@dataclass(frozen=True, kw_only=True, slots=True)
class Package:
    """A Debian package with sounds: the pinned file, and the folder inside it that is kept."""

    name: str
    deb: str
    sha256: str
    root: str
    licence: str


@cache
def packages() -> tuple[Package, ...]:
    """All packages of the table."""
    return tuple(Package(name=name, **entry) for name, entry in _table()["packages"].items())


def label_sounds(keys: Iterable[str]) -> dict[str, str]:
    """The phrase of each sound file, by key (``scratch/animal/dog1``); `BACKGROUND` for what lies under events.

    Files that no row names are left out, and so are those beyond a cluster's limit (which ones follows from the keys).

    >>> label_sounds(["scratch/animal/dog1", "scratch/effects/waterrunning", "scratch/unheard"])
    {'scratch/animal/dog1': 'dog barking', 'scratch/effects/waterrunning': ''}
    """
    found: dict[str, list[str]] = {}
    limits: dict[str, int] = {}
    for key in sorted(keys):
        for pattern, phrase, limit in _rows():
            if match := pattern.fullmatch(key):
                label = phrase.format(**_words(phrase, match)) if "{" in phrase else phrase
                found.setdefault(label, []).append(key)
                limits[label] = limit
                break
    kept: dict[str, str] = {}
    for label, members in found.items():
        by_chance = sorted(members, key=lambda key: hashlib.sha256(key.encode()).digest())
        kept |= dict.fromkeys(members if label == BACKGROUND else by_chance[: limits[label]], label)
    return dict(sorted(kept.items()))


@cache
def sound_bank() -> PhraseBank:
    """Clusters of sounds, joined with those of music: a drum hit and a drum that enters are of one bank."""
    table = _table()
    clusters = [
        Cluster(phrase=phrase, alternatives=tuple(row["say"]), related=tuple(row.get("near", ())))
        for phrase, row in table["clusters"].items()
    ]
    made: dict[str, Cluster] = {}
    for family in table["families"]:
        words = family.get("words", {})
        for values in product(*(dict.fromkeys(w.values()) for w in map(_choices, words.items()))):
            said = dict(zip(words, values, strict=True))
            phrase = family["phrase"].format(**said)
            made[phrase] = Cluster(
                phrase=phrase,
                alternatives=tuple(s.format(**said) for s in family["say"]),
                related=tuple(family["near"]),
            )
    return PhraseBank([*clusters, *made.values()]).merged(music_bank())


def bank_of(labels: set[str], bank: PhraseBank | None = None) -> PhraseBank:
    """A bank, by default the ontology's, with a cluster for each label it does not know; case makes no difference."""
    bank = sound_bank() if bank is None else bank
    new = {label.strip().casefold(): label for label in sorted(labels) if not bank.clusters_of(label)}
    return bank.merged(PhraseBank(Cluster(phrase=label) for label in new.values()))


def _choices(item: tuple[str, dict[str, str]]) -> dict[str, str]:
    """What a group may stand for: its words, and for chords what goes without saying."""
    name, words = item
    plain = {"accidental": {"": ""}, "quality": {"major": "major", "minor": "minor"}}
    return {**plain.get(name, {}), **words}


def _words(phrase: str, match: re.Match[str]) -> dict[str, str]:
    family = next(f for f in _table()["families"] if f["phrase"] == phrase)
    words = family.get("words", {})
    return {name: words.get(name, {}).get(value, value) for name, value in match.groupdict().items()}


@cache
def _rows() -> list[tuple[re.Pattern[str], str, int]]:
    table = _table()
    rows = [(_globs(table["background"]["files"]), BACKGROUND, _LIMIT)]
    for family in table["families"]:
        pattern = re.compile(rf"{family['package']}/{family['files']}")
        rows.append((pattern, family["phrase"], family.get("limit", _LIMIT)))
    return rows + [(_globs(row.get("files", ())), phrase, _LIMIT) for phrase, row in table["clusters"].items()]


def _globs(patterns: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(fnmatch.translate(p) for p in patterns) or r"(?!)")


@cache
def _table() -> dict[str, Any]:
    return table_of("solfa.datagen.scenes", "ontology.toml")
