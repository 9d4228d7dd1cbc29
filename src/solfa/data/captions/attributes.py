"""What an analysis and a source's own metadata are sure enough of, for one clip of a track.

What is below its threshold is left out, never guessed: a missing attribute is unknown. Tempo, key and metre are those
of the whole track, which are heard more surely than those of ten seconds; chords, instruments and the voice are those
of the clip.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from solfa.audio.tags import clean
from solfa.core.query import Presence
from solfa.core.types import Analysis, TagTrack
from solfa.core.vocabulary import concepts, lineage
from solfa.data.captions.facts import harmony
from solfa.data.records import Phrase
from solfa.evaluation.claims import marking_of
from solfa.query import parse

ATTRIBUTES = ("tempo_bpm", "tempo_marking", "metre", "beats_per_bar", "key", "chords", "instruments", "genre", "mood",
              "voice")  # fmt: skip
_MOST_INSTRUMENTS, _MOST_GENRES, _MOST_MOODS = 6, 2, 3
_TEMPO_GAP = 0.04  # how far the beats of a clip may be from the tempo of the track
_SHORTEST_CHORD_S, _SHORTEST_PHRASE_S = 0.4, 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Thresholds:
    """How sure a measurement must be to be told, in 0..1 each; the confidence must be above it.

    ``chords`` is for every chord: more than ``unsure_chords`` of the clip's time below it, and there are none.
    ``absent`` is how unlikely a voice must be to say that there is none.
    """

    key: float = 0.5
    tempo: float = 0.5
    metre: float = 0.5
    chords: float = 0.5
    unsure_chords: float = 0.15
    concepts: float = 0.6
    absent: float = 0.1


def attributes_of(
    analysis: Analysis,
    *,
    start_s: float = 0.0,
    end_s: float | None = None,
    metadata: Mapping[str, Sequence[str]] | None = None,
    thresholds: Thresholds | None = None,
) -> tuple[dict[str, Any], tuple[Phrase, ...]]:
    """Attributes of a clip as a `Record` has them, and what is heard in a part of it only.

    The clip is a part of the track that was analysed. ``metadata`` holds ids of ``genre``, ``mood`` and ``instruments``
    that the source names; they go before what was heard.
    """
    sure = thresholds or Thresholds()
    end = analysis.duration_s if end_s is None else end_s
    known: dict[str, Any] = {
        **_tempo(analysis, start_s, end, sure),
        **({"key": analysis.key.value} if analysis.key.value and analysis.key.confidence > sure.key else {}),
        **_chords(analysis, start_s, end, sure),
    }
    heard = [t for t in analysis.instruments if _within(t, start_s, end, sure.concepts)]
    given = metadata or {}
    lists = {
        "instruments": (given.get("instruments", ()), heard, _MOST_INSTRUMENTS),
        "genre": (given.get("genre", ()), [t for t in analysis.genres if t.confidence > sure.concepts], _MOST_GENRES),
        "mood": (given.get("mood", ()), [t for t in analysis.moods if t.confidence > sure.concepts], _MOST_MOODS),
    }
    for name, (said, measured, most) in lists.items():
        if names := _narrowest(said or [t.concept for t in measured])[:most]:
            known[name] = names
    sung = any(concepts()[i].kind == "voice" for i in given.get("instruments", ()))
    if _within(analysis.voice, start_s, end, sure.concepts):
        known["voice"] = True
    elif not sung and analysis.voice.confidence < sure.absent and analysis.instruments:
        known["voice"] = False
        known["instruments"] = [i for i in known.get("instruments", ()) if concepts()[i].kind != "voice"]
    told = [*heard, *([analysis.voice] if known.get("voice") else [])]
    return {k: v for k, v in known.items() if v != []}, _phrases(told, known, start_s, end)


def concepts_in(texts: Iterable[str], kinds: Sequence[str]) -> list[str]:
    """Ids of the concepts of some kinds that labels or tags name, in order, each once.

    >>> concepts_in(["genre---hiphop", "Electronic; Ambient", "misc"], ["genre"])
    ['hip_hop', 'electronic', 'ambient']
    """
    parts = [part.strip() for text in texts for part in re.split(r"[;,/|]|---", clean(text)[:400])]
    said = [wish for part in parts if part for wish in parse(part.replace("_", " ")).constraints]
    named = [c.concept for c in said if isinstance(c, Presence) and c.kind in kinds and not c.negated]
    return list(dict.fromkeys(named))


def _tempo(analysis: Analysis, start_s: float, end_s: float, sure: Thresholds) -> dict[str, Any]:
    found: dict[str, Any] = {}
    bpm = analysis.tempo_bpm.value
    beats = np.array([b for b in analysis.beats_s if start_s <= b < end_s])
    local = 60.0 / float(np.median(np.diff(beats))) if len(beats) > 3 else bpm
    if bpm and local and analysis.tempo_bpm.confidence > sure.tempo and abs(local / bpm - 1) <= _TEMPO_GAP:
        found = {"tempo_bpm": float(bpm), "tempo_marking": marking_of(bpm)}
    if analysis.metre.value and analysis.metre.confidence > sure.metre:
        found |= {"metre": analysis.metre.value, "beats_per_bar": int(analysis.metre.value.partition("/")[0])}
    return found


def _chords(analysis: Analysis, start_s: float, end_s: float, sure: Thresholds) -> dict[str, Any]:
    labels, unsure_s = [], 0.0
    for chord in analysis.chords:
        inside_s = min(chord.end_s, end_s) - max(chord.start_s, start_s)
        if inside_s <= 0 or chord.label in ("N", "X"):
            continue
        if chord.confidence <= sure.chords:
            unsure_s += inside_s
        elif inside_s >= _SHORTEST_CHORD_S:
            labels.append(chord.label)
    if unsure_s > sure.unsure_chords * (end_s - start_s):
        return {}
    return {"chords": [str(c) for c in harmony(labels)]} if labels else {}


def _within(tag: TagTrack, start_s: float, end_s: float, threshold: float) -> bool:
    """Whether a concept is surely heard in the clip; a tool that gives no places vouches for the whole track."""
    if tag.confidence <= threshold:
        return False
    return not tag.spans or any(min(s.end_s, end_s) - max(s.start_s, start_s) >= _SHORTEST_PHRASE_S for s in tag.spans)


def _narrowest(names: Sequence[str]) -> list[str]:
    """Without the wider concepts of others: no guitar where there is an electric guitar."""
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
