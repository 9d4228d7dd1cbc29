"""Progressions without a key: Roman numerals, degree numbers and names ("ii-V-I", "1-5-6-4", "Andalusian cadence").

Numerals resolve against the one key that the query names; without it their roots are relative to C and the sequence
is transposable. In a progression on a minor tonic (``i``), III, VI and VII are the degrees of natural minor.
"""

import re
from collections.abc import Iterable
from dataclasses import replace

from solfa.constraints import Chords, InKey
from solfa.core.theory import Chord
from solfa.query.chords import TRIES, cued, distinct
from solfa.query.lexis import Regexes, patterns_table, rx, whole
from solfa.query.source import Mention, Source

regex = Regexes("roman")

_DEGREES = {"i": 1, "ii": 2, "iii": 3, "iv": 4, "v": 5, "vi": 6, "vii": 7}
_MAJOR = (0, 2, 4, 5, 7, 9, 11)
_MINOR = (0, 2, 3, 5, 7, 8, 10)
_DIATONIC = ("maj", "min", "min", "maj", "maj", "min", "dim")
_COUNT_IN = {"123", "1234", "12345", "321", "4321", "54321", "1234567", "123456"}


def resolve(numerals: list[str], tonic: int = 0, *, minor_key: bool = False) -> tuple[Chord, ...]:
    """Chords of Roman numerals on a tonic.

    >>> [str(c) for c in resolve(["ii7", "V7", "Imaj7"], tonic=5)]
    ['G:min7', 'C:7', 'F:maj7']
    """
    matches = [m for n in numerals if (m := regex.token.fullmatch(n))]
    names = [m["num"] for m in matches]
    minor = "i" in names or (minor_key and "I" not in names)
    lazy = _lazy(matches)
    chords = []
    for match in matches:
        degree = _DEGREES[match["num"].lower()]
        scale = _MINOR if minor else _MAJOR
        root = scale[degree - 1] + {"b": -1, "#": 1, "": 0}[match["acc"]]
        if minor and match["acc"] == "b" and degree in (3, 6, 7):
            root += 1  # "bVI" in minor means the same VI
        quality = _quality(match["num"], match["suffix"], degree, lazy=lazy)
        if minor and degree == 7 and quality.startswith("dim") and not match["acc"]:
            root = 11  # the diminished chord on the leading tone
        if match["of"]:
            target = regex.token.fullmatch(match["of"])
            base = scale[_DEGREES[match["of"].lstrip("b#").lower()] - 1] if target else 0
            base += {"b": -1, "#": 1}.get(match["of"][0], 0)
            root = base + _MAJOR[degree - 1]
        chords.append(Chord((tonic + root) % 12, quality, None))
    return distinct(chords)


def _lazy(matches: list[re.Match[str]]) -> bool:
    """Whether case carries no quality: all capitals with II, III or VI, or all small letters of a major progression."""
    names = [m["num"] for m in matches]
    plain = not any(m["acc"] or m["of"] for m in matches)
    if all(n.isupper() for n in names):
        return plain and any(n in ("II", "III", "VI") and not m["suffix"] for n, m in zip(names, matches, strict=True))
    if all(n.islower() for n in names) and len(names) > 2:
        return plain and "v" in names and not any(m["suffix"] for m in matches) and names != ["i", "iv", "v"]
    return False


def _quality(number: str, suffix: str, degree: int, *, lazy: bool) -> str:
    triad = _DIATONIC[degree - 1] if lazy else "maj" if number.isupper() else "min"
    by_triad = patterns_table()["numeral_suffix"]["by_triad"]
    if suffix in by_triad:
        return str(by_triad[suffix][("maj", "min", "dim").index(triad)])
    fixed: dict[str, str] = patterns_table()["numeral_suffix"]["fixed"]
    return fixed.get(suffix, triad)


def find_named(source: Source) -> None:
    """Finds progressions that have a name. A style ("12-bar blues") is left to the vocabulary as well."""
    for entry in patterns_table()["progression"]:
        names = entry["numerals"].split()
        for match in source.matches(whole("|".join(entry["words"]))):
            mention = _mention(source, match.start(), match.end(), names)
            if "blues" in match[0]:
                mention.spoken = True
                source.mentions.append(mention)
            else:
                source.add(mention)
            source.note(f"{source.quote(*match.span())} read as the progression {'-'.join(names)}")


