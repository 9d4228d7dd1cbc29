"""What a person says of hits: verdicts with what was searched for, kept in the collection."""

import json
import os
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from solfa.collection import Collection
from solfa.collection.feedback import Sought, TrackVerdict
from solfa.core.errors import CollectionError, InputError
from solfa.core.files import whole_file
from solfa.retrieval import Results

_LAST = "last-search.json"


def remember(collection: Collection, results: Results, sought: Sought) -> None:
    """Keep a search as the last one of its collection, for its owner alone, where its folder can be written."""
    sought = replace(sought, examples=tuple(os.path.abspath(name) for name in sought.examples))  # noqa: PTH100
    hashes = [row.hash for row in collection.rows([hit.track_id for hit in results.hits])]  # ids differ elsewhere
    last = {"sought": asdict(sought), "space": results.space, "first": results.before + 1, "hashes": hashes}
    with suppress(OSError), whole_file(collection.directory / _LAST) as file:  # ``last_search`` says if it failed
        file.write(json.dumps(last).encode())
        Path(file.name).chmod(0o600)


def last_search(collection: Collection) -> tuple[Sought, str, int, list[str]]:
    """What was searched for last, in which space, and the number and content hashes of the hits.

    Raises CollectionError if that was not kept or cannot be read.
    """
    path = collection.directory / _LAST
    try:
        last: dict[str, Any] = json.loads(path.read_bytes())
        hashes = [str(content) for content in last["hashes"]]
        return Sought.read(json.dumps(last["sought"])), str(last["space"]), int(last["first"]), hashes
    except FileNotFoundError:
        why = "" if os.access(collection.directory, os.W_OK) else ": the collection is read-only"
        raise CollectionError(f"no search is remembered{why}. Search first, or give a path and --query.") from None
    except (OSError, ValueError, LookupError, TypeError):
        raise CollectionError(f"{path} cannot be read. Search again, or give a path and --query.") from None


def give(
    collection: Collection, hits: Sequence[str], is_good: bool, *, query: str | None = None, context: str | None = None
) -> tuple[list[TrackVerdict], list[str]]:
    """Keep a verdict on each hit: the number of a hit of the last search, ``track:ID``, or the path of an indexed file.

    It is about the last search, or about ``query`` and ``context`` (what the music is for). Of contradicting verdicts
    on one track for one search all are kept and the latest counts; what is said twice is kept once. Returns the new
    verdicts, and notes on what was said before.

    Raises InputError if there is no such hit or track, its file is gone, or nothing says what was searched for (none is
    kept then); CollectionBusy if another process is writing.
    """
    sought, space = Sought(query=query or "", context=context or ""), ""
    if sought == Sought() or any(hit.isdecimal() for hit in hits):
        last, space, *_ = last_search(collection)
        sought = last if sought == Sought() else sought
    if sought == Sought():
        raise InputError(
            "the last search had filters only. Say what the verdict is about: --query TEXT or --for CONTEXT."
        )
    before = {v.track_id: v for v in in_force(collection.verdicts()) if v.sought == sought}
    new, notes = [], []
    for track_id in dict.fromkeys(track_of(collection, hit) for hit in hits):
        old = before.get(track_id)
        if old is not None:
            now = "nothing changes" if old.is_good == is_good else "the new verdict counts, both are kept"
            said = "good" if old.is_good else "bad"
            notes.append(f"{name_of(collection, track_id)} was {said} for this search (verdict {old.id}): {now}")
        if old is None or old.is_good != is_good:
            new.append(TrackVerdict(track_id=track_id, is_good=is_good, sought=sought, space=space, time_s=time.time()))
    if new:
        collection.change_verdicts(new)
        new = collection.verdicts()[-len(new) :]
    return new, notes


def in_force(verdicts: Iterable[TrackVerdict]) -> list[TrackVerdict]:
    """The latest verdict on each track for each search, the oldest first."""
    latest = {(v.track_id, v.sought): v for v in sorted(verdicts, key=lambda v: v.id)}
    return sorted(latest.values(), key=lambda v: v.id)


def name_of(collection: Collection, track_id: int) -> str:
    """Artist and title of a track, or the name of its file, or that there is none."""
    row = collection.track(track_id)
    title = row.tags.title or (row.paths[0].stem if row.paths else f"track:{track_id} (its file is gone)")
    return f"{row.tags.artist} - {title}" if row.tags.artist else title


def track_of(collection: Collection, hit: str) -> int:
    """The id of a track by its number in the last search, ``track:ID``, or path. Raises InputError if there is none."""
    kind, _, number = hit.rpartition(":")
    if hit.isdecimal():
        _, _, first, shown = last_search(collection)
        if not 0 <= as_number(hit) - first < len(shown):
            there = f"it had {first} to {first + len(shown) - 1}" if shown else "it had none"
            raise InputError(f"no hit {hit} in the last search: {there}. Give another number, track:ID or a path.")
        of_content = collection.find(shown[as_number(hit) - first])
        if of_content is None:
            raise InputError(f"hit {hit} of the last search is not in this collection. Search again, or give a path.")
        found = of_content
    elif kind == "track" and number.isdecimal():
        found = as_number(number)
    elif (at := collection.at(hit)) is not None:
        found = at
    else:
        raise InputError(f"{hit} is not in the collection. Index it first: solfa index {hit}")
    if not collection.track(found).paths:
        raise InputError(f"the file of track:{found} is gone; a verdict on it would change no search. Index it again.")
    return found


def as_number(digits: str) -> int:
    """The number, at most the largest that a database holds."""
    return int(digits) if len(digits) < 19 else 2**63 - 1
