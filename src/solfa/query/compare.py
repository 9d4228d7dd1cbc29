"""Comparisons: "slower than house", "not as fast as drum and bass", "heavier than trap", "rather piano than guitar".

What follows "than" or "as" is compared with, not asked for. A tempo next to a genre becomes a bound, by the usual
tempo of the genre (table ``[genre_tempo]`` in ``patterns.toml``); any other comparison is said to be not understood.
"""

from solfa.constraints import FASTEST_BPM, SLOWEST_BPM, Presence, Tempo
from solfa.query.lexis import Regexes, patterns_table
from solfa.query.source import Mention, Source

regex = Regexes("compare")


def find(source: Source) -> None:
    """Reads every comparison; those with numbers ("faster than 100") have been read by then."""
    starts: dict[int, list[Mention]] = {}
    for mention in source.mentions:
        starts.setdefault(mention.start, []).append(mention)
    ends = {m.end: m for m in source.mentions if m.constraint is not None}
    for match in regex.over.finditer(source.low):
        if match.end() in starts and source.free(*match.span("over")):  # "I prefer guitar over piano"
            source.add(Mention(*match.span("over"), "negation", cue="than", weight=0.5))
    for match in regex.than.finditer(source.low):
        other = next((m for m in starts.get(match.end(), []) if m.constraint is not None), None)
        degree = ends.get(match.start() - 1)
        number = other is None and regex.a_number.match(source.low, match.end())
        if number or not (match["how"] or match["unlike"] or regex.compares.search(source.before(match.start()))):
            continue
        if not source.free(*match.span()) and not (match["how"] and other):
            continue
        words = regex.words.match(source.low, match.end())
        start, end = match.start(), other.end if other else words.end() if words else match.end()
        usual = None
        if match["how"] in ("fast", "quick", "slow"):
            faster = match["how"] != "slow"
            usual = _usual(other)
        elif degree is not None and degree.kind == "tempo" and degree.cue == "word":
            start, faster = degree.start, "slow" not in source.low[degree.start : degree.end]
            usual = _usual(other)
        elif other is not None and match["how"] is None and regex.prefers.search(source.before(start, 80)):
            source.add(Mention(*match.span(), "negation", cue="than", weight=0.5))
            continue
        elif match["how"] is None and regex.other.search(source.before(start)):
            source.add(Mention(*match.span(), "negation", cue="exception"))
            continue
        elif degree is not None and degree.kind == "dynamics":
            start = degree.start
            if other is not None and other.kind in ("instrument", "voice"):
                end = match.end()  # "drums louder than the piano": both are there
        else:
            start = match.end("how") + 1 if match["how"] else start
        for mention in (m for position in range(start, end) for m in starts.get(position, [])):
            source.forget(mention)
        if usual is None:
            source.not_understood(start, end, "a comparison with what is not measured, or has no usual tempo")
            continue
        low, high = usual
        faster = faster != bool(match["not"])
        if match["not"] or not match["how"]:
            low, high = (high, FASTEST_BPM) if faster else (SLOWEST_BPM, low)
        text = source.cut(start, end)
        source.note(f"'{text}' read by a usual tempo of {usual[0]:g}-{usual[1]:g} BPM")
        source.add(Mention(start, end, "tempo", Tempo(text=text, low_bpm=low, high_bpm=high)))


def _usual(other: Mention | None) -> list[float] | None:
    """The usual tempo of a genre in BPM, from and to."""
    table: dict[str, list[float]] = patterns_table()["genre_tempo"]
    return table.get(other.constraint.concept) if other and isinstance(other.constraint, Presence) else None
