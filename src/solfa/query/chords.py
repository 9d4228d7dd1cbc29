"""Chord names and sequences of them: "Am-F-C-G", "Dm7 | G7 | Cmaj7", "A:min F:maj", "F#m7b5", "C, G and Am".

A lone name is a chord only if something says so (a quality that no key has, the word "chord"); see ``key`` for the
rest. Qualities beyond ``core.theory.QUALITIES`` are read as the nearest one, which is noted.
"""

import re
from dataclasses import dataclass
from functools import cache

from solfa.constraints import Chords
from solfa.core.theory import Chord, pitch_class
from solfa.query.lexis import Regexes, patterns_table
from solfa.query.source import Mention, Source

regex = Regexes("chords")

TRIES = 3  # at a row of chords or numerals: without its first name or two it may be one; more would be slow


@cache
def _qualities() -> dict[str, tuple[str, bool]]:
    """Quality by how it is written; True where it is only the nearest one."""
    table = patterns_table()
    return {
        name: (quality, near)
        for near, section in ((True, "nearest_chord_quality"), (False, "chord_quality"))
        for quality, names in table[section].items()
        for name in names
    }


@dataclass(frozen=True, slots=True)
class Name:
    """One chord name found in the text; ``strong`` when it can be nothing else."""

    start: int
    end: int
    chord: Chord
    german: bool
    strong: bool
    near: bool
    spelled: bool = False

    @property
    def may_be_key(self) -> bool:
        """Whether a key is written so."""
        return self.chord.quality in ("maj", "min") and self.chord.bass is None


def name_at(source: Source, position: int, *, lower: bool = False, inside: bool = False) -> Name | None:
    """The chord name that starts at a position; ``inside`` a row, "a minor" is no article."""
    spelled = regex.spelled.match(source.raw, position)
    if spelled and not lower and not (spelled["root"] == "a" and spelled["acc"] is None and not inside):
        return _spelled(spelled)
    match = (regex.lower if lower else regex.name).match(source.raw, position)
    if match is None:
        return None
    root, written = match["root"], match["q1"] or match["q2"] or ""
    german = root[0] == "H"
    if german:
        root = "B" + root[1:]
    quality, near = _qualities().get(written, ("maj", False)) if written else ("maj", False)
    pc = pitch_class(root)
    bass = None
    if match["bass"]:
        bass = (pitch_class(match["bass"]) - pc) % 12 or None
    elif match["degree"]:
        bass = Chord.parse(f"C/{match['degree']}").bass  # type: ignore[union-attr]
    strong = bool(written) or len(root) > 1 or bass is not None
    return Name(match.start(), match.end(), Chord(pc, quality, bass), german, strong and written != "5", near)


def semitones(accidental: str | None) -> int:
    """How far an accidental moves a note: "#", "bb", "-sharp", " bemol".

    >>> semitones("##"), semitones(" flat"), semitones(None)
    (2, -1, 0)
    """
    text = (accidental or "").strip(" -").lower()
    named: dict[str, int] = patterns_table()["accidental"]
    return named.get(text, len(text) if text.startswith("#") else -len(text))


def _spelled(match: re.Match[str]) -> Name:
    words = re.split(r"[ -]", match["q"].lower())
    if words[0] == "half":
        words = ["half diminished", *words[2:]]
    quality: str = patterns_table()["spelled_chord_quality"][words[0]]
    number = re.sub(r"\D", "", words[-1]) or words[-1] if len(words) > 1 else ""
    quality = patterns_table()["chord_with_number"].get(number, {}).get(quality, quality)
    root = (pitch_class(match["root"]) + semitones(match["acc"])) % 12
    return Name(match.start(), match.end(), Chord(root, quality), False, True, False, spelled=True)


def find(source: Source) -> None:
    """Finds every chord sequence of a query."""
    for lower in (False, True):
        position, run_end, tries = 0, 0, 0
        while match := (regex.lower_start if lower else regex.name_start).search(source.raw, position):
            position = match.end()
            if not source.free(match.start(), match.end()):
                continue
            # A row that is none as a whole may be one without its first or last names; a few tries are enough.
            tries = tries + 1 if match.start() < run_end else 0
            if tries >= TRIES:
                position = run_end
                continue
            names, links = _run(source, match.start(), lower=lower)
            run_end = max(run_end, names[-1].end if names else 0)
            for count in range(len(names), max(0, len(names) - TRIES), -1):
                if _accepted(source, names[:count], links[: count - 1], lower=lower):
                    _add(source, names[:count])
                    position = max(position, names[count - 1].end)
                    break


