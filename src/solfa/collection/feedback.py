"""What a person said of tracks, and the head that was learnt from it, as the database holds them."""

import json
import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from solfa.collection.database import transaction
from solfa.core.errors import InputError
from solfa.core.types import FloatArray

HEADED = "+head."  # between the name of a space and the hash of the head that leads away from it


@dataclass(frozen=True, kw_only=True, slots=True)
class Sought:
    """What was searched for: text, example sounds as they were given (``FILE`` or ``FILE@0:30-0:50``), and what for."""

    query: str = ""
    examples: tuple[str, ...] = ()
    context: str = ""

    @classmethod
    def read(cls, text: str) -> "Sought":
        """What ``write`` wrote. Raises ValueError, LookupError or TypeError if it is something else."""
        value = json.loads(text)
        return cls(query=str(value["query"]), examples=(*map(str, value["examples"]),), context=str(value["context"]))

    def write(self) -> str:
        """As JSON; one text for one search."""
        return json.dumps(asdict(self))


@dataclass(frozen=True, kw_only=True, slots=True)
class TrackVerdict:
    """What a person said of a track as an answer, in which space it was found, at which Unix time; ``id`` 0 if new."""

    track_id: int
    is_good: bool
    sought: Sought
    space: str = ""
    time_s: float = 0.0
    id: int = 0


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class StoredHead:
    """A linear map from the vectors of a space, ``base``, to those of another [shape=(D, D)]; how it was evaluated."""

    base: str
    space: str
    weights_DD: FloatArray
    report: str

    def apply(self, rows_ND: NDArray[np.generic]) -> FloatArray:
        """Vectors of ``base`` as unit vectors of ``space``; zeros stay zeros [same shape]."""
        moved = np.asarray(rows_ND, np.float32) @ self.weights_DD.T
        return np.asarray(moved / np.maximum(np.linalg.norm(moved, axis=-1, keepdims=True), 1e-9))


def verdicts(db: sqlite3.Connection) -> list[TrackVerdict]:
    """All of them, the oldest first."""
    rows = db.execute("SELECT id, track_id, is_good, sought, space, time_s FROM verdict ORDER BY id")
    return [TrackVerdict(id=number, track_id=track_id, is_good=bool(good), sought=Sought.read(sought), space=space,
                         time_s=time_s) for number, track_id, good, sought, space, time_s in rows]  # fmt: skip


def change(db: sqlite3.Connection, new: Sequence[TrackVerdict], removed: Iterable[int]) -> None:
    """Keep new verdicts and delete old ones, all or nothing. Raises InputError if one of those does not exist."""
    with transaction(db):
        for number in removed:
            if not db.execute("DELETE FROM verdict WHERE id = ?", (number,)).rowcount:
                raise InputError(f"no verdict {number}. List them with: solfa feedback list")
        db.executemany("INSERT INTO verdict (track_id, is_good, sought, space, time_s) VALUES (?,?,?,?,?)",
                       [(v.track_id, int(v.is_good), v.sought.write(), v.space, v.time_s) for v in new])  # fmt: skip


def head(db: sqlite3.Connection) -> StoredHead | None:
    """The head in force. Raises ValueError if it is not what was written."""
    row = db.execute("SELECT base, space, weights, report, crc FROM head").fetchone()
    return None if row is None else read_head(*row)


def read_head(base: str, space: str, packed: bytes, report: str, crc: int) -> StoredHead:
    """A head as the database holds it. Raises ValueError if it is not what was written."""
    weights = np.frombuffer(packed, np.float32)
    if _crc(base, space, packed, report) != crc:
        raise ValueError("the learnt head is not what was written")
    dim = round(len(weights) ** 0.5)
    return StoredHead(base=base, space=space, weights_DD=weights.reshape(dim, dim), report=report)


def put_head(db: sqlite3.Connection, new: StoredHead | None) -> None:
    """Put a head in force, or none, within a transaction; what other heads led to is forgotten."""
    db.execute("DELETE FROM space WHERE name LIKE ? AND name <> ?", (f"%{HEADED}%", new.space if new else ""))
    db.execute("DELETE FROM head")
    if new is not None:
        row = new.base, new.space, np.ascontiguousarray(new.weights_DD, np.float32).tobytes(), new.report
        db.execute("INSERT INTO head (base, space, weights, report, crc) VALUES (?,?,?,?,?)", (*row, _crc(*row)))


def _crc(base: str, space: str, packed: bytes, report: str) -> int:
    return zlib.crc32("\0".join(map(str, (base, space, report))).encode("utf-8", "replace"), zlib.crc32(packed))
