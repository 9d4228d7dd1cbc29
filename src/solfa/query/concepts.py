"""Concepts of the vocabulary in a query: longest names first, plurals, hyphens, accents, and small typing errors.

``words.toml`` next to this file says which names need care ("house", "vibes"), what looks like a concept and is none
("haunted house"), and what names of other languages mean.
"""

import re
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files

from rapidfuzz.distance import OSA

from solfa.constraints import Presence
from solfa.core.vocabulary import concepts
from solfa.query.lexis import Regexes, rx, words_table
from solfa.query.source import Mention, Source

regex = Regexes("concepts")

_MAX_WORDS = 6
_FUZZY_LIMIT = 400  # distinct unknown words looked up per query: keeps hostile texts linear

# Measured as tempo and energy rather than as moods.
_ELSEWHERE = {"slow", "fast"}
_CARE = ("cautious", "listed", "capital", "verb", "denied", "of_sound")
_NO_PLURAL = {"dance", "house", "metal", "world", "opera", "drone"}


@dataclass(frozen=True, slots=True)
class LexiconEntry:
    """A name of the lexicon: its concept (None: looks like one, is none), and whether it needs care."""

    concept: str | None
    care: str = ""


def name_words(name: str) -> tuple[str, ...]:
    """A name as the lexicon keys it: folded words without hyphens and apostrophes.

    >>> name_words("Hi-Hats"), name_words("children's music"), name_words("R&B")
    (('hi', 'hats'), ('childrens', 'music'), ('r', 'and', 'b'))
    """
    return tuple(word for _, _, word in _stream(Source.of(name)))


def _stream(source: Source) -> list[tuple[int, int, str]]:
    """Words and numbers with their positions; punctuation that ends a name appears as an empty word."""
    words: list[tuple[int, int, str]] = []
    for token in source.tokens:
        if token.is_word:
            word = source.spelling.get(token.start, token.word)
            words.append((token.start, token.end, word.replace("'", "")))
        elif token.word == "&":
            words.append((token.start, token.end, "and"))
        elif token.word not in "-'_":
            words.append((token.start, token.end, ""))
    return words


def _forms(words: tuple[str, ...], kind: str) -> list[tuple[str, ...]]:
    """Other forms of a name: plurals of instruments and voices, "calmly" and "calmer" for the mood "calm"."""
    last = words[-1]
    if not (last.isascii() and last.isalpha()):
        return []
    one_genre = kind == "genre" and len(words) == 1 and len(last) > 4
    many = one_genre or (kind in ("instrument", "voice", "sound") and len(last) > 2)
    if many and not last.endswith(("s", "ing")) and last not in _NO_PLURAL:
        if last.endswith("y") and last[-2] not in "aeiou":
            return [(*words[:-1], last[:-1] + "ies")]
        return [(*words[:-1], last + ("es" if last.endswith(("ch", "sh", "x", "z")) else "s"))]
    if kind == "mood" and len(words) == 1 and not last.endswith(("ly", "ing", "bare")):
        stem = last[:-1] + "i" if last.endswith("y") else last
        more = stem + ("r" if stem.endswith("e") else "er")
        doubled = re.sub(r"(?<=[^aeiou][aeiou])([bdgmnpt])er$", r"\1\1er", more)  # "sadder"
        return [(stem + "ly",), (more,), (doubled,)]
    return []


@cache
def lexicon() -> dict[str, dict[tuple[str, ...], LexiconEntry]]:
    """Names by their first word."""
    table: dict[tuple[str, ...], LexiconEntry] = {}
    further: dict[tuple[str, ...], LexiconEntry] = {}
    data = words_table()
    care = {name_words(n): kind for kind in _CARE for n in data["care"][kind]}
    clear = frozenset(data["care"]["clear_sounds"])
    for name, concept in concepts().items():
        if name in _ELSEWHERE:
            continue
        names = [*concept.names, *data["names"].get(name, ())]
        for words in map(name_words, names):
            # "Fire", "train", "roll": one word for a sound is seldom meant as one.
            usual = "sound" if concept.kind == "sound" and len(words) == 1 and words[0] not in clear else ""
            table.setdefault(words, LexiconEntry(name, care.get(words, usual)))
            for form in _forms(words, concept.kind):
                further.setdefault(form, LexiconEntry(name, care.get(form, care.get(words, usual))))
            joined = "".join(words)
            if len(words) == 2 and len(joined) > 5:
                table.setdefault((joined,), LexiconEntry(name, care.get(words, "")))
    table = further | table
    for name in data["care"]["nothing"]:
        table[name_words(name)] = LexiconEntry(None)
    by_first: dict[str, dict[tuple[str, ...], LexiconEntry]] = {}
    for words, entry in table.items():
        by_first.setdefault(words[0], {})[words] = entry
    return by_first


