"""``solfa path``: tracks that lead from one to another."""

from pathlib import Path
from typing import Annotated

import typer

from solfa.apps.options import CollectionOption, ForceOption, JsonOption, default_collection
from solfa.apps.terminal import print_json, tell
from solfa.core.files import check_output
from solfa.core.text import clock, printable


def path(
    first: Annotated[str, typer.Argument(help="Where it begins: an indexed file, track:ID, or a hit's number.")],
    last: Annotated[str, typer.Argument(help="Where it ends, the same.")],
    steps: Annotated[int, typer.Option(min=1, max=100, help="Most tracks between them.")] = 6,
    m3u: Annotated[Path | None, typer.Option("--m3u", help="Write an M3U8 playlist (-: standard output).")] = None,
    xspf: Annotated[Path | None, typer.Option("--xspf", help="Write an XSPF playlist (-: standard output).")] = None,
    force: ForceOption = False,
    collection: CollectionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find a path of tracks from one to another, each step near in sound, tempo and key."""
    from solfa.api import open_searcher
    from solfa.apps import playlist
    from solfa.apps.render import name_of
    from solfa.collection import Collection
    from solfa.relevance.feedback import track_of
    from solfa.relevance.playlists import path as between
    from solfa.retrieval.types import Hit

    for output in filter(None, (m3u, xspf)):  # before the work
        check_output(output, force=force)
    with Collection.open(collection or default_collection()) as opened:
        ids = between(opened, open_searcher(opened), track_of(opened, first), track_of(opened, last), steps)
        rows = opened.rows(ids)
    hits = [Hit(track_id=row.id, path=row.paths[0], copies=row.paths[1:], score=0.0, start_s=0.0, end_s=row.duration_s,
                duration_s=row.duration_s, tags=row.tags, evidence=()) for row in rows]  # fmt: skip
    playlist.write(hits, m3u, xspf, force=force)
    if as_json:
        names = ("id", "paths", "tags", "duration_s", "tempo_bpm", "key")
        tracks = [{name: getattr(row, name) for name in names} for row in rows]
        print_json({"schema": "solfa.path/1", "tracks": tracks})
        return
    for number, (row, hit) in enumerate(zip(rows, hits, strict=True), 1):
        tempo = "tempo not measured" if row.tempo_bpm is None else f"{row.tempo_bpm:.1f} BPM"
        tell(f"{number:>2}. {name_of(hit)}  {tempo}  {row.key or 'key not measured'}  {clock(row.duration_s)}")
        tell(printable(f"    {hit.path}"))
