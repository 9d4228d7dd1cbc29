"""What the command line prints with ``--json`` and the server answers (``docs/json.md``), and playlists as files."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from solfa.collection import AddReport, Collection, FailedFile, Stats, TrackRow
from solfa.collection.feedback import TrackVerdict
from solfa.core.text import plain, printable
from solfa.query import Query, by_sound, is_measured
from solfa.query.source import fold
from solfa.relevance import Judge, TrackSummary, read_context, similarity
from solfa.relevance.feedback import in_force
from solfa.retrieval.types import Hit, Results

if TYPE_CHECKING:  # a search does not load it
    from solfa.language import Claim, Timeline


def results_json(results: Results) -> dict[str, Any]:
    """The answer in schema ``solfa.search/1``."""
    query = results.query
    read = {name: getattr(query, name) for name in ("phrases", "negated_phrases", "unknown", "notes")}
    constraints = [{"constraint": one.topic, **plain(one)} for one in query.constraints]
    answer: dict[str, Any] = {
        "schema": "solfa.search/1",
        "query": query.text,
        "parsed": {"lines": results.parsed, "constraints": constraints, **read},
        **{name: getattr(results, name) for name in ("note", "before", "candidates")},
        "hits": [_hit_json(hit) for hit in results.hits],
        "timing_ms": results.timing_ms,
    }
    return {name: plain(value, digits=4) for name, value in answer.items()}


def _hit_json(hit: Hit) -> dict[str, Any]:
    value: dict[str, Any] = plain(hit)
    value["tags"] = {name: tag for name, tag in value["tags"].items() if tag not in ("", None)}
    if hit.heat is not None:
        del value["heat"]["unit"]
    return value


def name_of(hit: Hit) -> str:
    """Artist and title, or the name of the file."""
    title = hit.tags.title or hit.path.stem
    return printable(f"{hit.tags.artist} - {title}" if hit.tags.artist else title)


def m3u(hits: Sequence[Hit]) -> str:
    """Text of an extended M3U playlist without the `unwritable` hits: a line break would start a new entry."""
    lines = ["#EXTM3U"]
    left_out = unwritable(hits)
    for hit in hits:
        if hit not in left_out:
            lines += [f"#EXTINF:{round(hit.duration_s)},{name_of(hit)}", str(hit.path)]
    return "\n".join(lines) + "\n"


def unwritable(hits: Sequence[Hit]) -> list[Hit]:
    """The hits whose path holds a line break, which M3U has no way to write."""
    return [hit for hit in hits if "\n" in str(hit.path) or "\r" in str(hit.path)]


def xspf(hits: Sequence[Hit]) -> str:
    """Text of an XSPF playlist; the time range of a hit is kept as an annotation."""
    root = ElementTree.Element("playlist", version="1", xmlns="http://xspf.org/ns/0/")
    tracks = ElementTree.SubElement(root, "trackList")
    for hit in hits:
        track = ElementTree.SubElement(tracks, "track")
        fields = {
            "location": hit.path.absolute().as_uri(),
            "title": hit.tags.title or hit.path.stem,
            "creator": hit.tags.artist,
            "album": hit.tags.album,
            "annotation": f"best from {hit.start_s:.0f} s to {hit.end_s:.0f} s",
            "duration": str(round(hit.duration_s * 1000)),
        }
        for name, value in fields.items():
            if value:
                ElementTree.SubElement(track, name).text = printable(value)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def csv_text(hits: Sequence[Hit]) -> str:
    """The hits as a table for spreadsheets; text that one of those would take for a formula is quoted."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(("title", "artist", "album", "duration_s", "start_s", "end_s", "score", "path"))
    for hit in hits:
        said = [hit.tags.title or hit.path.stem, hit.tags.artist, hit.tags.album]
        times = [round(value, 3) for value in (hit.duration_s, hit.start_s, hit.end_s, hit.score)]
        row = [*said, *times, str(hit.path)]
        table.writerow([_cell(value) if isinstance(value, str) else value for value in row])
    return out.getvalue()


def _cell(text: str) -> str:
    """Text of a cell.

    >>> _cell("=1+1"), _cell("Blue")
    ("'=1+1", 'Blue')
    """
    return f"'{printable(text)}" if text[:1] in "=+-@\t\r" and text else printable(text)