def find(source: Source) -> None:
    """Finds numerals and degree numbers; ``resolve_mentions`` resolves them once the key is known."""
    position = run_end = tries = 0
    while start := regex.token.search(source.raw, position):
        tries = tries + 1 if start.start() < run_end else 0
        if tries >= TRIES:
            position = run_end
            continue
        position = start.end()
        names, tight, end = _run(source, start)
        run_end = max(run_end, end)
        if names and _accepted(source, names, tight, start.start(), end):
            source.add(_mention(source, start.start(), end, names))
            if _lazy([m for n in names if (m := regex.token.fullmatch(n))]):
                said = source.quote(start.start(), end)
                source.note(f"{said}: minor and major taken from the major scale, not from the case")
            position = end
    _find_numbers(source)


def _run(source: Source, start: re.Match[str]) -> tuple[list[str], bool, int]:
    names, tight, end = [], True, start.start()
    match: re.Match[str] | None = start
    while match and source.free(match.start(), match.end()):
        names.append(match[0])
        end = match.end()
        gap = regex.link.match(source.raw, end)
        if gap is None:
            break
        following = regex.token.match(source.raw, gap.end())
        if following and not any(c in gap[0] for c in "->|"):
            tight = False
        match = following
    return names, tight, end


def _accepted(source: Source, names: list[str], tight: bool, start: int, end: int) -> bool:
    if len(names) < 2 or regex.not_numerals.search(source.before(start, 20)):
        return False
    if len(set(names)) == 1 or (not tight and names[0] == "I" and len(names) < 3):
        return False
    if tight:
        return len(names) > 2 or names != ["I", "I"]
    return len(names) >= 3 or cued(source, start, end) or any(len(n) > 3 or n[-1].isdigit() for n in names)


def _find_numbers(source: Source) -> None:
    for spaced, numbers in ((True, regex.numbers), (False, regex.run_of_digits)):
        for match in source.matches(numbers):
            if rx(r"\s?<<bpm>>").match(source.low, match.end()):
                continue  # "the chords Am F C G, 127 bpm": a tempo, whatever the sentence refers to
            body = match["body"]
            nashville = re.search(r"nashville[\w ]{0,20}:?\s?$", source.before(match.start()))
            dashed = spaced and match["sep"].strip() in ("-", ">")
            digits = body if spaced and "7" in body else re.sub(r"\D", "", body)
            if not (cued(source, *match.span()) or nashville) and (not dashed or digits in _COUNT_IN):
                continue
            steps = re.findall(r"([1-7])(m|7|-(?!\s?\d))?", body) if spaced else [(d, "") for d in body]
            names = [_numeral(int(d), mark) for d, mark in steps]
            source.note(f"{source.quote(*match.span())} read as the progression {'-'.join(names)}")
            source.add(_mention(source, *match.span(), names))


def _numeral(degree: int, mark: str) -> str:
    name = ["I", "II", "III", "IV", "V", "VI", "VII"][degree - 1]
    if mark in ("m", "-") or (not mark and degree in (2, 3, 6)):
        return name.lower()
    return name.lower() + "°" if degree == 7 and not mark else name + mark


def _mention(source: Source, start: int, end: int, names: list[str]) -> Mention:
    constraint = Chords(text=source.cut(start, end), chords=resolve(names), transposable=True)
    return Mention(start, end, "chords", constraint, cue=" ".join(names))


def is_progression(text: str) -> bool:
    """Whether a chord constraint's text names degrees, not chords."""
    source = Source.of(text)
    find_named(source)
    find(source)
    return bool(source.mentions)


def resolve_mentions(source: Source, more_keys: Iterable[InKey] = ()) -> None:
    """Resolves progressions against the key of the query, if there is exactly one, and reads "in any key"."""
    asked = [m.constraint for m in source.mentions if isinstance(m.constraint, InKey) and not m.negated]
    keys = {
        (k.tonic, k.mode) for k in [*asked, *more_keys] if k.tonic is not None and not k.compatible and not k.negated
    }
    anywhere = [m for m in source.mentions if m.kind == "anykey"]
    for mention in source.mentions:
        if not isinstance(mention.constraint, Chords):
            continue
        if regex.exactly.search(source.before(mention.start)):
            mention.constraint = replace(mention.constraint, loose_quality=False)
        if anywhere:
            mention.constraint = replace(mention.constraint, transposable=True)
        elif mention.cue and len(keys) == 1:
            tonic, mode = next(iter(keys))
            assert tonic is not None
            chords = resolve(mention.cue.split(), tonic, minor_key=mode == "minor")
            mention.constraint = replace(mention.constraint, chords=chords, transposable=False)
            source.note(f"'{mention.constraint.text}' read in the key of the query: {'-'.join(map(str, chords))}")
