"""FIGMA's attribute perturbations: counterfactual captions, and what a model makes of them.

Conventions
-----------
A caption's counterfactual states another value of one attribute, which another caption of the same pool states: two
clips exchange values, so that false values are as frequent, as long and as spelled as true ones, and a rule that sees
only texts gains on one clip what it loses on the other. Everything that depends on the value is exchanged with it, and
only clips whose texts agree in what would give the value away are paired; what that is for each kind, why, and the two
readings of the published protocol that are computed: docs/evaluation.md, "FIGMA's protocols". A value within the
tolerance of the true one, at half or double of it, or one that the clip's truth meets as well, is no counterfactual.
"""

import re
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from operator import ne
from typing import Any, Literal, NamedTuple

import numpy as np

from solfa.constraints import Constraint, Metre
from solfa.core.annotation import MusicAnnotation
from solfa.core.claims import (
    CHORD,
    CaptionClaim,
    Kind,
    claimed_key,
    claimed_triads,
    find_claims,
    main_marking,
    tempo_marking,
)
from solfa.core.errors import InputError
from solfa.core.theory import Chord, Key, pitch_class
from solfa.evaluation.blind import Unigrams, plausibility
from solfa.evaluation.ranking import Ints, Relevance, Scores, rank_relevant
from solfa.evaluation.retrieval import evaluate
from solfa.evaluation.significance import Difference, Interval, compare_paired, interval
from solfa.evaluation.truth import collapsed, constraint_of, contains, holds

Edit = Literal["key", "tempo", "bpm", "marking", "beats", "chords", "mode"]
EDITS: tuple[Edit, ...] = ("key", "tempo", "bpm", "marking", "beats", "chords", "mode")
Truths = Sequence[MusicAnnotation | None]  # what is known of the clips, where something is
# Scores of some audio items (rows of the pool) as queries against these texts.
ScoreTexts = Callable[[Ints, Sequence[str]], Scores]

# How captions in a key spell a pitch class, once for each time.
Names = dict[tuple[Key, int], list[str]]

_NUM_MISMATCHED = 16
_LEAST_TEMPO_RATIO = 1.08  # twice the tolerance of tempo accuracy
_SPEED = re.compile(
    r"\b(?:slow|fast|quick|up-?tempo|upbeat|mid-?tempo|brisk|lively|relaxed|calm|energetic|driving|racing|ballad|gentl)"
)
_NUMBER = re.compile(r"\d ?(?:bpm|beats per minute)", re.IGNORECASE)
_FEELING = re.compile(r"\b(?:sad|happy|dark|bright|melanchol|cheer|sombre|somber|joy|gloom|minor|major)")
_METRE = re.compile(r"\b(?:waltz|triple|duple|compound|jig|march|odd)\b")
_NUM_CHORDS = re.compile(r"\b(?:two|three|four|five|six|seven|eight|\d+)[- ]chords?\b")
_LONE_CHORD = re.compile(
    r"(?<![\w#♯])[A-G](?:[#♯b♭]|m|maj7|m7|7|dim|sus[24])\b(?! (?:major|minor|maj|min))|\b[A-G] chord\b|\bchord of\b"
)
_ROOT = r"(?:^|(?<=/))[A-G][#♯b♭]?"
_FLATS = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")
_SHARPS = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


@dataclass(frozen=True, kw_only=True, slots=True)
class Counterfactual:
    """The caption of the clip in ``row`` with one attribute of the clip in ``partner``; that one has the reverse.

    ``true`` is what it is compared with: the caption, but for what would give the exchanged value away.
    """

    row: int
    partner: int
    true: str
    text: str


@dataclass(frozen=True, slots=True)
class _Stated:
    """What a caption states of an attribute; only captions of one ``form`` can exchange ``value``s."""

    text: str
    claims: dict[Kind, CaptionClaim]
    form: Hashable
    value: Any


