"""Hits as playlist files, and in the order of a playlist."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from solfa.apps.terminal import complain
from solfa.core.files import write_output
from solfa.retrieval.types import Hit, Results
from solfa.serve.documents import m3u, unwritable, xspf

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
