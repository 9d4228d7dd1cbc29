"""Hits as files that players read: M3U8 (UTF-8) and XSPF 1."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from solfa.apps.render import name_of
from solfa.apps.terminal import complain
from solfa.core.files import write_output
from solfa.core.text import printable
from solfa.retrieval.types import Hit, Results

if TYPE_CHECKING:  # --help loads none of these
    from solfa.collection import Collection
    from solfa.relevance.playlists import Flow


def write(hits: Sequence[Hit], m3u_path: Path | None, xspf_path: Path | None, *, force: bool) -> None:
    """Write what has a path; hits that M3U cannot hold are named on standard error. Raises as ``write_output``."""
    if m3u_path is not None:
        write_output(m3u_path, m3u(hits), force=force)
        for hit in unwritable(hits):
            complain(f"left out of {m3u_path}, M3U cannot hold a path with a line break (XSPF can): {hit.path}")
    if xspf_path is not None:
        write_output(xspf_path, xspf(hits), force=force)


def flowing(collection: "Collection", results: Results, flow: "Flow") -> Results:
    """The hits in an order that flows; notes where an artist has to come twice in a row."""
    from solfa.relevance.playlists import flow_order

    by_id = {hit.track_id: hit for hit in results.hits}
    order, repeats = flow_order(collection, [*by_id], flow)
    if repeats:
        complain(f"one artist has most of these tracks: {repeats} times an artist comes twice in a row")
    return replace(results, hits=tuple(by_id[track_id] for track_id in order))


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