def counterfactuals(
    captions: Sequence[str], kind: Edit, *, truths: Truths | None = None, seed: int = 0
) -> list[Counterfactual]:
    """Counterfactual captions of a pool, in order of rows; clips come in pairs that exchange their values.

    A caption that does not state the attribute exactly once, or finds no partner, has none. An exchanged value that by
    ``truths`` is true of the other clip as well is not used.

    >>> [c.text for c in counterfactuals(["Rock in A minor.", "Jazz in G minor."], "key")]
    ['Rock in G minor.', 'Jazz in A minor.']
    """
    if truths is not None and len(truths) != len(captions):
        raise InputError(f"{len(captions)} captions, but annotations of {len(truths)} clips.")
    stated = {row: found for row, text in enumerate(captions) if (found := _read(kind, text))}
    rng = np.random.default_rng([seed, EDITS.index(kind)])
    names: Names = {}
    for found in stated.values() if kind == "key" else ():
        for name in _roots(found):
            names.setdefault((found.value, pitch_class(name)), []).append(name)
    groups: dict[Hashable, list[int]] = {}
    for row in rng.permutation(len(captions)).tolist():
        if row in stated:
            groups.setdefault(stated[row].form, []).append(row)

    def exchangeable(a: int, b: int) -> bool:
        mine, theirs = stated[a].value, stated[b].value
        return _KINDS[kind].apart(mine, theirs) and not (
            truths and (_still_true(kind, theirs, truths[a]) or _still_true(kind, mine, truths[b]))
        )

    made: list[Counterfactual] = []
    for rows in groups.values():
        often = Counter(str(stated[row].value) for row in rows)
        left = sorted(rows, key=lambda row: often[str(stated[row].value)])  # rare values are served first
        while left:
            row = left.pop(0)
            partner = next((other for other in left if exchangeable(row, other)), None)
            if partner is not None:
                left.remove(partner)
                for here, there in ((row, partner), (partner, row)):
                    text = _exchanged(kind, stated[here], stated[there], names, rng)
                    made.append(Counterfactual(row=here, partner=there, true=stated[here].text, text=text))
    return sorted(made, key=lambda c: c.row)


def _read(kind: Edit, text: str) -> _Stated | None:
    claims = find_claims(text)
    return _KINDS[kind].read(text, claims) if all(claim in claims for claim in _KINDS[kind].exchanged) else None


def _read_key(text: str, claims: dict[Kind, CaptionClaim]) -> _Stated | None:
    claim, key = claims["key"], claimed_key(claims["key"].value)
    if "chords" not in claims and _LONE_CHORD.search(text[: claim.start] + text[claim.end :]):
        return None  # a chord that cannot be transposed would give the key away
    return _Stated(text, claims, ("chords" in claims, key.mode), key)


def _read_mode(text: str, claims: dict[Kind, CaptionClaim]) -> _Stated | None:
    found, claim = _read_key(text, claims), claims["key"]
    chords = collapsed(claimed_triads(claims["chords"].value)) if "chords" in claims else []
    elsewhere = _words(_FEELING, text[: claim.start] + text[claim.end :])
    form = (bool(chords), len(chords) > 16, _words(_NUM_CHORDS, text), elsewhere)
    return replace(found, form=form) if found else None


def _read_tempo(text: str, claims: dict[Kind, CaptionClaim]) -> _Stated:
    number = claims["bpm"].value
    return _Stated(text, claims, (len(number.partition(".")[2]), _words(_SPEED, text)), float(number))


def _read_bpm(text: str, claims: dict[Kind, CaptionClaim]) -> _Stated:
    band = main_marking(claims["marking"].value) if "marking" in claims else None
    both = _read_tempo(text, claims)
    return _Stated(text, claims, (band, both.form), both.value)


def _read_marking(text: str, claims: dict[Kind, CaptionClaim]) -> _Stated | None:
    if number := claims.get("bpm"):
        text = f"{text[: number.start]}some{text[number.end :]}"
        claims = find_claims(text)
    if _NUMBER.search(text) or "marking" not in claims:
        return None
    return _Stated(text, claims, (number is None, _words(_SPEED, text)), main_marking(claims["marking"].value))


def _read_beats(text: str, claims: dict[Kind, CaptionClaim]) -> _Stated | None:
    claim = claims["beats"]
    signature = re.match(r"/\d+", text[claim.end :])
    if signature:  # 6/8 becomes 4/4, not 4/8
        end = claim.end + signature.end()
        claims = {
            **claims,
            "beats": CaptionClaim(kind="beats", start=claim.start, end=end, value=text[claim.start : end]),
        }
    elif re.search(r"(?<![\d/])\d{1,2}/\d(?!\d)", text):
        return None  # the signature stands elsewhere and would contradict another count
    return _Stated(text, claims, (bool(signature), _words(_METRE, text)), claims["beats"].value)


def _read_chords(text: str, claims: dict[Kind, CaptionClaim]) -> _Stated | None:
    chords = collapsed(claimed_triads(claims["chords"].value))
    key = claimed_key(claims["key"].value) if "key" in claims else None
    several_keys = key is None and re.search(r"\b[A-G](?:[#b♯♭]| sharp| flat)? (?:major|minor)\b", text)
    if len(set(chords)) < 2 or several_keys:
        return None
    return _Stated(text, claims, (key, len(chords) > 16, _words(_NUM_CHORDS, text)), chords)


def _words(pattern: re.Pattern[str], text: str) -> frozenset[str]:
    return frozenset(pattern.findall(text.lower()))


def tempi_apart(a: float, b: float) -> bool:
    """Whether two tempi in BPM are surely two: 8 % apart and neither a multiple of the other."""
    ratio = max(a, b) / max(min(a, b), 1e-9)
    return ratio >= _LEAST_TEMPO_RATIO and all(abs(ratio / multiple - 1) > 0.04 for multiple in (2, 3, 4))


