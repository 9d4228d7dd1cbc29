"""Summaries by rules over what was measured: no network, a fraction of a millisecond each.

A concept counts from the confidence on at which a search counts it as present; below, and where two measurements
contradict each other, the field is None.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, get_args

import numpy as np

from solfa.analysis.document import from_json as read_analysis
from solfa.collection import Collection
from solfa.constraints.base import ABSENT
from solfa.core.claims import tempo_marking
from solfa.core.errors import CollectionError
from solfa.core.files import table_of
from solfa.core.filters import PRESENT
from solfa.core.theory import KEYS
from solfa.core.types import Analysis
from solfa.core.vocabulary import concepts, is_other_source, lineage
from solfa.relevance.summary import EnergyLevel, FieldSource, TrackSummary

_TABLE = table_of("solfa.relevance", "rules.toml")
_CLOSE = 0.1  # difference of confidence below which two genres or features contradict each other
_CLASSES = {"largo": "slow", "adagio": "slow", "andante": "medium", "moderato": "medium"}  # of tempo; else fast
_THROUGHOUT, _PARTS = 0.6, 0.2  # share of the track with voice
_MOST_NAMED = 3  # instruments and moods in the description
_CHUNK = 500
_ALWAYS = ("voice", "music")  # of which it counts that there is none


def summarize(document: Analysis | Mapping[str, Any]) -> TrackSummary:
    """The summary of one track by rules over its analysis, or over the JSON of it (schema ``solfa.analysis/1``).

    Raises InputError if the document is of another schema or damaged.
    """
    analysis = document if isinstance(document, Analysis) else read_analysis(document)
    tags = {
        t.concept: (t.confidence, _share(((s.start_s, s.end_s) for s in t.spans), analysis.duration_s))
        for t in analysis.tags().values() if t.confidence >= ABSENT or t.concept in _ALWAYS
    }  # fmt: skip
    values = {n: (getattr(analysis, n).value, getattr(analysis, n).confidence) for n in ("tempo_bpm", "key", "metre")}
    return _Rules(values, analysis.loudness_lufs.value, bool(analysis.instruments), tags).summary()


def summaries(collection: Collection, track_ids: Sequence[int] | None = None) -> Iterator[tuple[int, TrackSummary]]:
    """Id and summary of these tracks (None: of all present ones, by id), as ``summarize`` makes them, from the columns.

    Raises CollectionError if one of them does not exist, or its file is gone.
    """
    table = collection.attributes()
    ids = table.track_ids if track_ids is None else np.array(track_ids, np.int64)
    try:
        rows = table.rows(ids)
    except KeyError:
        raise CollectionError(f"not every one of these tracks has a file in {collection.directory}.") from None
    names = [*_ALWAYS, *(c.id for c in concepts().values() if c.kind != "sound" and c.id not in _ALWAYS)]
    least_C = np.where(np.isin(names, _ALWAYS), 0.0, ABSENT)
    of_instruments = np.array([concepts()[name].kind == "instrument" for name in names])
    sure_NC = np.stack([table.confidence(name)[rows] for name in names], axis=1).astype(np.float64).round(4)
    for start in range(0, len(ids), _CHUNK):
        part = slice(start, start + _CHUNK)
        timelines = collection.timelines(ids[part].tolist())
        for track_id, one, sure_C, timeline in zip(
            ids[part].tolist(), table.summary[rows[part]], sure_NC[part], timelines, strict=True
        ):
            spans: dict[str, list[tuple[float, float]]] = {}
            for number, start_s, end_s, _ in timeline.spans.tolist():
                spans.setdefault(timeline.names[number], []).append((start_s, end_s))
            lufs, tempo, key, metre = one["loudness_lufs"], one["tempo_bpm"][0], one["key"][0], one["metre"][0]
            values = {
                name: (value, round(float(one[f"{name.removesuffix('_bpm')}_confidence"][0]), 4))
                for name, value in (("tempo_bpm", _number(tempo)), ("key", None if key < 0 else str(KEYS[key])),
                                    ("metre", f"{metre[0]}/{metre[1]}" if metre[0] else None))
            }  # fmt: skip
            maybe, duration_s = np.flatnonzero(sure_C >= least_C).tolist(), round(float(one["duration_s"]), 3)
            tags = {n: (p, _share(spans.get(n, ()), duration_s) if p >= PRESENT else 0.0)  # of others nobody asks it
                    for n, p in ((names[i], float(sure_C[i])) for i in maybe)}  # fmt: skip
            yield track_id, _Rules(values, _number(lufs), not np.isnan(sure_C[of_instruments]).all(), tags).summary()


def _number(value: Any) -> float | None:
    return None if np.isnan(value) else round(float(value), 2)


def family_of(genre: str) -> str | None:
    """The family of a genre of the vocabulary, by the table of ``rules.toml``; None if it has none."""
    return _groups("family").get(genre)


@dataclass(slots=True)
class _Rules:
    """What was measured of a track, and the fields found so far, each with its source.

    ``values`` have confidences, ``tags`` confidence and share of the track of each concept that may be present;
    ``searched`` is whether instruments, genres and voices were looked for, and there was sound to find them in.
    """

    values: Mapping[str, tuple[Any, float]]
    loudness_lufs: float | None
    searched: bool
    tags: Mapping[str, tuple[float, float]]
    found: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, FieldSource] = field(default_factory=dict)
    surest: list[str] = field(init=False)

    def __post_init__(self) -> None:
        """What is present, surest first, of equally sure ones the narrowest: a wider one is as sure as a case of it."""
        present = [c for c, (sure, _) in self.tags.items() if sure >= PRESENT]
        self.surest = sorted(present, key=lambda c: (-self.tags[c][0], -len(lineage(c)), c))

    def summary(self) -> TrackSummary:
        """All fields, and a sentence out of them."""
        for name, (value, sure) in self.values.items():
            if value is not None and sure >= PRESENT:  # surer than all its alternatives together
                self._set(name, value, name, value, sure)
        if bpm := self.found.get("tempo_bpm"):
            self._set("tempo", _CLASSES.get(tempo_marking(bpm), "fast"), "tempo_bpm", bpm, self.values["tempo_bpm"][1])
        self._energy()
        if self.searched:
            self._genre()
            for name, kind in (("instruments", "instrument"), ("mood", "mood"), ("suitable_usages", "use")):
                self._list(name, {c: c for c in self._present(kind)})
            self._list("timbre", self._grouped("timbre", "instrument", "genre", "mood"))
            self._list("production_style", styles := self._grouped("production_style", "instrument", "genre"))
            if styles:
                self.found["production_style"] = " and ".join(sorted(set(styles.values())))
            self._voice()
            self._dominant()
        nothing = "Silence." if self.loudness_lufs is None else "Nothing could be measured with enough confidence."
        said = sentence(self.found, "music" if self._is_music() else "sound") if self.found else nothing
        return TrackSummary(description=said, sources=self.sources, **self.found)

    def _set(self, name: str, value: Any, measurement: str, raw: str | float, *sure: float) -> None:
        """A field that is as sure as the least sure of what it rests on."""
        self.found[name] = value
        confidence = round(min(sure, default=1.0), 4)
        self.sources[name] = FieldSource(measurement=measurement, value=raw, confidence=confidence)

    def _sure(self, concept: str) -> float:
        return self.tags.get(concept, (0.0, 0.0))[0]

    def _is_music(self) -> bool:
        return self.tags.get("music", (1.0, 0.0))[0] >= ABSENT  # where it was not looked for, it is taken to be

    def _present(self, *kinds: str) -> list[str]:
        return [c for c in self.surest if concepts()[c].kind in kinds]

    def _grouped(self, name: str, *kinds: str) -> dict[str, str]:
        """What is present and in the groups of a table -> the group."""
        return {c: groups[c] for groups in [_groups(name)] for c in self._present(*kinds) if c in groups}

    def _list(self, name: str, values: Mapping[str, str]) -> None:
        """A list field out of concepts, surest first, and their values: as sure as the least sure of the values."""
        if values:
            said = ", ".join(f"{c} {self._sure(c):.2f}" for c in values)
            surest = {value: c for c, value in reversed([*values.items()])}
            self._set(name, tuple(dict.fromkeys(values.values())), "concepts", said, *map(self._sure, surest.values()))

    def _energy(self) -> None:
        """The level of the loudness, one up or down where moods agree on it; moods that contradict leave none."""
        table, lufs, present = _TABLE["energy"], self.loudness_lufs, self._present("mood", "use")
        if lufs is None:
            return
        more, less = ([c for c in present if c in table[n]] for n in ("more", "less"))
        level, moods = bisect_right(table["bounds_lufs"], lufs), more or less
        if not ((more and less) or (more and level == 0) or (less and level == 4)):
            level += 1 if more else -1 if less and level > 1 else 0
            by = ", ".join(["loudness_lufs", *(f"{c} {self._sure(c):.2f}" for c in moods)])
            self._set("energy_level", get_args(EnergyLevel)[min(level, 4)], by, lufs, *map(self._sure, moods[:1]))

    def _genre(self) -> None:
        """The surest genre in its narrowest form, and its family; none where one of another family is as sure."""
        genres = [c for c in self._present("genre") if family_of(c)]
        sure = self._sure(genres[0]) if genres else 0.0
        near = {family_of(c) for c, (p, _) in self.tags.items() if concepts()[c].kind == "genre" and p > sure - _CLOSE}
        if genres and len(near - {None}) == 1:
            name = next((c for c in genres[1:] if genres[0] in lineage(c)), genres[0])
            self._set("genre", name, "genres", name, self._sure(name))
            self._set("genre_family", family_of(name), "genres", name, self._sure(name))

    def _voice(self) -> None:
        """How much of the track is sung or spoken, by whom, and how."""
        sure, share = self.tags.get("voice", (0.0, 0.0))
        voices = {c: self._sure(c) for c in self._present("voice") if c != "voice"}
        if sure < ABSENT and not voices and self._is_music():
            self._set("vocals", "instrumental", "voice", "none found", 1.0 - sure)
            self._set("vocal_role", "none", "voice", "none found", 1.0 - sure)
        if sure < PRESENT:
            return
        where = "throughout" if share >= _THROUGHOUT else "in parts" if share >= _PARTS else "in few places"
        sexes = [c for c in ("female_voice", "male_voice") if c in voices]
        words = " and ".join(c.removesuffix("_voice") for c in sexes)
        said = f"present in {share:.0%} of the track" + "".join(f", {c} {p:.2f}" for c, p in voices.items())
        self._set("vocals", f"{words} vocals {where}".lstrip(), "voice", said, sure, *map(self._sure, sexes))
        leads = [voices[c] for c in (*sexes, "rapping") if c in voices]
        if share >= _PARTS and leads and "choir" not in voices:
            self._set("vocal_role", "lead", "voice", said, sure, max(leads))
        ways = list(self._grouped("vocal_delivery", "voice").items())
        if ways and (len(ways) == 1 or voices[ways[0][0]] - voices[ways[1][0]] >= _CLOSE):
            self._set("vocal_delivery", ways[0][1], "voice", said, voices[ways[0][0]])
        elif not ways and sexes and self._sure("speech") < ABSENT:
            self._set("vocal_delivery", "sung", "voice", f"{said}, no speech", sure)

    def _dominant(self) -> None:
        """The instrument or voice that is surer, and in more of the track, than any other, in its narrowest form."""
        weight = {c: self.tags[c][0] * self.tags[c][1] for c in self._present("instrument", "voice")}
        best = max(weight, key=weight.__getitem__, default="")
        forms = [c for c in weight if best in lineage(c) and weight[c] > weight[best] - _CLOSE]
        others = [w for c, w in weight.items() if is_other_source(c, best)]
        if best and weight[best] >= max(others, default=0.0) + _CLOSE:
            name = max(forms, key=lambda c: (len(lineage(c)), weight[c]))
            said = f"{name} in {self.tags[name][1]:.0%} of the track"
            self._set("dominant_feature", name, "concepts", said, self._sure(name))


def sentence(found: Mapping[str, Any], thing: str = "music") -> str:
    """Known fields of a summary in one sentence about this thing."""
    named = list[str]()
    for name in found.get("instruments", ()):  # not a kind of one that is named, nor what that is a kind of
        if len(named) < _MOST_NAMED and all(is_other_source(name, n) for n in named if n in concepts()):
            named.append(name)
    titles, energy = [*map(_title, named)], found.get("energy_level", "").replace("_", " ")
    words = [
        ", ".join(map(_title, found.get("mood", ())[:_MOST_NAMED])),
        found.get("tempo", "").replace("medium", "mid-tempo"),
        _title(found.get("genre", "")).removesuffix(" music"), thing, f"of {energy} energy" if energy else "",
        "with " + " and ".join(filter(None, [", ".join(titles[:-1]), titles[-1]])) if titles else "",
    ]  # fmt: skip
    text = ", ".join(filter(None, [" ".join(filter(None, words)), found.get("vocals")]))
    return f"{text[0].upper()}{text[1:]}."


def _title(name: str) -> str:
    return concepts()[name].title if name in concepts() else name.replace("_", " ")


def _share(spans: Iterable[tuple[float, float]], duration_s: float) -> float:
    """The part of a track that spans cover, of which none overlap, to two places."""
    return min(1.0, round(sum(end_s - start_s for start_s, end_s in spans) / duration_s, 2)) if duration_s > 0 else 0.0


@cache
def _groups(name: str) -> dict[str, str]:
    """Concept -> its group in a table of ``rules.toml``, also of what is narrower than a member of the group."""
    groups = _TABLE[name].items()
    return {c: g for c in concepts() for g, members in groups if not set(members).isdisjoint(lineage(c))}
