"""Results as text for people, with rich, and as the documented JSON (``docs/json.md``)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, fields, is_dataclass
from itertools import groupby
from typing import Any, TypeVar

import numpy as np
import typer
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from solfa.analysis.sections import sections
from solfa.constraints import NONE_FOUND, NOT_MEASURED, presence_words
from solfa.core.text import clock, printable
from solfa.core.theory import Chord
from solfa.core.types import Analysis, Estimate, FileTags, Span, TagTrack
from solfa.core.vocabulary import concept
from solfa.query import Query
from solfa.retrieval.alignment import TimedMap
from solfa.retrieval.types import Evidence, Hit, Results

T = TypeVar("T")
SEARCH_SCHEMA = "solfa.search/1"
NOTHING_DONE, SOME_FAILED, INTERRUPTED = 2, 3, 130  # exit codes
_COPIES = 3  # copies of a recording that are named beside a hit
_BLOCKS = "▁▂▃▄▅▆▇█"
_MARK = {True: ("✓", "green"), False: ("✗", "red"), None: ("?", "yellow")}


def spans_text(spans: Sequence[Span], most: int = 3) -> str:
    """``0:42-1:10, 2:00-2:31, +2 more``."""
    shown = ", ".join(f"{clock(s.start_s)}-{clock(s.end_s)}" for s in spans[:most])
    return f"{shown}, +{len(spans) - most} more" if len(spans) > most else shown


def results_text(results: Results, *, verbose: bool = False, explain: bool = False) -> Group:
    """How the query was read, then the hits: a line, the marks of the evidence, the path; all evidence if verbose."""
    parts: list[Any] = [_line(f"  {printable(line)}", "dim") for line in results.parsed]
    if results.note:
        parts.append(Text(printable(results.note), style="yellow"))
    if not results.hits and not results.before:
        parts.append(Text(f"No hits ({results.candidates} tracks passed the filters)."))
    for rank, hit in enumerate(results.hits, start=results.before + 1):
        parts.append(_hit_head(rank, hit))
        parts.append(Padding(_evidence_table(hit.evidence), (0, 0, 0, 4)) if verbose else _Marks(hit.evidence))
        parts.append(_line(f"    {printable(str(hit.path))}", "dim"))
        parts += [_line(f"    same sound: {printable(str(copy))}", "dim") for copy in hit.copies[:_COPIES]]
        if len(hit.copies) > _COPIES:
            parts.append(_line(f"    and {len(hit.copies) - _COPIES} copies more: solfa status --copies", "dim"))
    if explain:
        stages = ", ".join(f"{name} {ms:.1f}" for name, ms in results.timing_ms.items())
        parts.append(Text(f"{results.candidates} tracks passed the filters; ms: {stages}", style="dim"))
    return Group(*parts)


def _hit_head(rank: int, hit: Hit) -> Text:
    head = _line(f"{rank:>2}. ", "bold")
    head.append(name_of(hit), style="bold")
    head.append(f"  {hit.score:.2f}", style="cyan")
    head.append(f"  {clock(hit.start_s)}-{clock(hit.end_s)} of {clock(hit.duration_s)}")
    if hit.more:
        head.append(f"  (+{hit.more} alike)", style="dim")
    if hit.heat is not None:
        head.append(f"  {heat_line(hit.heat.values)}", style="magenta")
    return head


def _line(text: str, style: str = "") -> Text:
    """A line that is left to the terminal to wrap: a path that is broken by us cannot be copied."""
    return Text(text, style=style, no_wrap=True, overflow="ignore")


class _Marks:
    """The verdicts of a hit beside each other, as many in a line as fit."""

    def __init__(self, evidence: Iterable[Evidence]) -> None:
        self._marks = [Text.assemble((mark, style), f" {_short(item)}") for item in evidence
                       for mark, style in (_MARK[item.satisfied],)]  # fmt: skip

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        line = _line("   ")
        for mark in self._marks:
            if len(line) > 3 and line.cell_len + mark.cell_len + 2 > options.max_width and console.is_terminal:
                yield line
                line = _line("   ")
            line.append(" " if len(line) == 3 else "  ").append_text(mark)
        if self._marks:
            yield line


def _short(item: Evidence) -> str:
    """What was measured; where a value does not say what it is about, after what was asked.

    >>> _short(Evidence(constraint="voice", asked="no vocals", measured="present", confidence=0.9, satisfied=False))
    'no vocals: present'
    >>> _short(Evidence(constraint="chords", asked="A:min", measured="none found", confidence=0.9, satisfied=False))
    'chords: none found'
    """
    if item.constraint in ("tempo", "key", "metre", "duration", "chords"):
        is_value = item.confidence > 0 and item.measured != NONE_FOUND
        return printable(item.measured if is_value else f"{item.constraint}: {item.measured}")
    asked = f"'{item.asked}'" if item.constraint == "name" else f"{item.asked}:"
    return printable(f"{asked} {item.measured}")


def heat_line(values: Sequence[float], width: int = 32) -> str:
    """Values as a line of blocks, each the highest of its part; from the lowest to the highest of the line.

    >>> heat_line([0.0, 1.0, 2.0, 8.0])
    '▁▁▂█'
    """
    parts = np.array_split(np.asarray(values, np.float64), min(width, len(values))) if len(values) else []
    highs = np.array([part.max() for part in parts])
    span = float(np.ptp(highs)) if len(highs) else 0.0
    levels = (highs - highs.min()) / span * 7 if span > 0 else np.zeros(len(highs))
    return "".join(_BLOCKS[int(level)] for level in levels)


def map_text(found: TimedMap, width: int = 64) -> Table:
    """Rows of words or phrases over time, each as a line of blocks with its highest value and where that is."""
    table = Table.grid(padding=(0, 1))
    for row, values in zip(found.rows, found.values_RT, strict=True):
        best = int(values.argmax())
        place = f"{values[best]:.2f} at {clock(float(found.start_s_T[best]))}"
        table.add_row(Text(printable(row[:32])), Text(heat_line(values.tolist(), width), style="magenta"), Text(place))
    table.add_row("", Text(f"0:00 to {clock(found.end_s)}; highest {found.unit}", style="dim"), "")
    return table


def map_json(found: TimedMap, threshold: float | None) -> dict[str, Any]:
    """The map in schema ``solfa.map/1``, with the stretches of time above a threshold if there is one."""
    spans = [()] * len(found.rows) if threshold is None else found.spans(threshold)
    return {
        "schema": "solfa.map/1",
        "unit": found.unit,
        "threshold": threshold,
        "start_s": [round(s, 3) for s in found.start_s_T.tolist()],
        "end_s": round(found.end_s, 3),
        "rows": [
            {"text": row, "values": [round(v, 4) for v in values.tolist()], "spans": [_span_json(s) for s in own]}
            for row, values, own in zip(found.rows, found.values_RT, spans, strict=True)
        ],
    }


def _span_json(span: Span) -> dict[str, float]:
    return {"start_s": round(span.start_s, 3), "end_s": round(span.end_s, 3), "confidence": round(span.confidence, 4)}


def _evidence_table(evidence: Iterable[Evidence]) -> Table:
    table = Table.grid(padding=(0, 1))
    for item in evidence:
        mark, style = _MARK[item.satisfied]
        measured = f"→ {item.measured} ({item.confidence:.2f})" if item.confidence else f"→ {item.measured}"
        asked = Text(printable(f"{item.constraint}: {item.asked}"))
        table.add_row(
            Text(mark, style=style), asked, Text(printable(measured)), Text(spans_text(item.spans), style="dim")
        )
    return table


def results_json(results: Results) -> dict[str, Any]:
    """The answer in schema ``solfa.search/1``."""
    return {
        "schema": SEARCH_SCHEMA,
        "query": results.query.text,
        "parsed": {"lines": list(results.parsed), **query_json(results.query)},
        "note": results.note,
        "before": results.before,
        "candidates": results.candidates,
        "hits": [_hit_json(hit) for hit in results.hits],
        "timing_ms": {name: round(ms, 3) for name, ms in results.timing_ms.items()},
    }


def query_json(query: Query) -> dict[str, Any]:
    """How a query was read: every constraint with its fields, and the rest."""
    return {
        "constraints": [
            {
                "constraint": constraint.topic,
                **{name: _value(getattr(constraint, name)) for name in _fields(constraint)},
            }
            for constraint in query.constraints
        ],
        "phrases": list(query.phrases),
        "negated_phrases": list(query.negated_phrases),
        "unknown": list(query.unknown),
        "notes": list(query.notes),
    }


def _fields(value: Any) -> list[str]:
    return [field.name for field in fields(value)]


def _value(value: Any) -> Any:
    if isinstance(value, Chord):
        return str(value)
    if isinstance(value, tuple):
        return [_value(item) for item in value]
    return {name: _value(getattr(value, name)) for name in _fields(value)} if is_dataclass(value) else value


def _hit_json(hit: Hit) -> dict[str, Any]:
    return {
        "track_id": hit.track_id,
        # A name that is not valid Unicode is shown with replacement characters: JSON has no bytes.
        "path": str(hit.path).encode("utf-8", "replace").decode("utf-8"),
        "score": round(hit.score, 6),
        "start_s": round(hit.start_s, 3),
        "end_s": round(hit.end_s, 3),
        "duration_s": round(hit.duration_s, 3),
        "tags": tags_json(hit.tags),
        "evidence": [
            {
                "constraint": e.constraint,
                "asked": e.asked,
                "measured": e.measured,
                "confidence": round(e.confidence, 4),
                "satisfied": e.satisfied,
                "spans": [_span_json(span) for span in e.spans],
                "words": [asdict(match) for match in e.words],
            }
            for e in hit.evidence
        ],
        "more": hit.more,
        "copies": [str(path).encode("utf-8", "replace").decode() for path in hit.copies],
        "heat": None if hit.heat is None else {"hop_s": hit.heat.hop_s, "values": list(hit.heat.values)},
    }


def tags_json(tags: FileTags) -> dict[str, Any]:
    """The tags that are there."""
    values = {name: getattr(tags, name) for name in _fields(tags)}
    return {name: value for name, value in values.items() if value not in ("", None)}


def analysis_text(analysis: Analysis) -> Group:
    """An analysis as a short sheet."""
    table = Table.grid(padding=(0, 2))

    def row(name: str, value: str) -> None:
        table.add_row(Text(name, style="bold"), Text(value))

    row("duration", clock(analysis.duration_s))
    row("tempo", _estimate(analysis.tempo_bpm, "{:.1f} BPM".format))
    counts = f"; {len(analysis.beats_s)} beats, {len(analysis.downbeats_s)} bars" if analysis.beats_s else ""
    row("metre", _estimate(analysis.metre, str) + counts)
    row("key", _estimate(analysis.key, str))
    row("chords", " ".join(c.label for c in analysis.chords[:16]) + (" …" if len(analysis.chords) > 16 else ""))
    starts = [clock(section.start_s) for section in sections(analysis)]
    row("sections", f"{len(starts)}, at {' '.join(starts)}")
    loudness = analysis.loudness_lufs
    row("loudness", "silence" if loudness.value is None else f"{loudness.value:.1f} LUFS")
    voice, said = analysis.voice, presence_words(analysis.voice.confidence)
    row("voice", f"{said} ({voice.confidence if said != NONE_FOUND else 1 - voice.confidence:.2f})"
                 + (f"  {spans_text(voice.spans)}" if voice.spans and said != NONE_FOUND else ""))  # fmt: skip
    for name in ("instruments", "genres", "moods", "sounds"):
        row(name, _tags_line(getattr(analysis, name)))
    return Group(table)


def _estimate(estimate: Estimate[T], show: Callable[[T], str]) -> str:
    """``120.0 BPM (0.93), or 60.0 BPM (0.04), 240.0 BPM (0.01)``, in the words of a search."""
    if estimate.value is None:
        return NOT_MEASURED
    others = [f"{show(a.value)} ({a.confidence:.2f})" for a in estimate.alternatives[:3] if a.confidence >= 0.01]
    return f"{show(estimate.value)} ({estimate.confidence:.2f})" + (f", or {', '.join(others)}" if others else "")


def _tags_line(tags: Sequence[TagTrack], most: int = 8) -> str:
    """``present: piano (0.91); may be present: house (0.46)``, the surest ones."""
    surest = sorted(tags, key=lambda t: (-t.confidence, t.concept))[:most]
    parts = []
    for said, group in groupby(surest, key=lambda tag: presence_words(tag.confidence)):
        if said != NONE_FOUND:
            parts.append(f"{said}: " + ", ".join(f"{concept(t.concept).title} ({t.confidence:.2f})" for t in group))
    return "; ".join(parts) or NONE_FOUND


def name_of(hit: Hit) -> str:
    """Artist and title, or the name of the file."""
    title = hit.tags.title or hit.path.stem
    return printable(f"{hit.tags.artist} - {title}" if hit.tags.artist else title)


def console(stderr: bool = False) -> Console:
    """A console that breaks no line: terminals do, and a path stays one word. Tables go through ``show``."""
    made = Console(stderr=stderr, highlight=False, soft_wrap=True)
    return made if made.is_terminal else Console(stderr=stderr, highlight=False, width=200, soft_wrap=True)


def tell(line: str) -> None:
    """Print one line as it is: no markup, not wrapped."""
    console().print(line, markup=False)


def complain(message: str) -> None:
    """One line on standard error."""
    typer.echo(f"solfa: {printable(message)}", err=True)


def show(renderable: RenderableType) -> None:
    """Print it; without the blanks that pad tables when the output goes to a pipe."""
    out = console()
    if out.is_terminal:
        out.print(renderable, crop=False, soft_wrap=False)
        return
    with out.capture() as captured:
        out.print(renderable, crop=False)
    sys.stdout.write("".join(line.rstrip() + "\n" for line in captured.get().splitlines()))