def beats_apart(a: str, b: str) -> bool:
    """Whether counts or time signatures are surely two metres: 2 and 4, or 2 and 6 (in 6/8), may be one pulse."""
    low, high = sorted(int(x.partition("/")[0]) for x in (a, b))
    return low > 0 and high / low not in (1, 2, 3, 4)


def _chords_apart(a: Sequence[tuple[int, str]], b: Sequence[tuple[int, str]]) -> bool:
    short, long = sorted(([*a], [*b]), key=len)
    around = long + long  # repeated, as a loop is
    return not any(contains(around, short[i:] + short[:i]) for i in range(len(short)))


def _still_true(kind: Edit, value: Any, truth: MusicAnnotation | None) -> bool:
    """Whether a stated value is surely true of a clip."""
    if truth is None:
        return False
    if kind == "marking":
        return truth.tempo_bpm is not None and tempo_marking(truth.tempo_bpm) == value
    if kind == "beats":
        counted = () if "/" in value else (*(f"{value}/{unit}" for unit in (2, 4, 8)), f"{3 * int(value)}/8")
        constraint: Constraint = Metre(text="", metres=counted or (value,))
    elif kind == "chords":
        constraint = constraint_of(kind, tuple(Chord(root, triad) for root, triad in value))
    else:
        constraint = constraint_of("key" if kind in ("key", "mode") else "tempo", value)
    return holds(constraint, truth) is True


def _exchanged(kind: Edit, into: _Stated, of: _Stated, names: Names, rng: np.random.Generator) -> str:
    changed = {claim: of.claims[claim].value for claim in _KINDS[kind].exchanged}
    if "marking" in changed:
        capital = into.claims["marking"].value[0].isupper()
        changed["marking"] = changed["marking"].capitalize() if capital else changed["marking"].lower()
    if kind == "mode" and "chords" in into.claims:
        changed["chords"] = of.claims["chords"].value
    elif kind == "key" and "chords" in into.claims:
        spelled, steps = _spelled(of, names, rng), of.value.tonic - into.value.tonic
        changed["chords"] = re.sub(
            CHORD, lambda chord: _transposed(chord[0], steps, spelled), into.claims["chords"].value
        )
    text = into.text
    for of_kind, value in sorted(changed.items(), key=lambda item: -into.claims[item[0]].start):
        found = into.claims[of_kind]
        before = text[: found.start]
        if article := re.search(r"\b([Aa])n? $", before):
            before = before[: article.start()] + article[1] + ("n " if _begins_with_vowel(value) else " ")
        text = before + value + text[found.end :]
    return text


def _begins_with_vowel(value: str) -> bool:
    if re.match(r"[A-G](?![a-z])", value):  # a note is read as a letter: "an F"
        return value[0] in "AEF"
    return value[0].lower() in "aeiou8" or value.startswith(("11", "18"))


def _roots(stated: _Stated) -> list[str]:
    chords = stated.claims["chords"].value if "chords" in stated.claims else ""
    return [name for chord in re.finditer(CHORD, chords) for name in re.findall(_ROOT, chord[0])]


def _spelled(of: _Stated, names: Names, rng: np.random.Generator) -> list[str]:
    # The names of the twelve notes: as this caption spells them, else as others in its key do, else by its signature.
    signature = of.value if of.value.mode == "major" else of.value.relative
    spelled = list(_FLATS if signature.tonic in (5, 10, 3, 8, 1) else _SHARPS)
    for tone in range(12):
        if others := names.get((of.value, tone)):
            spelled[tone] = others[int(rng.integers(len(others)))]
    for name in _roots(of):
        spelled[pitch_class(name)] = name
    return spelled


def _transposed(symbol: str, semitones: int, names: Sequence[str]) -> str:
    return re.sub(_ROOT, lambda m: names[(pitch_class(m[0]) + semitones) % 12], symbol)


class _Kind(NamedTuple):
    """The claims that are exchanged, how a caption is read for them, and which values are surely two."""

    exchanged: tuple[Kind, ...]
    read: Callable[[str, dict[Kind, CaptionClaim]], _Stated | None]
    apart: Callable[[Any, Any], bool]