def _run(source: Source, start: int, *, lower: bool) -> tuple[list[Name], list[str]]:
    """The longest row of chord names from a position, with what links them: tight, slash, comma or space."""
    names: list[Name] = []
    links: list[str] = []
    position, link = start, ""
    while (name := name_at(source, position, lower=lower, inside=bool(names))) and source.free(name.start, name.end):
        if not name.strong and regex.no_chord_before.match(source.low, name.end):
            break
        if link == "comma" and len(names) + name.spelled < 3 and len({n.spelled for n in (*names, name)}) == 2:
            break  # "F major, Am, F, C": a key, then chords
        links += [link] if names else []
        names.append(name)
        if links[-2:] == ["comma", "tight"]:  # "F, Am-F-C-G" is a key and a row
            return names[:-2], links[:-2]
        if links[-2:] == ["tight", "comma"]:
            return names[:-1], links[:-1]
        gaps = {kind: getattr(regex, kind).match(source.raw, name.end) for kind in ("tight", "slash", "comma", "space")}
        link = next((kind for kind, gap in gaps.items() if gap), "")
        if not link:
            break
        position = gaps[link].end()
    last = names[-1] if names else None
    if last and "slash" in links and last.chord.bass is not None and "/" in source.raw[last.start : last.end]:
        # "C/G/Am/F": the slashes part the chords, the last one too
        cut = source.raw.index("/", last.start)
        names[-1] = Name(last.start, cut, Chord(last.chord.root, last.chord.quality), False, last.strong, last.near)
        if bass := name_at(source, cut + 1):
            names.append(bass)
            links.append("slash")
    return names, links


def _accepted(source: Source, names: list[Name], links: list[str], *, lower: bool) -> bool:
    """Whether a row of chord names is one: by its links, by names that are nothing else, or by a word nearby."""
    if len(names) == 1:
        return not lower and _single(source, names[0])
    start, end = names[0].start, names[-1].end
    if regex.no_chord_before.match(source.low, end) and not names[-1].strong:
        return False
    cue = cued(source, start, end)
    strong = sum(n.strong for n in names)
    tight = sum(link in ("tight", "slash") for link in links)
    if lower:
        sure = cue or tight == len(links) or source.alone(start, end)
        return bool(sure) and len(names) >= 3 and (strong > 0 or cue)
    if all(n.spelled for n in names) and not cue:
        return len(names) >= 3
    if cue or (tight == len(links) and (len(names) > 2 or strong or source.alone(start, end))):
        return not (len(names) == 2 and not strong and links == ["slash"])
    if len(names) == 2:
        telling = [
            n
            for n in names
            if n.strong and not n.may_be_key and not regex.part_number.fullmatch(source.raw, n.start, n.end)
        ]
        apart = source.low[names[0].end : names[1].start].strip() == ","
        if len(telling) == 2 or (telling and (not apart or source.alone(start, end))):
            return True
        return strong == 2 and links == ["space"]
    article = names[0].start == 0 and source.raw[0] == "A" and links[0] == "space" and not names[0].strong
    return (strong > 0 or "space" not in links or not article) and not (article and len(names) < 4)


def _single(source: Source, name: Name) -> bool:
    """Whether a lone chord name is meant as a chord."""
    if cued(source, name.start, name.end, near=True):
        return True
    if not name.strong or name.may_be_key:
        return False
    # "C5", "G9", "A7", "B2": part numbers as well as chords, unless sharps, flats or letters say more.
    plain = re.fullmatch(r"[A-H]\d{1,2}|H|[A-H][+-]", source.raw[name.start : name.end])
    if plain and source.alone(name.start, name.end):
        return True
    return plain is None or (name.chord.quality == "7" and source.raw[name.end - 1] == "7")


def cued(source: Source, start: int, end: int, *, near: bool = False) -> bool:
    """Whether the sentence around says that these are chords."""
    if near:
        before = regex.cue_before.search(source.before(start, 24))
        return bool(before or regex.cue_after.match(source.low, end))
    before_text = re.split(r"[.;\n](?=\s)", source.before(start, 80))[-1]
    after_text = re.split(r"[.;,\n]", source.after(end, 40))[0]
    return bool(regex.cue.search(before_text) or regex.cue.search(after_text))


def _add(source: Source, names: list[Name]) -> None:
    """Records a sequence, with closing bar lines and "x4"."""
    start, end = names[0].start, names[-1].end
    repeats = regex.repeats.match(source.raw, end)
    end = repeats.end() if repeats and repeats[0].strip() else end
    lead = re.search(r"[|:\[( ]*\|[|: ]*$", source.raw[max(0, start - 6) : start])
    start -= len(lead[0].lstrip()) if lead else 0
    chords = [n.chord for n in names]
    words = source.cut(start, end)
    if any(n.german for n in names):
        chords = [_german(source, n) for n in names]
        source.note(f"'{words}': H is read as the German name of B, and B as B flat")
    if any(n.near for n in names):
        near = ", ".join(f"{source.cut(n.start, n.end)} as {n.chord}" for n in names if n.near)
        source.note(f"chords read as the nearest known quality: {near}")
    source.add(Mention(start, end, "chords", Chords(text=words, chords=distinct(chords))))


def _german(source: Source, name: Name) -> Chord:
    flat = source.raw[name.start] == "B" and source.raw[name.start + 1 : name.start + 2] not in ("b", "#")
    return Chord((name.chord.root - flat) % 12, name.chord.quality, name.chord.bass)


def distinct(chords: list[Chord]) -> tuple[Chord, ...]:
    """The sequence without a chord repeated in a row."""
    return tuple(c for i, c in enumerate(chords) if i == 0 or c != chords[i - 1])
