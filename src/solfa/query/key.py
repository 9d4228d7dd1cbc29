"""Key and mode: "in F", "f sharp minor", "B♭", "cis-Moll", "sol mayor", "8A", "relative of A minor", "a minor key"."""

import re

from solfa.constraints import InKey
from solfa.core.theory import KEYS, Key, Mode, pitch_class
from solfa.query.chords import name_at, semitones
from solfa.query.lexis import Regexes, patterns_table, rx, whole
from solfa.query.source import Mention, Source

regex = Regexes("key")

_WHEEL = {key.camelot: key for key in KEYS}


def find(source: Source) -> None:
    """Finds every key of a query, after chord sequences have been claimed."""
    for match in source.matches(whole("<<any_key>>")):
        source.add(Mention(*match.span(), kind="anykey"))
    for match in regex.camelot.finditer(source.raw):
        _camelot(source, match)
    for match in source.matches(regex.open_key):
        if 1 <= int(match["n"]) <= 12:
            key = _WHEEL[f"{(int(match['n']) + 6) % 12 + 1}{'A' if match['md'] == 'm' else 'B'}"]
            _add(source, match.start(), match.end(), key.tonic, key.mode)
    for match in source.matches(regex.key):
        _with_mode(source, match)
    for match in source.matches(regex.romance):
        tonic = (patterns_table()["solfege"][match["name"]] + semitones(match["acc"])) % 12
        _add(source, match.start(), match.end(), tonic, patterns_table()["mode_name"][match["mode"]])
    _names(source)
    for match in regex.bare.finditer(source.low):
        _bare(source, match)
    for match in source.matches(regex.no_note):
        source.not_understood(*match.span(), reason="no note has this name; notes are A to G")
    for match in regex.mode_only.finditer(source.low):
        _mode_only(source, match)


def beside(source: Source, position: int, *, after: bool) -> re.Match[str] | None:
    """A key in DJs' shorthand just after or before a tempo: "128 C", "c#m 140"; a small "a" or "b" alone is none."""
    if after:
        match = regex.short_after.match(source.raw, position)
    else:
        match = regex.short_before.search(source.raw, max(0, position - 8), position)
    if match is None or not source.free(*match.span()) or not (match["mode"] or match["note"].isupper()):
        return None
    return match


def take(source: Source, match: re.Match[str]) -> None:
    """Records the key that ``beside`` found."""
    mode: Mode | None = None if not match["mode"] else "major" if match["mode"] == "maj" else "minor"
    start, end = match.start("note"), match.end("mode")
    _add(source, start, end, (pitch_class(match["note"]) + semitones(match["acc"])) % 12, mode)


def _camelot(source: Source, match: re.Match[str]) -> None:
    start, end = match.start(), match.end()
    if not source.free(start, end):
        return
    named = match["cue"] or "camelot" in source.before(start, 30) + source.after(end, 12)
    cue = named or regex.compatible_before.search(source.before(start))
    tempo = re.match(r" \d{2,3}(?!\d)", source.after(end)) or re.search(r"\b\d{2,3} $", source.before(start))
    if match["ab"].islower() and not (cue or source.alone(start, end) or tempo):
        return
    key = _WHEEL.get(f"{int(match['n'])}{match['ab'].upper()}")
    if key is None:
        if cue:
            source.not_understood(start, end, "Camelot numbers go from 1A to 12B")
        return
    source.note(f"{source.quote(match.start('n'), end)} read as {key} (Camelot wheel)")
    _add(source, start, end, key.tonic, key.mode)


def _with_mode(source: Source, match: re.Match[str]) -> None:
    start, end = match.span()
    note, mode_word = source.raw[start], match["mode"]
    article = note in "aA" and not match["acc"] and _article(source, match)
    seventh = regex.seventh.match(source.low, end) and mode_word in ("major", "minor", "maj", "min")
    if not note.isascii() or article or seventh:
        return
    german = mode_word in ("dur", "moll")
    if note in "hH" and not german:
        source.not_understood(start, end, "H is a German note name: write B minor, or h-Moll")
        return
    flat = german and note in "bB" and not match["acc"]
    natural = 11 if note in "hH" else 10 if flat else pitch_class(note)
    tonic, mode = (natural + semitones(match["acc"])) % 12, patterns_table()["mode_name"][mode_word]
    if mode_word in patterns_table()["church_mode"]:
        source.note(f"{source.quote(start, end)}: measured as {Key(tonic, mode)}; the mode itself is compared as words")
    _add(source, start, end, tonic, mode, spoken=mode_word in patterns_table()["church_mode"])


def _article(source: Source, match: re.Match[str]) -> bool:
    """Whether the "a" of "a minor ..." is the article and not the note."""
    before, after_mode, capital = source.before(match.start()), match.end("mode"), source.raw[match.start()] == "A"
    lead = re.search(r"\b(?:key|tonality|tonic)(?:\s?[:=]|\s(?:of|is))*\s+$", before)
    inside = capital and not re.search(r"(?:^|[.!?\n])\s*$", before)
    if match["mode"] in ("dur", "moll") or lead or inside:
        return False
    noun = regex.key_noun.match(source.low, after_mode)
    return bool(noun or (not capital and regex.article_noun.match(source.low, after_mode)))


