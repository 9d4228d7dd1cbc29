"""Judges of relevance over summaries, and the default one: rules, offline, the same answer each time.

Which of two tracks fits a context (``pairwise``), in what order many do (``listwise``), and how two compare by named
attributes (``compare``) or as a whole (``similarity``, a rubric of core and secondary dimensions).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, Protocol

from solfa.core.errors import UnknownName
from solfa.core.filters import folded
from solfa.core.theory import Key
from solfa.core.vocabulary import concepts
from solfa.relevance.contexts import LEVELS, MISSED, Target, read_context, terms
from solfa.relevance.rules import family_of
from solfa.relevance.summary import KINDS, TrackSummary

Winner = Literal["first", "second", "tie"]
CORE = ("genre_family", "production_style", "timbre", "vocal_role", "vocal_delivery")
SECONDARY = ("tempo", "energy_level", "mood", "suitable_usages")
# Names that people use, for fields of a summary; each field is an attribute too.
ATTRIBUTES = {
    "rhythm": ("tempo", "tempo_bpm", "metre"), "harmony": ("key",), "energy": ("energy_level",),
    "voice": ("vocals", "vocal_role", "vocal_delivery", "vocal_language"), "usage": ("suitable_usages",),
    "production": ("production_style",),
}  # fmt: skip
NOT_KNOWN = "not known"
_TIE = 0.05  # difference of scores (-1..1) below which two tracks fit equally well
_HALF_SURE = 0.2  # difference of scores at which a verdict is half sure
_SIMILAR, _LEAST_KNOWN = 0.6, 3
_NEAR = 0.03  # two tempi that differ by less are the same


@dataclass(frozen=True, kw_only=True, slots=True)
class PairVerdict:
    """Which of two tracks fits the context better; ``confidence`` 0..1, that of a tie included."""

    winner: Winner
    reason: str
    confidence: float


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldClaim:
    """A part of an explanation and the field of the summary that it rests on; ``fit`` -1..1, None if not stated."""

    field: str
    value: str
    text: str
    fit: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranking:
    """The ids that were given, best first, and what speaks for and against each; ``notes`` say what was not understood
    or had to be mended."""

    order: tuple[str, ...]
    claims: Mapping[str, tuple[FieldClaim, ...]]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """One attribute of two tracks in words, and how the second relates to the first; ``match`` is 1 the same, 0.5 in
    part, 0 different, None not known."""

    attribute: str
    first: str
    second: str
    relation: str
    match: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Similarity:
    """The verdict of the rubric, its dimensions, and the mean of the known core ones (None: none is known)."""

    verdict: Literal["SIMILAR", "NOT_SIMILAR", "NOT_ENOUGH_KNOWN"]
    reason: str
    core: tuple[Compared, ...]
    secondary: tuple[Compared, ...]
    core_mean: float | None


class Judge(Protocol):
    """Judges tracks by their summaries; it sees no scores of an embedding."""

    def pairwise(self, context: str, a: TrackSummary, b: TrackSummary) -> PairVerdict:
        """The winner of two for a context. Raises InputError if the context is blank or too long."""

    def listwise(self, context: str, summaries: Mapping[str, TrackSummary]) -> Ranking:
        """All ids, best first for a context; ties keep their order. Raises as ``pairwise``."""

    def compare(self, a: TrackSummary, b: TrackSummary, attributes: Sequence[str]) -> tuple[Compared, ...]:
        """One entry for each asked attribute. Raises UnknownName for one that is none."""


class RuleJudge:
    """The deterministic judge: how well known fields fit what a context asks (``contexts.read_context``)."""

    def pairwise(self, context: str, a: TrackSummary, b: TrackSummary) -> PairVerdict:
        """As ``Judge``; a tie where the scores differ by less than 0.05 of -1..1, or no asked field is known of both.
        The confidence is at most the share of the weights that is known of both."""
        targets, _ = read_context(context)
        fits = [(one.fit(a), one.fit(b), one) for one in targets]
        gains = {t: t.weight * (x - y) for x, y, t in fits if x is not None and y is not None}
        if not gains:
            what = "nothing that it asks is known of both" if targets else "nothing of the context is understood"
            return PairVerdict(winner="tie", reason=f"not enough known: {what}", confidence=0.0)
        gap = _score((x, t) for x, _, t in fits) - _score((y, t) for _, y, t in fits)
        known = sum(t.weight for t in gains) / sum(t.weight for t in targets)
        if abs(gap) < _TIE:
            confidence = round(known * (1 - abs(gap) / _TIE), 3)
            return PairVerdict(winner="tie", reason="both fit equally well", confidence=confidence)
        best = max(gains, key=lambda t: gains[t] * gap)
        values = " rather than ".join(in_words(one, best.field) for one in ((a, b) if gap > 0 else (b, a)))
        reason = f"{best.field.replace('_', ' ')}: {values}, for '{best.words}'"
        if gains[best] * gap <= 0:
            known, reason = known / 2, "a guess: what tells them apart is known of one track only"
        confidence = round(known * abs(gap) / (abs(gap) + _HALF_SURE), 3)
        return PairVerdict(winner="first" if gap > 0 else "second", reason=reason, confidence=confidence)

    def listwise(self, context: str, summaries: Mapping[str, TrackSummary]) -> Ranking:
        """As ``Judge``; fields that are not known count as neither good nor bad."""
        targets, unknown = read_context(context)
        fits = {i: [(t.fit(summary), t) for t in targets] for i, summary in summaries.items()}
        order = sorted(summaries, key=lambda i: -_score(fits[i]))
        return Ranking(order=tuple(order), claims={i: _claims(fits[i], summaries[i]) for i in order},
                       notes=(f"not understood: {', '.join(unknown)}",) if unknown else ())  # fmt: skip

    def compare(self, a: TrackSummary, b: TrackSummary, attributes: Sequence[str]) -> tuple[Compared, ...]:
        """As ``Judge``: names of ``ATTRIBUTES``, or fields."""
        return tuple(_compared(name, fields, a, b) for name, fields in fields_of(attributes).items())


Fits = Iterable[tuple[float | None, Target]]


def _score(fits: Fits) -> float:
    """Weighted mean fit, -1..1, where unknown fields count 0."""
    parts = [((fit or 0.0) * t.weight, t.weight) for fit, t in fits]
    return sum(part for part, _ in parts) / (sum(weight for _, weight in parts) or 1.0)


def _claims(fits: Fits, summary: TrackSummary) -> tuple[FieldClaim, ...]:
    """The weightiest claim about each field that holds something of what is asked or avoided, weightiest first."""
    claims: dict[str, FieldClaim] = {}
    for fit, t in sorted(((fit or 0.0, t) for fit, t in fits), key=lambda one: -abs(one[0] * one[1].weight)):
        if abs(fit) > MISSED and t.field not in claims:
            text, value = f"{'fits' if fit > 0 else 'does not fit'} '{t.words}'", in_words(summary, t.field)
            claims[t.field] = FieldClaim(field=t.field, value=value, text=text, fit=round(fit, 3))
    return tuple(claims.values())


def fields_of(attributes: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The fields behind each attribute. Raises UnknownName for one that is none."""
    for name in attributes:
        if name not in ATTRIBUTES and name not in KINDS:
            raise UnknownName("attribute", name, [*ATTRIBUTES, *KINDS])
    return {name: ATTRIBUTES.get(name, (name,)) for name in attributes}


