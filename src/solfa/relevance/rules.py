"""Summaries by rules over what was measured: no network, a fraction of a millisecond each.

A concept counts from the confidence on at which a search counts it as present; below, and where two measurements
contradict each other, the field is None.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, get_args

import numpy as np

from solfa.analysis.document import from_json as read_analysis
from solfa.collection import Collection
from solfa.constraints.base import ABSENT, Measured
from solfa.core.claims import tempo_marking
from solfa.core.files import table_of
from solfa.core.filters import PRESENT
from solfa.core.theory import KEYS
from solfa.core.types import Analysis
from solfa.core.vocabulary import concepts, is_other_source, lineage
from solfa.relevance.summary import EnergyLevel, FieldSource, TempoClass, TrackSummary

_SLOW, _MEDIUM = ("largo", "adagio"), ("andante", "moderato")
_CLOSE = 0.1  # difference of confidence below which two genres or features contradict each other
_THROUGHOUT, _PARTS = 0.6, 0.2  # share of the track with voice
_MOST_NAMED = 3  # instruments and moods in the description
_CHUNK = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class _Facts:
    """What the rules read: values with confidences, and of each concept that may be present confidence and share."""

    tempo_bpm: tuple[float | None, float]
    key: tuple[str | None, float]
    metre: tuple[str | None, float]
    loudness_lufs: float | None
    tagged: bool  # whether instruments, genres and voices were looked for, and there was sound to find them in
    tags: Mapping[str, tuple[float, float]]


def summarize(document: Analysis | Mapping[str, Any]) -> TrackSummary:
    """The summary of one track by rules over its analysis, or over the JSON of it (schema ``solfa.analysis/1``).

    Raises InputError if the document is of another schema or damaged.
    """
    analysis = document if isinstance(document, Analysis) else read_analysis(document)
    tags = {
        t.concept: (t.confidence, _share(((s.start_s, s.end_s) for s in t.spans), analysis.duration_s))
        for t in analysis.tags().values() if t.confidence >= ABSENT or t is analysis.voice
    }  # fmt: skip
    choices = {n: (getattr(analysis, n).value, getattr(analysis, n).confidence) for n in ("tempo_bpm", "key", "metre")}
    lufs, tagged = analysis.loudness_lufs.value, bool(analysis.instruments)
    return _summary(_Facts(**choices, loudness_lufs=lufs, tagged=tagged, tags=tags))


def summaries(collection: Collection, track_ids: Sequence[int] | None = None) -> Iterator[tuple[int, TrackSummary]]:
    """Id and summary of these tracks (None: of all present ones, by id), as ``summarize`` makes them, from the columns.

    Raises CollectionError if one of them does not exist.
    """
    table = collection.attributes()
    ids = table.track_ids if track_ids is None else np.array(track_ids, np.int64)
    names = [c.id for c in concepts().values() if c.kind != "sound"]
    sure_NC = np.stack([table.confidence(name) for name in names], axis=1)
    looked_for_NC = ~np.isnan(sure_NC[:, [concepts()[name].kind == "instrument" for name in names]])
    loudness_N = table.column("loudness_lufs")
    for start in range(0, len(ids), _CHUNK):
        part = ids[start : start + _CHUNK]
        for track_id, row, timeline in zip(
            part.tolist(), table.rows(part).tolist(), collection.timelines(part.tolist()), strict=True
        ):
            track = Measured(table=table, row=row, timeline=timeline)
            spans: dict[str, list[tuple[float, float]]] = {}
            for number, start_s, end_s, _ in timeline.spans.tolist():
                spans.setdefault(timeline.names[number], []).append((start_s, end_s))
            maybe = dict.fromkeys(
                ["voice", *(names[i] for i in np.flatnonzero(sure_NC[row] >= ABSENT - 1e-6).tolist())]
            )
            tempo, key, metre = (track.choices(name)[0] for name in ("tempo_bpm", "key", "metre"))
            loudness = float(loudness_N[row])
            yield track_id, _summary(_Facts(
                tempo_bpm=(None if tempo[0] != tempo[0] else round(tempo[0], 2), tempo[1]),
                key=(None if key[0] < 0 else str(KEYS[key[0]]), key[1]),
                metre=(f"{metre[0][0]}/{metre[0][1]}" if metre[0][0] else None, metre[1]),
                loudness_lufs=None if loudness != loudness else round(loudness, 2),
                tagged=bool(looked_for_NC[row].any()),
                tags={name: (sure, _share(spans.get(name, ()), track.duration_s)) for name in maybe
                      if (sure := track.confidence(name)) >= ABSENT or name == "voice"},
            ))  # fmt: skip


def family_of(genre: str) -> str | None:
    """The family of a genre of the vocabulary, by the table of ``rules.toml``; None if it has none."""
    return next((f for f, members in _table()["family"].items() if not members.isdisjoint(lineage(genre))), None)


def _summary(facts: _Facts) -> TrackSummary:
    rules = _Rules(facts)
    rules.measured("tempo_bpm", *facts.tempo_bpm)
    rules.measured("key", *facts.key)
    rules.measured("metre", *facts.metre)
    rules.tempo()
    rules.energy()
    if facts.tagged:
        rules.genre()
        for name, kind in (("instruments", "instrument"), ("mood", "mood"), ("suitable_usages", "use")):
            rules.listed(name, {c: c for c in facts.tags if concepts()[c].kind == kind})
        rules.listed("timbre", rules.grouped("timbre"))
        rules.style()
        rules.voice()
        rules.dominant()
    return TrackSummary(description=_sentence(rules.found, facts), sources=rules.sources, **rules.found)


class _Rules:
    """The fields found so far, each with its source; a method for each group of fields."""

    def __init__(self, facts: _Facts) -> None:
        self._facts, self._tags = facts, facts.tags
        self.found: dict[str, Any] = {}
        self.sources: dict[str, FieldSource] = {}

    def _set(self, name: str, value: Any, measurement: str, raw: str | float, confidence: float) -> None:
        self.found[name] = value
        self.sources[name] = FieldSource(measurement=measurement, value=raw, confidence=round(confidence, 4))

    def _sure(self, concept: str) -> float:
        return self._tags.get(concept, (0.0, 0.0))[0]

    def _present(self) -> list[str]:
        return sorted((c for c, (sure, _) in self._tags.items() if sure >= PRESENT), key=self._order)

    def measured(self, name: str, value: Any, confidence: float) -> None:
        """A value that is surer than all its alternatives together."""
        if value is not None and confidence >= PRESENT:
            self._set(name, value, name, value, confidence)

    def tempo(self) -> None:
        """The class of a measured tempo."""
        if (bpm := self.found.get("tempo_bpm")) is not None:
            marking = tempo_marking(bpm)
            kind: TempoClass = "slow" if marking in _SLOW else "medium" if marking in _MEDIUM else "fast"
            self._set("tempo", kind, "tempo_bpm", bpm, self._facts.tempo_bpm[1])

    def energy(self) -> None:
        """The level of the loudness, one up or down where moods agree on it; moods that contradict leave none."""
        table, lufs = _table()["energy"], self._facts.loudness_lufs
        if lufs is None:
            return
        present = self._present()
        more, less = (max((self._sure(c) for c in present if c in table[n]), default=0.0) for n in ("more", "less"))
        level = bisect_right(table["bounds_lufs"], lufs)
        if (more and less) or (more and level == 0) or (less and level == 4):
            return
        level += 1 if more else -1 if less and level > 1 else 0
        names = get_args(EnergyLevel)
        by = "loudness_lufs" if not (more or less) else f"loudness_lufs, moods {'more' if more else 'less'}"
        self._set("energy_level", names[min(level, len(names) - 1)], by, lufs, max(more, less) or 1.0)

    def genre(self) -> None:
        """The surest genre in its narrowest form, and its family; none where one of another family is as sure."""
        genres = [c for c in self._present() if concepts()[c].kind == "genre" and family_of(c)]
        if not genres or any(
            family_of(c) != family_of(genres[0]) and self._sure(c) > self._sure(genres[0]) - _CLOSE
            for c in self._tags if concepts()[c].kind == "genre" and family_of(c)
        ):  # fmt: skip
            return
        name = next((c for c in genres[1:] if genres[0] in lineage(c)), genres[0])
        self._set("genre", name, "genres", name, self._sure(name))
        self._set("genre_family", family_of(name), "genres", name, self._sure(name))

    def listed(self, name: str, values: Mapping[str, str]) -> None:
        """What is present, surest first: concept -> value."""
        if surest := sorted((c for c in values if self._sure(c) >= PRESENT), key=self._order):
            said = ", ".join(f"{c} {self._sure(c):.2f}" for c in surest)
            self._set(name, tuple(dict.fromkeys(values[c] for c in surest)), "concepts", said, self._sure(surest[0]))

    def grouped(self, name: str) -> dict[str, str]:
        """Concepts that are in the groups of a table, or narrower than one of them -> the group."""
        return {c: g for c in self._tags for g, members in _table()[name].items() if not members.isdisjoint(lineage(c))}

    def style(self) -> None:
        """Acoustic, electric, electronic, or what is mixed."""
        groups = {c: g for c, g in self.grouped("production_style").items() if self._sure(c) >= PRESENT}
        if styles := sorted(set(groups.values())):
            said = ", ".join(f"{c} {self._sure(c):.2f}" for c in sorted(groups, key=self._order))
            sure = min(max(self._sure(c) for c in groups if groups[c] == style) for style in styles)
            self._set("production_style", " and ".join(styles), "concepts", said, sure)

    def voice(self) -> None:
        """How much of the track is sung or spoken, by whom, and how."""
        sure, share = self._tags.get("voice", (0.0, 0.0))
        voices = {c: self._sure(c) for c in self._present() if concepts()[c].kind == "voice" and c != "voice"}
        if sure < PRESENT:
            if sure < ABSENT and not voices:
                self._set("vocals", "instrumental", "voice", "none found", 1.0 - sure)
                self._set("vocal_role", "none", "voice", "none found", 1.0 - sure)
            return
        where = "throughout" if share >= _THROUGHOUT else "in parts" if share >= _PARTS else "in few places"
        sexes = [s for s in ("female", "male") if f"{s}_voice" in voices]
        said = f"present in {share:.0%} of the track" + "".join(f", {c} {p:.2f}" for c, p in voices.items())
        self._set("vocals", " ".join([*[" and ".join(sexes)] * bool(sexes), "vocals", where]), "voice", said, sure)
        if share >= _PARTS and (sexes or "rapping" in voices):
            self._set("vocal_role", "lead", "voice", said, sure)
        ways = sorted(((p, g) for c, g in self.grouped("vocal_delivery").items() if (p := voices.get(c))), reverse=True)
        if ways and (len(ways) == 1 or ways[0][0] - ways[1][0] >= _CLOSE):
            self._set("vocal_delivery", ways[0][1], "voice", said, ways[0][0])
        elif not ways and sexes and self._sure("speech") < ABSENT:
            self._set("vocal_delivery", "sung", "voice", said, sure)

    def dominant(self) -> None:
        """The instrument or voice that is present in more of the track than any other source, and surer."""
        kinds = ("instrument", "voice")
        weight = {c: p * share for c, (p, share) in self._tags.items() if concepts()[c].kind in kinds and p >= PRESENT}
        if weight:
            best = min(weight, key=lambda c: (-weight[c], c))
            near = [c for c in weight if best in lineage(c) and weight[c] > weight[best] - _CLOSE]
            best = min(near, key=lambda c: (-len(lineage(c)), -weight[c], c))  # as good, and says more
            family = set(lineage(best))
            others = [w for c, w in weight.items() if family.isdisjoint(lineage(c))]
            if weight[best] >= max(others, default=0.0) + _CLOSE:
                share = self._tags[best][1]
                self._set("dominant_feature", best, "concepts", f"{best} in {share:.0%} of the track", self._sure(best))

    def _order(self, concept: str) -> tuple[float, int, str]:
        """Surest first, of equally sure ones the narrowest: a wider concept is as sure as any case of it."""
        return -self._sure(concept), -len(lineage(concept)), concept


def _sentence(found: Mapping[str, Any], facts: _Facts) -> str:
    """The fields in one sentence."""
    if not found:
        return "Silence." if facts.loudness_lufs is None else "Nothing could be measured with enough confidence."
    named: list[str] = []
    for name in found.get("instruments", ()):  # not a kind of one that is named, nor what that is a kind of
        if len(named) < _MOST_NAMED and all(is_other_source(name, n) for n in named):
            named.append(name)
    titles = [concepts()[n].title for n in named]
    words = [", ".join(concepts()[n].title for n in found.get("mood", ())[:_MOST_NAMED])]
    words += [found.get("tempo", "").replace("medium", "mid-tempo")]
    words += [concepts()[found["genre"]].title.removesuffix(" music") if "genre" in found else "", "music"]
    words += [f"of {found['energy_level'].replace('_', ' ')} energy"] if "energy_level" in found else []
    words += ["with " + " and ".join(filter(None, [", ".join(titles[:-1]), titles[-1]]))] if titles else []
    text = ", ".join(filter(None, [" ".join(filter(None, words)), found.get("vocals")]))
    return f"{text[0].upper()}{text[1:]}."


def _share(spans: Iterable[tuple[float, float]], duration_s: float) -> float:
    """The part of a track that spans cover, of which none overlap, to two places."""
    return min(1.0, round(sum(end_s - start_s for start_s, end_s in spans) / duration_s, 2)) if duration_s > 0 else 0.0


@cache
def _table() -> dict[str, Any]:
    """``rules.toml`` with its lists as sets, but for bounds."""
    table = table_of("solfa.relevance", "rules.toml")
    return {
        section: {name: row if name == "bounds_lufs" else frozenset(row) for name, row in groups.items()}
        for section, groups in table.items()
    }
