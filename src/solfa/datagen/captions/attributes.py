"""What an analysis and a source's own metadata are sure enough of, for one clip of a track.

What is not sure enough for the precision asked for is left out, never guessed: a missing attribute is unknown. Tempo,
key and metre are those of the whole track, which are measured more surely than those of ten seconds; chords,
instruments and the voice are those of the clip. ``trust`` says what is sure enough.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from solfa.audio.tags import clean
from solfa.constraints import Presence
from solfa.core.claims import marking_of
from solfa.core.clip import Phrase
from solfa.core.types import Analysis, TagTrack
from solfa.core.vocabulary import concepts, lineage
from solfa.datagen.captions.trust import KIT, Trust
from solfa.query import parse

ATTRIBUTES = ("tempo_bpm", "tempo_marking", "metre", "beats_per_bar", "key", "chords", "some_chords", "instruments",
              "genre", "mood", "voice")  # fmt: skip
_MOST_INSTRUMENTS, _MOST_GENRES, _MOST_MOODS, _MOST_CHORDS = 6, 2, 3, 4
_SHORTEST_PHRASE_S = 1.0
_GUESS = 0.6  # confidence of a tagger's genre or mood, where guesses are asked for


def attributes_of(
    analysis: Analysis,
    *,
    start_s: float = 0.0,
    end_s: float | None = None,
    metadata: Mapping[str, Sequence[str]] | None = None,
    trust: Trust | None = None,
    precision: float = 0.9,
    guesses: bool = False,
) -> tuple[dict[str, Any], tuple[Phrase, ...]]:
    """Attributes of a clip as a `Clip` has them, and what is detected in a part of it only.

    The clip is a part of the track that was analysed. ``metadata`` holds ids of ``genre``, ``mood`` and ``instruments``
    that the source names; they go before what was measured. ``precision`` is the share of true ones among the
    statements of each kind, as ``trust`` (None: the table that is shipped) estimates it; ``unsure`` holds values of
    tempo, metre and key below it that are told with a hedge. Where the sequence of chords is not sure, ``some_chords``
    are those that surely occur. ``guesses`` takes genres and moods that only a tagger names.
    """
    trust = trust or shipped()
    end = analysis.duration_s if end_s is None else end_s
    found = trust.told(analysis, start_s, end, precision)
    known: dict[str, Any] = {}
    unsure: dict[str, Any] = {}
    for name in ("tempo", "metre", "key"):
        for value, hedged in found[name]:
            (unsure if hedged else known).update(_single(name, value))
    for chords, hedged in found["chords"]:
        if not hedged:
            known["chords"] = [str(c) for c in chords]
    if "chords" not in known and (sure := [str(c) for c, hedged in found["some_chords"] if not hedged][:_MOST_CHORDS]):
        known["some_chords"] = sure
    tags = [t for t, hedged in found["instruments"] if not hedged]
    given = metadata or {}
    lists = {
        "instruments": (given.get("instruments", ()), tags, _MOST_INSTRUMENTS),
        "genre": (given.get("genre", ()), _guessed(analysis.genres, guesses), _MOST_GENRES),
        "mood": (given.get("mood", ()), _guessed(analysis.moods, guesses), _MOST_MOODS),
    }
    for name, (said, measured, most) in lists.items():
        if names := _narrowest(said or [t.concept for t in measured])[:most]:
            known[name] = names
    sung = any(concepts()[i].kind == "voice" for i in given.get("instruments", ()))
    voice = analysis.voice
    if voice.confidence >= precision and _is_within(voice, start_s, end):
        known["voice"] = True
    elif not sung and voice.confidence <= 1 - precision and analysis.instruments:
        known["voice"] = False
        known["instruments"] = [i for i in known.get("instruments", ()) if concepts()[i].kind != "voice"]
    known["unsure"] = unsure
    told = [*tags, *([voice] if known.get("voice") else [])]
    return {k: v for k, v in known.items() if v not in ([], {})}, _phrases(told, known, start_s, end)


@cache
def shipped() -> Trust:
    """The table that comes with the package."""
    return Trust.load()


def _single(name: str, value: Any) -> dict[str, Any]:
    if name == "tempo":
        return {"tempo_bpm": float(value), "tempo_marking": marking_of(value)}
    return {name: value, **({"beats_per_bar": int(value.partition("/")[0])} if name == "metre" else {})}


def _guessed(tags: Sequence[TagTrack], guesses: bool) -> list[TagTrack]:
    return [t for t in tags if guesses and t.confidence > _GUESS]


def concepts_in(texts: Iterable[str], kinds: Sequence[str]) -> list[str]:
    """Ids of the concepts of some kinds that labels or tags name, in order, each once.

    >>> concepts_in(["genre---hiphop", "Electronic; Ambient", "misc"], ["genre"])
    ['hip_hop', 'electronic', 'ambient']
    """
    parts = [part.strip() for text in texts for part in re.split(r"[;,/|]|---", clean(text)[:400])]
    said = [constraint for part in parts if part for constraint in parse(part.replace("_", " ")).constraints]
    named = [c.concept for c in said if isinstance(c, Presence) and c.kind in kinds and not c.negated]
    return list(dict.fromkeys(named))


def _is_within(tag: TagTrack, start_s: float, end_s: float) -> bool:
    """Whether a tag lies in the clip; a tool that gives no places vouches for the whole track."""
    return not tag.spans or any(min(s.end_s, end_s) - max(s.start_s, start_s) >= _SHORTEST_PHRASE_S for s in tag.spans)


def _narrowest(names: Sequence[str]) -> list[str]:
    """Without the wider concepts of others (no guitar beside an electric one), and with the parts of a kit as one."""
    if len(kit := [n for n in names if n in KIT and n != "percussion"]) > 1:
        names = ["drums" if n == kit[0] else n for n in names if n == kit[0] or n not in KIT]
    wider = {w for name in names for w in lineage(name)[1:]}
    return [name for name in dict.fromkeys(names) if name not in wider]


def _phrases(tags: Sequence[TagTrack], known: Mapping[str, Any], start_s: float, end_s: float) -> tuple[Phrase, ...]:
    """What is told of the clip and heard in a part of it only, with the places."""
    found = []
    for tag in tags:
        spans = [(max(s.start_s, start_s) - start_s, min(s.end_s, end_s) - start_s) for s in tag.spans]
        inside = tuple((round(a, 3), round(b, 3)) for a, b in spans if b - a >= _SHORTEST_PHRASE_S)
        share = sum(b - a for a, b in inside) / (end_s - start_s)
        if (tag.concept in known.get("instruments", ()) or tag.concept == "voice") and 0 < share < 0.9:
            found.append(Phrase(text=concepts()[tag.concept].title, spans_s=inside))
    return tuple(found)
