"""What people wrote about clips, as what is true, false or unknown of every concept.

A list of instruments is complete, but lists of electronic and dance music leave the drums out. A genre is one word of
many that would fit: it makes one concept true and rules out the families that are far from it; the rest is unknown.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from solfa.analysis.tagging import voters
from solfa.core.vocabulary import concepts, lineage

# What annotators write, beyond the names of the vocabulary.
_ALIASES = {
    "kit": "drums",
    "basses": "double_bass",
    "tenor sax": "saxophone",
    "vibe": "vibraphone",
    "synth bells": "synthesizer",
    "low brass": "brass",
    "bass clarinet": "clarinet",
    "english horn": "oboe",
    "helicons": "synthesizer",
    "dulcimer": "zither",
    "tympani": "timpani",
}
# Heard by the networks, but not a thing that lists of instruments name: nothing follows from its absence.
_UNLISTED = frozenset(
    {"orchestra", "sound_effects", "drum_machine", "bass_drum", "snare_drum", "hi_hat", "cymbal", "handclaps"}
)
_UNLISTED |= {"sampler", "shaker", "tambourine", "vocoder", "conch", "whistling", "claves"}
STRUCK = frozenset({"drums", "percussion"})

_FAMILIES = {
    "rock": "rock indie alternative_rock indie_rock progressive_rock psychedelic",
    "hard": "hard_rock metal punk grunge",
    "roots": "rock_and_roll blues country bluegrass folk gospel spiritual_music",
    "jazz": "jazz swing",
    "black": "soul rnb funk hip_hop",
    "caribbean": "reggae ska",
    "latin": "latin salsa flamenco",
    "far": "african afrobeat indian bollywood middle_eastern asian",
    "art": "classical opera choral orchestral",
    "still": "ambient new_age",
    "club": "house techno trance drum_and_bass dubstep dance disco",
    "synthetic": "electronic electronica chiptune",
    "score": "soundtrack film",
}
_GENRES: dict[str, tuple[str, str]] = {
    "electronica": ("electronic", "hard roots jazz caribbean latin far art"),
    "electronic": ("electronic", "hard roots jazz caribbean latin far art"),
    "disco": ("disco dance", "hard roots jazz caribbean far art still score"),
    "soundtrack": ("soundtrack film", "rock hard roots black caribbean latin club"),
    "silent film score": ("", "rock hard black caribbean latin far still club synthetic"),
    "latin": ("latin", "rock hard roots caribbean far art still club synthetic score"),
    "reggae": ("reggae", "hard roots jazz far art still club score"),
    "african": ("african world", "rock hard roots jazz caribbean art still club score"),
    "jazz": ("jazz", "rock hard roots caribbean far art still club synthetic score"),
    "polka": ("", "rock hard black caribbean far art still club score"),
    "contemporary": ("", "hard roots jazz caribbean far"),
    "folk": ("folk", "hard jazz black caribbean far art club synthetic score"),
    "pop": ("pop", "hard jazz caribbean far art score"),
    "blues": ("blues", "hard jazz caribbean far art still club synthetic score"),
    "classical": ("classical", "rock hard roots jazz black caribbean latin far club synthetic"),
    "country": ("country", "hard jazz black caribbean latin far art still club synthetic score"),
    "hiphop": ("hip_hop", "rock hard roots jazz caribbean latin far art still score"),
    "metal": ("metal", "roots jazz black caribbean latin far art still club score"),
    "rock": ("rock", "jazz black caribbean latin far art still club score"),
}
_FEELS = {
    "action": "exciting",
    "aggressive": "angry loud",
    "bouncy": "happy",
    "bright": "happy",
    "calming": "calm soft tender",
    "driving": "exciting",
    "eerie": "scary",
    "grooving": "groovy",
    "intense": "exciting loud",
    "relaxed": "calm chill soft",
    "somber": "sad",
    "suspenseful": "tense",
    "unnerving": "scary tense",
    "uplifting": "happy",
}
_FELT = frozenset(mood for words in _FEELS.values() for mood in words.split())
# Genres whose lists of instruments leave the drums out.
_BEAT = frozenset({"electronica", "disco", "polka", "contemporary", "unclassifiable"})


def written(folder: Path) -> Iterator[tuple[Path, NDArray[np.float64]]]:
    """Sound files of a folder's ``index.csv`` with 1, 0 or NaN for every measurable concept [shape=(C,)]."""
    with (folder / "index.csv").open(encoding="utf-8", newline="") as stream:
        for entry in csv.DictReader(stream):
            yield folder / entry["file"], row(facts_of(entry))


def facts_of(entry: dict[str, str]) -> dict[str, bool]:
    """What follows from the columns genre, instruments and feel of a row, where it has them."""
    genre = (entry.get("genre") or "").strip().lower()
    return _instruments(entry.get("instruments") or "", genre) | _genre(genre) | _feel(entry.get("feel") or "")


def row(facts: dict[str, bool]) -> NDArray[np.float64]:
    """Facts in the order of ``voters``, NaN where there is none."""
    return np.array([float(facts[name]) if name in facts else np.nan for name in voters()])


def played(names: Iterable[str], unknown: Iterable[str] = ()) -> dict[str, bool]:
    """A complete list of instruments: all that are not named (nor wider than a named one) are absent."""
    names = set(names)
    closed = {wider for name in names for wider in lineage(name)} | ({"percussion"} if "drums" in names else set())
    nothing = (_UNLISTED | set(unknown)) - closed
    kinds = {c: concepts()[c].kind for c in voters()}
    return {c: c in closed for c, kind in kinds.items() if (kind == "instrument" and c not in nothing) or c in closed}


def _instruments(text: str, genre: str) -> dict[str, bool]:
    words = [word.strip().lower() for word in text.split(",") if word.strip()]
    if not words:
        return {}
    names = {name.lower(): c.id for c in concepts().values() for name in c.names} | _ALIASES
    found = {names.get(word) or names.get(word.removesuffix("s")) for word in words} - {None}
    return played((name for name in found if name), STRUCK - found if genre in _BEAT else ())


def _genre(genre: str) -> dict[str, bool]:
    true, families = _GENRES.get(genre, ("", ""))
    out = {name: False for family in families.split() for name in _FAMILIES[family].split()}
    return out | dict.fromkeys(true.split(), True)


def _feel(text: str) -> dict[str, bool]:
    said = {mood for word in text.split(",") for mood in _FEELS.get(word.strip().lower(), "").split()}
    return {mood: mood in said for mood in _FELT} if text.strip() else {}
