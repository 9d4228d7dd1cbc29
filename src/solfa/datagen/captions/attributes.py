"""What an analysis and a source's own metadata are sure enough of, for one clip of a track.

What is not sure enough for the precision asked for is left out, never guessed: a missing attribute is unknown. Tempo,
key and metre are those of the whole track, which are measured more surely than those of ten seconds; chords,
instruments and the voice are those of the clip. ``trust`` says what is sure enough.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from solfa.core.claims import tempo_marking
from solfa.core.clip import Phrase
from solfa.core.types import Analysis, TagTrack
from solfa.core.vocabulary import concepts, lineage
from solfa.datagen.captions.trust import KIT, Trust

ATTRIBUTES = ("tempo_bpm", "tempo_marking", "metre", "beats_per_bar", "key", "chords", "some_chords", "instruments",
              "genre", "mood", "voice")  # fmt: skip
_MOST_CHORDS, _MOST_INSTRUMENTS, _MOST_GENRES, _MOST_MOODS = 4, 6, 2, 3
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

    The clip is a part of the track that was analyzed. ``metadata`` holds ids of ``genre``, ``mood`` and ``instruments``
    that the source names; they go before what was measured. ``precision`` is the share of true ones among the
    statements of each kind, as ``trust`` (None: the table that is shipped) estimates it; ``unsure`` holds values of
    tempo, metre and key below it that are stated with a hedge. Where the chord sequence is not sure, ``some_chords``
    are those that surely occur. ``guesses`` takes genres and moods that only a tagger names.
    """
    end, given = analysis.duration_s if end_s is None else end_s, metadata or {}
    found = (trust or Trust.load()).statements(analysis, start_s, end, precision)
    sure = {name: [value for value, hedged in rows if not hedged] for name, rows in found.items()}
    unsure = _single({name: [value for value, hedged in rows if hedged] for name, rows in found.items()})
    known = _single(sure)
    if sure["chords"]:
        known["chords"] = [str(c) for c in sure["chords"][0]]
    else:
        known["some_chords"] = [str(c) for c in sure["some_chords"][:_MOST_CHORDS]]
    guessed = {"genre": analysis.genres, "mood": analysis.moods} if guesses else {}
    measured = {name: [t.concept for t in tags if t.confidence > _GUESS] for name, tags in guessed.items()}
    measured["instruments"] = [tag.concept for tag in sure["instruments"]]
    for name, most in (("instruments", _MOST_INSTRUMENTS), ("genre", _MOST_GENRES), ("mood", _MOST_MOODS)):
        known[name] = _narrowest(given.get(name) or measured.get(name) or ())[:most]
    voice, statements = analysis.voice, sure["instruments"]
    if voice.confidence >= precision and _is_within(voice, start_s, end):
        known["voice"], statements = True, [*statements, voice]
    elif voice.confidence <= 1 - precision and analysis.instruments and not _sung(given.get("instruments", ())):
        known["voice"] = False
        known["instruments"] = [i for i in known["instruments"] if not _sung([i])]
    phrases = _phrases([t for t in statements if t is voice or t.concept in known["instruments"]], start_s, end)
    return {k: v for k, v in {**known, "unsure": unsure}.items() if v not in ([], {})}, phrases


def _single(statements: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """Tempo, metre and key among the statements."""
    known: dict[str, Any] = {}
    for bpm in statements["tempo"]:
        known |= {"tempo_bpm": float(bpm), "tempo_marking": tempo_marking(bpm)}
    for metre in statements["metre"]:
        known |= {"metre": metre, "beats_per_bar": int(metre.partition("/")[0])}
    for key in statements["key"]:
        known["key"] = key
    return known


def _sung(instruments: Sequence[str]) -> bool:
    return any(concepts()[i].kind == "voice" for i in instruments)


def _is_within(tag: TagTrack, start_s: float, end_s: float) -> bool:
    """Whether a tag is in the clip; a tool that gives no places covers the whole track."""
    return not tag.spans or any(min(s.end_s, end_s) - max(s.start_s, start_s) >= _SHORTEST_PHRASE_S for s in tag.spans)


def _narrowest(names: Sequence[str]) -> list[str]:
    """Without the wider concepts of others (no guitar next to an electric one), and with the parts of a kit as one."""
    if len(kit := [n for n in names if n in KIT and n != "percussion"]) > 1:
        names = ["drums" if n == kit[0] else n for n in names if n == kit[0] or n not in KIT]
    wider = {w for name in names for w in lineage(name)[1:]}
    return [name for name in dict.fromkeys(names) if name not in wider]


def _phrases(tags: Sequence[TagTrack], start_s: float, end_s: float) -> tuple[Phrase, ...]:
    """What is present in a part of the clip only, with the places."""
    found = []
    for tag in tags:
        spans = [(max(s.start_s, start_s) - start_s, min(s.end_s, end_s) - start_s) for s in tag.spans]
        inside = tuple((round(a, 3), round(b, 3)) for a, b in spans if b - a >= _SHORTEST_PHRASE_S)
        if 0 < sum(b - a for a, b in inside) / (end_s - start_s) < 0.9:
            found.append(Phrase(text=concepts()[tag.concept].title, spans_s=inside))
    return tuple(found)