def concept_named(name: str) -> str | None:
    """The id of the concept that a name or id stands for, if there is one.

    >>> concept_named("Hi Hat"), concept_named("electric_piano"), concept_named("zzz")
    ('hi_hat', 'electric_piano', None)
    """
    if name in concepts():
        return name
    words = name_words(name) if name.strip() else ()
    entry = lexicon().get(words[0], {}).get(words) if words else None
    return entry.concept if entry else None


def find(source: Source, *, longer_than: int = 0) -> None:
    """Finds concepts whose names have more words than this."""
    stream = _stream(source)
    table = lexicon()
    i = 0
    while i < len(stream):
        candidates = table.get(stream[i][2])
        step = 1
        if candidates and stream[i][2]:
            for count in range(min(_MAX_WORDS, len(stream) - i), longer_than, -1):
                words = tuple(w for _, _, w in stream[i : i + count])
                entry = candidates.get(words)
                start, end = stream[i][0], stream[i + count - 1][1]
                if entry is not None and source.free(start, end) and _takes(source, start, end, entry):
                    _add(source, start, end, entry)
                    step = count
                    break
        i += step


def _takes(source: Source, start: int, end: int, entry: LexiconEntry) -> bool:
    """Whether a name that needs care is meant here."""
    if source.low[start].isdigit():
        if source.low[start - 1 : start].isalpha():
            return False  # "2m30s"
        seconds = rx("<<of_track>>").search(source.low, max(0, start - 16), end - 1)  # "the last 30s"
        tens = regex.part_of_tens.search(source.before(start))  # "upper 90s"
        if seconds or tens or regex.part_of_track.match(source.low, end) or rx(r"\s?<<bpm>>").match(source.low, end):
            return False
        alone = re.search(r"(?:^|[,;] )$", source.before(start)) and re.match(r"$|[,;.]", source.after(end))
        if alone and re.fullmatch(r"[1-9]0s", source.low[start:end]):
            source.note(f"{source.quote(start, end)} read as a decade; write seconds or bpm if it is none")
    if " " in source.low[start:end] and regex.hyphen.search(source.before(start, 5)):
        first = source.low[start:end].replace("-", " ").split()[0]
        if first in ("vocal", "free") or (first,) in lexicon().get(first, {}):
            return False  # "non-vocal trance", "sax-free jazz"
    kind = concepts()[entry.concept].kind if entry.concept else ""
    if kind == "mood" and source.low[start : end + 4] in ("bare of ", "empty of "):
        return False  # "bare of ornament"
    of_this = ("instrument", "voice", *(["genre"] if source.low[start - 1 : start] == "-" else []))
    amount = source.ends_at(start - 1) in of_this or regex.amount_of.match(source.low, end)
    if source.low[start:end] in words_table()["care"]["amount"] and amount:
        return False  # "synth-heavy", "guitar-driven", "heavy on the bass": how much of it there is
    if kind in ("instrument", "voice") and source.low.startswith("-like", end):
        return False  # "bell-like synths" are no bells
    if not entry.care:
        return True
    care = words_table()["care"]
    before, after = source.before(start, 24).rstrip(" -"), source.after(end, 24).lstrip(" -")
    previous = before.rsplit(maxsplit=1)[-1] if before and before[-1].isalnum() else ""
    following = "".join(after.split(maxsplit=1)[:1]).strip(",.;:!?")
    if entry.care == "capital":
        return source.raw[start:end].isupper() or following in ("piano", "sound", "sounds")
    if entry.care == "of_sound":
        noun = re.match(r"[^\W_]*", following)[0]  # type: ignore[index]
        thing = lexicon().get(noun, {}).get((noun,))
        instrument = thing is not None and thing.concept is not None and concepts()[thing.concept].kind == "instrument"
        behind = source.low[start:end] == "muted" and source.ends_at(start - 1) != ""  # "with the drums muted"
        return not (instrument or behind) and noun not in care["sound_nouns"]
    if entry.care == "denied":
        return previous in ("no", "without", "any", "nor", "or")
    if entry.care == "verb":
        return following not in care["verb_before"]
    if entry.care == "sound" and (following in care["named_sound"] or regex.sound_of.search(before)):
        return True
    if entry.care != "sound" and following in care["music_nouns"]:
        return True
    if entry.care == "cautious":
        return previous not in care["determiners"] or bool(regex.denied.search(before))
    joins = ("and", "or", "no", "not", "nor", "preferably", "without", "with", "plus", "solo", "featuring")
    opens = not before or before[-1] in ",;:(&/+" or previous in joins
    closes = not after or after[0] in ",.;:)&/+\n" or following in care["closing"]
    return opens and closes


def _add(source: Source, start: int, end: int, entry: LexiconEntry) -> None:
    if entry.concept is None:
        source.add(Mention(start, end, "plain", spoken=True))
        return
    kind = concepts()[entry.concept].kind
    constraint = Presence(text=source.cut(start, end), concept=entry.concept, kind=kind)
    source.add(Mention(start, end, kind, constraint, spoken=True))