def _compared(name: str, fields: Sequence[str], a: TrackSummary, b: TrackSummary) -> Compared:
    found = {f: how for f in fields if (how := _related(f, _value(a, f), _value(b, f)))}
    said = [f"{f.replace('_', ' ')} {words}" if len(fields) > 1 else words for f, (_, words) in found.items()]
    first, second = (", ".join(in_words(s, f) for f in fields if _value(s, f)) or NOT_KNOWN for s in (a, b))
    match = sum(match for match, _ in found.values()) / len(found) if found else None
    return Compared(attribute=name, first=first, second=second, relation="; ".join(said), match=match)


def similarity(a: TrackSummary, b: TrackSummary, judge: Judge | None = None) -> Similarity:
    """SIMILAR if 3 or more core dimensions are known, with a mean of at least 0.6, and neither genre family nor timbre
    is wholly different; secondary ones are told, and decide nothing. ``judge`` compares them (default: rules)."""
    core, secondary = ((judge or RuleJudge()).compare(a, b, names) for names in (CORE, SECONDARY))
    known = {c.attribute: c.match for c in core if c.match is not None}
    mean = sum(known.values()) / len(known) if known else None
    said = {
        "shared": [n for n, m in known.items() if m >= 0.5], "different": [n for n, m in known.items() if m < 0.5],
        NOT_KNOWN: [c.attribute for c in core if c.match is None],
    }  # fmt: skip
    reason = "; ".join(f"{how}: {', '.join(names).replace('_', ' ')}" for how, names in said.items() if names)
    opposed = 0.0 in (known.get("genre_family"), known.get("timbre"))
    return Similarity(
        verdict="NOT_ENOUGH_KNOWN" if mean is None or len(known) < _LEAST_KNOWN
        else "SIMILAR" if mean >= _SIMILAR and not opposed else "NOT_SIMILAR",
        reason=reason, core=core, secondary=secondary, core_mean=mean,
    )  # fmt: skip