_KINDS: dict[Edit, _Kind] = {
    "key": _Kind(("key",), _read_key, ne),
    "tempo": _Kind(
        ("bpm", "marking"), _read_tempo, lambda a, b: tempi_apart(a, b) and tempo_marking(a) != tempo_marking(b)
    ),
    "bpm": _Kind(("bpm",), _read_bpm, tempi_apart),
    "marking": _Kind(("marking",), _read_marking, ne),
    "beats": _Kind(("beats",), _read_beats, beats_apart),
    "chords": _Kind(("chords",), _read_chords, _chords_apart),
    "mode": _Kind(
        ("key",), _read_mode, lambda a, b: a.mode != b.mode and (a.tonic == b.tonic or a.relative == b)
    ),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Robustness:
    """What one kind of edit does to audio-to-text retrieval, over ``num`` clips; ``num_skipped`` have none.

    ``preferred`` is the share of clips whose own true caption scores above its own counterfactual: 1 for a model that
    detects the attribute, 0.5 for one that cannot (a tie counts as a half). ``mismatched`` is the same share of the
    same captions with the sound of other clips: what their words alone earn. The attribute is detected where
    ``beyond``, the paired difference of the two, is real and positive. ``retrieval`` has recalls by name: those of the
    true captions alone (``original R@1``), with the edited ones among them (``R@1``), and of finding the edited one
    where only such are (``replaced R@1``). ``text_only`` is what rules earn that see no sound (`blind`).
    """

    kind: Edit
    num: int
    num_skipped: int
    retrieval: dict[str, Interval]
    preferred: Interval
    mismatched: Interval
    beyond: Difference
    text_only: dict[str, Interval]

    @property
    def detected(self) -> bool:
        """Whether the model prefers the true caption because of the sound."""
        return self.beyond.real and self.beyond.difference.value > 0


def robustness(
    score: ScoreTexts,
    captions: Sequence[str],
    *,
    kinds: Sequence[Edit] = EDITS,
    truths: Truths | None = None,
    seed: int = 0,
) -> dict[Edit, Robustness]:
    """Perturbation robustness of a model, for every kind of edit, from the true caption of every audio row.

    ``truths`` are those of `counterfactuals`. A kind of which the pool has fewer than three pairs is left out.

    Raises InputError if none of the kinds can be made.
    """
    made = {kind: counterfactuals(captions, kind, truths=truths, seed=seed) for kind in kinds}
    found = {
        kind: _robustness(score, len(captions), kind, edits, seed) for kind, edits in made.items() if len(edits) >= 6
    }
    if not found:
        raise InputError(
            f"none of {', '.join(kinds)} is stated once by enough of {len(captions)} captions, with other values to "
            f"exchange it for (three pairs are needed). Use captions with control sentences (MusicBench B, FGMCaps)."
        )
    return found


def _robustness(
    score: ScoreTexts, num_captions: int, kind: Edit, edits: Sequence[Counterfactual], seed: int
) -> Robustness:
    rows, pair = np.array([e.row for e in edits]), np.array([min(e.row, e.partner) for e in edits])
    true, false, num = [e.true for e in edits], [e.text for e in edits], len(edits)
    both, own = score(rows, [*true, *false]), np.arange(num)

    def prefers(clips: Ints) -> np.ndarray:
        return _above(both.pairs(clips, own) - both.pairs(clips, own + num))

    retrieval: dict[str, Interval] = {}
    for reading, pool in (("original ", score(rows, true)), ("", both), ("replaced ", score(rows, false))):
        ranks = rank_relevant(pool, Relevance.of_targets(own, pool.shape[1]))
        retrieval |= {reading + name: found for name, found in evaluate(ranks, ("R@1", "R@5"), seed=seed).items()}
    preferred, total, count = prefers(own), np.zeros(num), np.zeros(num)
    rng = np.random.default_rng([seed, 1])
    for shift in rng.permutation(np.arange(1, num))[:_NUM_MISMATCHED].tolist():
        others = (own + shift) % num
        apart = pair[others] != pair  # the partner's sound fits the counterfactual
        total, count = total + np.where(apart, prefers(others), 0.0), count + apart
    mismatched = total / count
    half = np.unique(pair, return_inverse=True)[1] % 2  # words are those of the pairs in the other half
    words = [Unigrams(t for t, h in zip(true, half, strict=True) if h != side) for side in (0, 1)]
    rules = {
        "plausibility": [plausibility(t) - plausibility(f) for t, f in zip(true, false, strict=True)],
        "words": [words[h].score(t) - words[h].score(f) for h, t, f in zip(half, true, false, strict=True)],
        "length": [float(len(f) - len(t)) for t, f in zip(true, false, strict=True)],
    }
    return Robustness(
        kind=kind,
        num=num,
        num_skipped=num_captions - num,
        retrieval=retrieval,
        preferred=interval(preferred, groups=pair, proportion=True),
        mismatched=interval(mismatched, groups=pair, proportion=True),
        beyond=compare_paired(mismatched, preferred, groups=pair, seed=seed),
        text_only={n: interval(_above(np.array(d)), groups=pair, proportion=True) for n, d in rules.items()},
    )


def _above(margin: np.ndarray) -> np.ndarray:
    return np.where(margin > 0, 1.0, np.where(margin == 0, 0.5, 0.0))