def hit_of(row: TrackRow) -> Hit:
    """A track with a file as a hit that nothing was asked of: its whole length. Raises IndexError if it has no file."""
    return Hit(track_id=row.id, path=row.paths[0], copies=row.paths[1:], score=0.0, start_s=0.0, end_s=row.duration_s,
               duration_s=row.duration_s, tags=row.tags, evidence=())  # fmt: skip


def status_json(directory: Path, stats: Stats, failed: Sequence[FailedFile]) -> dict[str, Any]:
    """What a collection holds, in schema ``solfa.status/1``."""
    return {"schema": "solfa.status/1", "collection": plain(directory), **plain(stats), "failed": plain([*failed])}


def index_json(directory: Path, report: AddReport) -> dict[str, Any]:
    """What an indexing run did, in schema ``solfa.index/1``."""
    return {"schema": "solfa.index/1", "collection": plain(directory), **plain(report)}


def feedback_json(collection: Collection, listed: Sequence[TrackVerdict], notes: Sequence[str]) -> dict[str, Any]:
    """Verdicts in schema ``solfa.feedback/1``, with the numbers of all that count."""
    counting = sorted(verdict.id for verdict in in_force(collection.verdicts()))
    return {"schema": "solfa.feedback/1", "verdicts": listed, "counting": counting, "notes": notes}


def description_json(
    path: Path | None, claims: "Sequence[Claim]", line: "Timeline", *, language: str = "en"
) -> dict[str, Any]:
    """A track in sentences with its timeline, in schema ``solfa.description/1``."""
    value: dict[str, Any] = plain({"schema": "solfa.description/1", "path": path, "language": language,
                                   "claims": claims, **plain(line)})  # fmt: skip
    return value


def track_json(row: TrackRow) -> dict[str, Any]:
    """One track in schema ``solfa.track/1``, with the names of ``solfa.path/1``."""
    return {"schema": "solfa.track/1", **plain(row, digits=4)}


def reading(query: Query) -> list[dict[str, Any]]:
    """How a query was read, part by part in the order of the text: what a person can change, drop or negate.

    Each part is ``{id, text, words, kind, negated, understood, span}``: the words it came from, what they ask, and
    where in the text they are (first and last+1 character, null if they are not of the text).

    >>> from solfa.query import parse
    >>> [(part["kind"], part["text"], part["span"]) for part in reading(parse("in D minor, no vocals"))]
    [('key', 'in D minor', [0, 10]), ('voice', 'no vocals', [12, 21])]
    """
    wanted, unwanted = (tuple(p for p in own if not is_measured(p, query)) for own in by_sound(query))
    parts = [(c.label, c.text, c.words(), c.negated) for c in query.constraints]
    parts += [("sound", phrase, phrase, False) for phrase in wanted]
    parts += [("sound", phrase, f"not {phrase}", True) for phrase in unwanted]
    parts += [("unknown", text, text, False) for text in query.unknown]
    found, taken, low = list[dict[str, Any]](), set[tuple[str, int]](), fold(query.text)
    for kind, text, words, negated in parts:
        at = low.find(fold(text)) if text else -1
        while (kind, at) in taken and at >= 0:
            at = low.find(fold(text), at + 1)
        taken.add((kind, at))
        span = None if at < 0 else [at, at + len(text)]
        found.append({"id": f"{kind}-{len(found)}", "text": text, "words": words, "kind": kind, "negated": negated,
                      "understood": kind != "unknown", "span": span})  # fmt: skip
    return sorted(found, key=lambda part: part["span"] or [len(low)])


COMPARED = ("tempo_bpm", "key", "metre", "genre", "energy", "mood", "instruments", "vocals", "vocal_delivery",
            "production", "timbre", "usage")  # fmt: skip


def compare_json(
    tracks: Sequence[tuple[str, TrackSummary]], judge: Judge, *, judge_name: str = "rules",
    attributes: Sequence[str] = COMPARED, context: str = "",
) -> dict[str, Any]:  # fmt: skip
    """Two tracks, each with its name, side by side in schema ``solfa.compare/1``; its parts are values of Python."""
    (a_name, a), (b_name, b) = tracks
    unread = read_context(context)[1] if context and judge_name == "rules" else ()
    verdict = judge.pairwise(context, a, b) if context else None
    return {"schema": "solfa.compare/1", "first": a_name, "second": b_name, "judge": judge_name,
            "attributes": judge.compare(a, b, attributes), "similarity": similarity(a, b), "context": context or None,
            "verdict": verdict, "not_understood": unread}  # fmt: skip
