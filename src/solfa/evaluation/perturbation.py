"""FIGMA's attribute perturbations: captions with exactly one false attribute, and what a model makes of them.

Conventions
-----------
An edit changes one stated attribute and leaves every other character as it was. It follows from the seed, the kind and
the text, so that a caption's twin is the same whatever else is in the set. The published edit rules were not found;
these are ours (docs/evaluation.md):

key      another of the 24 major and minor keys, enharmonic spellings being one key
bpm      times 0.5-0.8 or 1.25-2, written with as many decimals; the marking stays
marking  a term of another tempo band; the number stays
beats    another of 2-7
chords   another order that is no rotation of the first; where there is none, some roots are moved

Both readings of the published protocol are computed: the *twins* pool holds the true captions and their false twins,
the *replaced* pool only the false ones (there a high score means that the edit went unheard).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from solfa.core.errors import InputError
from solfa.core.theory import Key, pitch_class
from solfa.evaluation.claims import CHORD, KINDS, MARKINGS, Claim, Kind, find_claims
from solfa.evaluation.ranking import Scores, rank_relevant
from solfa.evaluation.relevance import Ints, Relevance
from solfa.evaluation.retrieval import evaluate
from solfa.evaluation.significance import Interval, interval

# Scores of some audio items (rows of the pool) as queries against these texts.
ScoreTexts = Callable[[Ints, Sequence[str]], Scores]


def perturb(text: str, kind: Kind, *, seed: int = 0) -> str | None:
    """The caption with one attribute made false; None where it does not state that attribute exactly once.

    The same seed gives the same edit of the same caption.

    >>> perturb("Rock in A minor at 120 BPM.", "key"), perturb("Rock in A minor.", "bpm")
    ('Rock in G minor at 120 BPM.', None)
    """
    claim = find_claims(text).get(kind)
    if claim is None:
        return None
    digest = hashlib.sha256(f"{seed}\n{kind}\n{text}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    return text[: claim.start] + _EDITS[kind](claim, rng) + text[claim.end :]


def _note(text: str) -> int:
    return pitch_class(text.replace(" sharp", "#").replace(" flat", "b"))


def _edit_key(claim: Claim, rng: np.random.Generator) -> str:
    note, separator, mode = re.split(r"([ -])(?=ma|mi)", claim.value)
    old = Key(_note(note), "major" if mode.startswith("maj") else "minor")
    others = [Key(t, m) for t in range(12) for m in ("major", "minor") if Key(t, m) != old]
    new = others[rng.integers(len(others))]
    name, _, new_mode = str(new).partition(" ")
    return f"{name}{separator}{new_mode[: len(mode)] if len(mode) == 3 else new_mode}"


def _edit_bpm(claim: Claim, rng: np.random.Generator) -> str:
    decimals = len(claim.value.partition(".")[2])
    low, high = ((0.5, 0.8), (1.25, 2.0))[rng.integers(2)]
    old = float(claim.value)
    new = round(old * float(np.exp(rng.uniform(np.log(low), np.log(high)))), decimals)
    # Rounding must not bring the value back inside the gap.
    step = 10.0**-decimals
    return f"{min(new, old * 0.8 // step * step) if low < 1 else max(new, -(-old * 1.25 // step) * step):.{decimals}f}"


def _edit_marking(claim: Claim, rng: np.random.Generator) -> str:
    own = claim.value.lower()
    others = [terms[0] for _, terms in MARKINGS if own not in terms]
    term = others[rng.integers(len(others))]
    return term.capitalize() if claim.value[0].isupper() else term


def _edit_beats(claim: Claim, rng: np.random.Generator) -> str:
    others = [n for n in range(2, 8) if str(n) != claim.value]
    return str(others[rng.integers(len(others))])


def _moved(symbol: str, semitones: int) -> str:
    names = ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
    return re.sub(r"(^|(?<=/))[A-G][#♯b♭]?", lambda m: names[(pitch_class(m[0]) + semitones) % 12], symbol)


def _same(a: Sequence[str], b: Sequence[str]) -> bool:
    # One loop: equal up to rotation, enharmonic spellings being equal.
    plain = [[_moved(s, 0) for s in chords] for chords in (a, b)]
    return any(plain[0][i:] + plain[0][:i] == plain[1] for i in range(len(a)))


def _edit_chords(claim: Claim, rng: np.random.Generator) -> str:
    places = list(re.finditer(CHORD, claim.value))
    old = [m[0] for m in places]
    for _ in range(20):
        new = [old[i] for i in rng.permutation(len(old))]
        if not _same(old, new):
            break
    else:  # Every order is a rotation ("Am F"): move the roots of some chords instead.
        new = list(old)
        while _same(old, new):
            for i in rng.choice(len(old), size=rng.integers(1, len(old) + 1), replace=False):
                new[i] = _moved(old[i], int(rng.integers(1, 12)))
    out, last = "", 0
    for match, chord in zip(places, new, strict=True):
        out += claim.value[last : match.start()] + chord
        last = match.end()
    return out + claim.value[last:]


_EDITS: dict[Kind, Callable[[Claim, np.random.Generator], str]] = {
    "key": _edit_key,
    "bpm": _edit_bpm,
    "marking": _edit_marking,
    "beats": _edit_beats,
    "chords": _edit_chords,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Robustness:
    """What one kind of edit does to audio-to-text retrieval, over the ``num`` clips that state the attribute.

    ``original`` scores the true captions alone, ``twins`` with the false ones among them, ``replaced`` finds the false
    caption where only false ones are. ``preferred`` is the share of clips whose own true caption scores above its own
    false twin: 1 for a model that hears the attribute, 0.5 for one that guesses, 0 for one that cannot tell (ties).
    """

    kind: Kind
    num: int
    num_skipped: int
    original: dict[str, Interval]
    twins: dict[str, Interval]
    replaced: dict[str, Interval]
    preferred: Interval


def robustness(
    score: ScoreTexts,
    captions: Sequence[str],
    *,
    kinds: Sequence[Kind] = KINDS,
    metrics: Sequence[str] = ("R@1", "R@5"),
    seed: int = 0,
) -> dict[Kind, Robustness]:
    """Perturbation robustness of a model, for every kind of edit, from the true caption of every audio row.

    ``metrics`` are named as in `retrieval`.

    Raises
    ------
    InputError
        If a kind is stated by none of the captions.
    """
    return {kind: _robustness(score, captions, kind, metrics, seed) for kind in kinds}


def _robustness(
    score: ScoreTexts, captions: Sequence[str], kind: Kind, metrics: Sequence[str], seed: int
) -> Robustness:
    twins = [perturb(c, kind, seed=seed) for c in captions]
    rows = np.array([i for i, t in enumerate(twins) if t is not None], np.int64)
    if len(rows) == 0:
        raise InputError(
            f"none of {len(captions)} captions states the attribute {kind!r} exactly once, so it cannot be perturbed. "
            f"Leave this kind out, or use captions with control sentences (MusicBench B, FGMCaps)."
        )
    true, false = [captions[i] for i in rows], [t for t in twins if t is not None]
    num = len(rows)
    both = score(rows, [*true, *false])
    own = np.arange(num)
    above = both.pairs(own, own) > both.pairs(own, own + num)

    def measure(pool: Scores, size: int) -> dict[str, Interval]:
        return evaluate(rank_relevant(pool, Relevance.of_targets(own, size)), metrics, seed=seed)

    return Robustness(
        kind=kind,
        num=num,
        num_skipped=len(captions) - num,
        original=measure(score(rows, true), num),
        twins=measure(both, 2 * num),
        replaced=measure(score(rows, false), num),
        preferred=interval(above, seed=seed),
    )
