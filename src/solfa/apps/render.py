"""Results as text for people, with rich, and as the documented JSON (``docs/json.md``)."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, TypeVar

import numpy as np
from rich.console import Console, ConsoleOptions, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from solfa.analysis.sections import sections
from solfa.constraints import NONE_FOUND, NOT_MEASURED, presence_words
from solfa.core.text import clock, plain, printable
from solfa.core.types import Analysis, Estimate, Span, TagTrack
from solfa.core.vocabulary import concept
from solfa.relevance.rerank import BUDGET_MS, stages_ms
from solfa.retrieval.alignment import TimedMap
from solfa.retrieval.types import Evidence, Hit, Results
from solfa.serve.documents import name_of

T = TypeVar("T")
_COPIES = 3  # copies of a recording that are named with a hit
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
        if "rerank" in results.timing_ms:
            budget = (f"{name} {ms:.1f} of {BUDGET_MS[name]:g}" for name, ms in stages_ms(results.timing_ms).items())
            parts.append(Text(f"ms of the published budget: {', '.join(budget)}", style="dim"))
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
    """The verdicts of a hit, as many in a line as fit."""

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
    values = found.values_RT.tolist()
    rows = [{"text": row, "values": v, "spans": s} for row, v, s in zip(found.rows, values, spans, strict=True)]
    whole = {"schema": "solfa.map/1", "unit": found.unit, "threshold": threshold, "rows": rows}
    value: dict[str, Any] = plain({**whole, "start_s": found.start_s_T.tolist(), "end_s": found.end_s}, digits=4)
    return value


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