def _value(summary: TrackSummary, field: str) -> Any:
    """A field; of the genre family that of the genre, where only the genre is stated."""
    return getattr(summary, field) or (summary.genre if field == "genre_family" else None)


def _related(field: str, a: Any, b: Any) -> tuple[float, str] | None:
    """How alike two values are (1 the same, 0.5 in part or next to each other, 0 different), and how the second relates
    to the first as a musician says it; None if one is not known."""
    if not a or not b:
        return None
    if a == b:
        return 1.0, "the same"
    if field == "tempo_bpm":
        ratio = Fraction(b / a).limit_denominator(4)
        if abs(ratio * a / b - 1) >= _NEAR:
            return 0.0, f"ratio {b / a:.2f}"
        return {1.0: 1.0, 2.0: 0.5, 0.5: 0.5}.get(float(ratio), 0.0), f"ratio {ratio.numerator}:{ratio.denominator}"
    if field == "key":
        one, other = Key.parse(a), Key.parse(b)
        up = (other.fifths - one.fifths + 5) % 12 - 5
        fifths = f"{abs(up)} fifth{'s' * (abs(up) > 1)} {'up' if up > 0 else 'down'}"
        said = fifths if up else "the same notes, relative"
        return 0.5 * (abs(up) < 2), said + ", parallel" * (one.tonic == other.tonic)
    if isinstance(a, tuple):
        sets = {"shared": {*a} & {*b}, "only A": {*a} - {*b}, "only B": {*b} - {*a}}
        share = len(sets["shared"]) / min(len({*a}), len({*b}))
        said = "; ".join(f"{name}: {_titles(sorted(items))}" for name, items in sets.items() if items)
        return 1.0 if share >= 0.5 else 0.5 if share or terms(a) & terms(b) else 0.0, said
    if field in LEVELS and a in LEVELS[field] and b in LEVELS[field]:
        match = max(0.0, 1 - abs(LEVELS[field].index(a) - LEVELS[field].index(b)) / 2)
    elif field == "genre_family":
        match = float(bool(_families(a) & _families(b)))
    else:
        match = 1.0 if folded(a) == folded(b) else 0.5 if _named(a) & _named(b) else 0.0
    return match, {1.0: "the same", 0.0: "different"}.get(match, "in part")


def _families(genre: str) -> set[str]:
    return {f for name in terms(genre) if name in concepts() and (f := family_of(name))} or {folded(genre)}


def _named(text: str) -> set[str]:
    """What two texts may have in common: concepts, and words of four letters or more; not that both are voices."""
    return {*terms(text), *(w for w in folded(text.replace("_", " ")).split() if len(w) > 3)} - {"voice"}


def in_words(summary: TrackSummary, field: str) -> str:
    """The value of a field for people."""
    value = _value(summary, field)
    names = [value] if isinstance(value, str) else [f"{value:.1f} BPM"] if isinstance(value, float) else value or ()
    return _titles(names) or NOT_KNOWN


def _titles(names: Iterable[str]) -> str:
    return ", ".join(concepts()[n].title if n in concepts() else n.replace("_", " ") for n in names)