def _names(source: Source) -> None:
    """Lone chord names that stand for a key: "F#m", "in Am", "Bb" alone in its clause."""
    for match in regex.name_start.finditer(source.raw):
        name = name_at(source, match.start(), lower=match[0].islower())
        if name is None or name.spelled or not name.may_be_key or not source.free(name.start, name.end):
            continue
        if source.raw[name.end - 1] in "M-^Δ":
            continue
        written = source.raw[name.start : name.end]
        lead = regex.lead_at_end.search(source.before(name.start))
        alone = source.alone(name.start, name.end)
        sure = len(written) > 1 and written not in ("Am", "Ab", "Em", "Dm", "Cm", "Fm", "Gm", "Bm")
        letters = len(written) > 1 and written != "Am"
        if not (lead or alone or sure or (letters and not re.match(r"\s[A-Z]", source.raw[name.end : name.end + 2]))):
            continue
        transposing = rx(r"[ -]<<transposing>>").match(source.low, name.end)
        if written in ("Bb", "Eb", "Ab") and transposing and not (lead or alone):
            continue
        mode: Mode | None = "minor" if name.chord.quality == "min" else "major" if "maj" in written.lower() else None
        if not lead:
            read = "a key" if mode is None else f"the key of {Key(name.chord.root, mode)}"
            why = "" if mode is None else ": one chord name alone is taken as the key"
            source.note(f"'{written}' read as {read}{why}")
        _add(source, name.start, name.end, name.chord.root, mode)


def _bare(source: Source, match: re.Match[str]) -> None:
    start, end = match.start("note"), match.end()
    note, follows = source.raw[start], source.after(end)
    if (
        not source.free(start, end)
        or not note.isascii()
        or (match["alone"] is not None and not source.alone(start, end))
    ):
        return
    lead = match["lead"] or "key"
    named = "key" in lead or "ton" in lead
    article = False
    if note == "a" and not match["acc"]:
        article = not named or not re.match(r"\s*(?:$|[,;.!?\n)])", follows)
    elif note.islower() and not match["acc"] and not named:
        after = r"\s*(?:$|[,;.!?\n)]|(?:and|or|with|at|around|no|without|bpm|slow|fast)\b)"
        article = not re.match(after, follows)
    elif note == "A" and not match["acc"] and not named:
        article = follows[:1] == " " and bool(regex.article_noun.match(source.low, end))
    if not article:
        _add(source, start, end, (pitch_class(note) + semitones(match["acc"])) % 12, None)


def _mode_only(source: Source, match: re.Match[str]) -> None:
    start, end = match.start("mode"), match.end()
    if not source.free(start, end):
        return
    church, lead = match["mode"] in patterns_table()["church_mode"], (match["lead"] or "").split()
    if match["noun"] is None and not church:
        in_lead = lead[:1] == ["in"]
        if not (in_lead and "a" not in lead) and not source.alone(start, end):
            return
        if in_lead and re.match(r" [^\W\d_]+", source.after(end)) and regex.article_noun.match(source.low, end):
            return
    mode = patterns_table()["mode_name"][match["mode"]]
    if church:
        source.note(f"{source.quote(start, end)}: measured as {mode}, the mode itself is compared as words")
    _add(source, start, end, None, mode, spoken=church)


def _add(source: Source, start: int, end: int, tonic: int | None, mode: Mode | None, *, spoken: bool = False) -> None:
    """Records a key with the words around it: relations, compatibility, "in the key of"."""
    before = source.before(start)
    if (relation := regex.relation.search(before)) and tonic is not None:
        start -= len(relation[0])
        if relation["what"] == "relative":
            mode = mode or ("minor" if relation["to"] == "major" else "major")
            key = Key(tonic, mode).relative
            tonic, mode = key.tonic, key.mode
        else:
            mode = "minor" if relation["to"] == "minor" or (relation["to"] is None and mode == "major") else "major"
        before = source.before(start)
    compatible = False
    if match := regex.compatible_before.search(before):
        start, compatible = start - len(match[0]), True
    elif match := regex.lead_at_end.search(before):
        start -= len(match[0])
    if match := regex.or_compatible.match(source.low, end):
        end, compatible = match.end(), True
    relative = regex.or_relative.match(source.low, end)
    end = relative.end() if relative else end
    while start < end and not source.free(start, end):
        start += 1
    start += len(source.low[start:end]) - len(source.low[start:end].lstrip())
    pitch = mode is None and tonic in (10, 3) and rx(r"\b<<transposing>>s? $").search(source.before(start))
    if pitch and re.match(r" (?:and|,)", source.after(end)):
        return  # "for clarinet in B flat and piano"
    words = source.cut(start, end)
    group = 0
    if relative and tonic is not None and mode is not None:
        group = start + 1  # any number that no other group has
        other = Key(tonic, mode).relative
        constraint = InKey(text=words, tonic=other.tonic, mode=other.mode)
        source.mentions.append(Mention(start, end, "key", constraint, any_of=group))
        source.note(f"'{words}' read as {Key(tonic, mode)} or {other}")
    constraint = InKey(text=words, tonic=tonic, mode=mode, compatible=compatible)
    source.add(Mention(start, end, "key", constraint, spoken=spoken, any_of=group))