def find_gender(source: Source) -> None:
    """Reads "a woman ... sings", "female pop vocals" and "sung by men" as the voice of a woman or a man."""
    for mention in source.mentions:
        if isinstance(mention.constraint, Presence) and mention.constraint.concept == "voice" and not mention.negated:
            before = regex.person_cut.split(source.before(mention.start))[-1]
            person = max(regex.person.finditer(before), key=lambda m: m.start(), default=None)
            by = regex.sung_by.match(source.low, mention.end)
            person = regex.person.match(source.low, by.end()) if by else person  # or "vocals: male"
            if person:
                concept = "female_voice" if person["f"] else "male_voice"
                mention.constraint = replace(mention.constraint, concept=concept)


# --- typing errors --------------------------------------------------------------------------------------------------


@cache
def _spellings() -> dict[tuple[str, int], tuple[str, ...]]:
    """Words of the lexicon that may be misspelt, by first letter and length."""
    table: dict[tuple[str, int], set[str]] = {}
    for entries in lexicon().values():
        for words, entry in entries.items():
            if entry.concept is None or entry.care or concepts()[entry.concept].kind == "sound":
                continue
            for word in words:
                if len(word) >= 5 and word.isalpha():
                    table.setdefault((word[0], len(word)), set()).add(word)
    return {key: tuple(sorted(words)) for key, words in table.items()}


@cache
def _instruments() -> frozenset[str]:
    return frozenset(name for name, concept in concepts().items() if concept.kind == "instrument")


@cache
def _known() -> frozenset[str]:
    """Words that are right as they are: of the lexicon, of the word lists, and English words near the lexicon."""
    data = words_table()
    known = {w for entries in lexicon().values() for words in entries for w in words}
    known.update(data["stop"], data["noise"])
    known.update(w for phrase in data["filler"] for w in phrase.split())
    lines = files("solfa.query").joinpath("not_typos.txt").read_text(encoding="utf-8").splitlines()
    known.update(word for line in lines if not line.startswith("#") for word in line.split())
    return frozenset(known)


def correction(word: str) -> str | None:
    """The one word of the lexicon that this is a misspelling of, if it is clear.

    Five letters allow two neighbours swapped or one letter left out, six one error (a letter too much, too few or
    wrong, or two swapped), ten two; the first letter must be right, and the last too where a letter too much leaves
    five. Those must name an instrument.

    >>> correction("paino"), correction("saxaphone"), correction("horse")
    ('piano', 'saxophone', None)
    """
    if len(word) < 5 or not word.isalpha() or word in _known():
        return None
    allowed = 2 if len(word) >= 10 else 1
    best: tuple[int, bool, str] | None = None
    for length in range(len(word) - allowed, len(word) + allowed + 1):
        for candidate in _spellings().get((word[0], length), ()):
            distance = OSA.distance(word, candidate, score_cutoff=allowed)
            other_letters = len(word) == len(candidate) == 5 and sorted(word) != sorted(candidate)
            inside = len(candidate) == 5 and candidate[-1] == word[-1] and candidate in _instruments()
            if distance > allowed or other_letters or (len(candidate) < min(len(word), 6) and not inside):
                continue
            found = distance, candidate not in concepts(), candidate  # of two as near, the name of a concept itself
            best = min(best or found, found)
    return best[2] if best else None


def find_without(source: Source) -> None:
    """Finds "drumless", "beatless", "novocals": the concept is not wanted."""
    for token in source.tokens:
        stem = token.word[:-4] if token.word.endswith("less") else token.word[2:] if token.word[:2] == "no" else ""
        if len(stem) < 3 or not source.free(token.start, token.end):
            continue
        name = words_table()["less"].get(stem) or concept_named(stem)
        if name is not None and concepts()[name].kind in ("instrument", "voice"):
            _add(source, token.start, token.end, LexiconEntry(name))
            source.mentions[-1].negated, source.mentions[-1].spoken = True, True


def find_misspelt(source: Source) -> None:
    """Finds concepts in the words that are still free, after correcting them; every correction is noted."""
    tried: dict[str, str | None] = {}
    for token in source.tokens:
        name = source.raw[token.start].isupper() and token.start and not source.raw[token.start : token.end].isupper()
        if name or not token.is_word or not source.free(token.start, token.end) or len(tried) >= _FUZZY_LIMIT:
            continue
        if token.word not in tried:
            tried[token.word] = correction(token.word)
        if right := tried[token.word]:
            source.spelling[token.start] = right
    if not source.spelling:
        return
    find(source)
    for token in source.tokens:
        if token.start in source.spelling and source.free(token.start, token.end):
            del source.spelling[token.start]
        elif token.start in source.spelling:
            source.note(f"{source.quote(token.start, token.end)} read as '{source.spelling[token.start]}'")
