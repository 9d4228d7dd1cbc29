"""Data sets on disk: webdataset tars, each with an index, so that any clip can be read at once without unpacking.

::

    FOLDER/dataset.json            name, configuration, seed, revision, shards; written last
    FOLDER/train/000000.tar        ID.json (the Clip), ID.flac (or another format), ID.jams (exact truth, if any)
    FOLDER/train/000000.index.json sha256 of the tar, where each member is, what failed on the way
    FOLDER/val/ ... FOLDER/test/ ...

Reading opens the tar for each member: some 20 µs, next to milliseconds of decoding, and in return a ``Dataset`` holds
no file open, can be sent to other processes and used by many threads.
"""

import hashlib
import io
import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from solfa.audio import stretches
from solfa.core.annotation import MusicAnnotation, jams_of, parse_jams
from solfa.core.clip import SPLITS, Clip
from solfa.core.errors import InputError, UnknownName
from solfa.core.files import file_hash, whole_file, write_whole
from solfa.core.types import Audio, FloatArray
from solfa.datasets import tar
from solfa.jobs import heartbeat

SCHEMA, SHARD_SCHEMA = "solfa.dataset/1", "solfa.shard/1"
_SHARD_FILE = re.compile(rf"({'|'.join(SPLITS)})/\d{{6}}\.tar")
_MAX_JSON_BYTES = 1 << 30


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One clip on its way into a shard.

    The ``audio`` of ``record`` is set when it is written. Sound is the encoded file as it is (``audio_bytes``), or
    ``samples`` to encode in 16 bits, float32 [shape=(N,) or (N, channels)] within -1..1; ``format`` is the ending
    of the audio member (flac, wav, mp3, ogg, opus, m4a, ...; flac or wav of samples).
    """

    record: Clip
    audio_bytes: bytes | None = None
    samples: FloatArray | None = None
    sample_rate_hz: int = 0
    format: str = "flac"


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """Something that came to nothing on the way into a shard: what, and why (a short clause)."""

    item: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardIndex:
    """The members of one tar.

    ``members`` has, for each record id in order, the place of each of its files by ending. ``audio_sha256`` is over the
    sound alone, ``records_sha256`` over the records alone: what hangs on one of them need not be made again for the
    other. ``config_hash`` names what the shard was made from.
    """

    sha256: str
    audio_sha256: str
    records_sha256: str
    size_bytes: int
    duration_s: float
    config_hash: str
    members: Mapping[str, Mapping[str, tar.Extent]]
    failures: tuple[Failure, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {"schema": SHARD_SCHEMA, **values, "failures": [[f.item, f.reason] for f in self.failures]}

    @classmethod
    def read(cls, path: Path) -> "ShardIndex":
        """The index of a tar. Raises InputError if it is missing or not of the schema."""
        file = index_path(path)
        data = read_json(file, SHARD_SCHEMA)
        try:
            data["members"] = {
                str(name): {str(ending): tar.Extent(int(at), int(size)) for ending, (at, size) in places.items()}
                for name, places in data["members"].items()
            }
            data["failures"] = tuple(Failure(item=str(i), reason=str(r)) for i, r in data["failures"])
            return cls(**{name: value for name, value in data.items() if name != "schema"})
        except (TypeError, KeyError, ValueError, AttributeError, OverflowError) as bad:
            raise InputError(f"{file}: not of the form {SHARD_SCHEMA} ({bad}). Make the shard again.") from bad


def index_path(shard: Path) -> Path:
    """``000000.index.json`` of ``000000.tar``."""
    return shard.with_name(f"{shard.stem}.index.json")


def read_json(path: Path, schema: str) -> dict[str, Any]:
    """The JSON object in a file.

    Raises InputError if it is missing, not JSON, larger than 1 GiB, or of another schema.
    """
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise InputError(f"{path} is larger than 1 GiB; not a {schema}.")
        data = json.loads(path.read_bytes())
    except OSError as bad:
        raise InputError(f"{path} cannot be read: {bad.strerror}.") from bad
    except (ValueError, RecursionError) as bad:
        raise InputError(f"{path} is not JSON ({bad}).") from bad
    if not isinstance(data, dict) or data.get("schema") != schema:
        raise InputError(f"{path} is not of the schema {schema}.")
    return data


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """The value as JSON, whole or not at all."""
    write_whole(path, json.dumps(value, ensure_ascii=False, allow_nan=False).encode())


def write_shard(path: Path, items: Iterable[Member | Failure], *, config_hash: str = "") -> ShardIndex:
    """Write a tar and its index, both or neither; the same members give the same bytes.

    ``path`` is ``.../000000.tar``, its folder is made. ``items`` are the clips in order, and what failed between
    them, which is kept in the index; ``config_hash`` is what the shard was made from. Raises InputError if an id
    comes twice or is longer than 95 characters, samples are not finite, louder than 1 or not as long as their record
    says, or a value is not JSON.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    members: dict[str, dict[str, tar.Extent]] = {}
    failures, duration_s, sound, records = [], 0.0, hashlib.sha256(), hashlib.sha256()
    with whole_file(path) as file:
        for item in items:
            heartbeat()
            if isinstance(item, Failure):
                failures.append(item)
                continue
            record = item.record
            if record.id in members:
                raise InputError(f"{path}: two records are called {record.id!r}.")
            parts = _parts(item)
            members[record.id] = {e: tar.append(file, f"{record.id}.{e}", data) for e, data in parts.items()}
            sound.update(f"{record.id} {record.start_s!r} {record.duration_s!r} ".encode())
            sound.update(hashlib.sha256(parts[item.format]).digest())
            records.update(hashlib.sha256(parts["json"]).digest())
            duration_s += record.duration_s
        tar.finish(file)
        size = file.tell()
        # The index comes last: a shard without one is not there. An old one must not refer to the new tar.
        index_path(path).unlink(missing_ok=True)
    index = ShardIndex(
        sha256=file_hash(path), audio_sha256=sound.hexdigest(), records_sha256=records.hexdigest(), size_bytes=size,
        duration_s=duration_s, config_hash=config_hash, members=members, failures=tuple(failures),
    )  # fmt: skip
    write_json(index_path(path), index.to_json())
    return index


def _parts(member: Member) -> dict[str, bytes]:
    record = member.record
    sound = member.audio_bytes or _encoded(member)
    document = replace(record, audio=Path(f"{record.id}.{member.format}")).to_json()
    parts = {"json": _json_bytes(record.id, document), member.format: sound}
    if record.annotation is not None:
        parts["jams"] = _json_bytes(record.id, jams_of(record.annotation, tool="solfa"))
    return parts


def _json_bytes(name: str, value: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError) as bad:
        raise InputError(f"record {name}: holds values that are not plain JSON ({bad}).") from bad


def _encoded(member: Member) -> bytes:
    import soundfile

    record, samples = member.record, member.samples
    assert samples is not None
    peak = float(np.abs(samples).max(initial=0.0))
    if not peak <= 1.001:  # also true of NaN
        raise InputError(f"record {record.id}: samples reach {peak}; expected -1..1.")
    length_s = len(samples) / member.sample_rate_hz
    if abs(length_s - record.duration_s) > 0.002:
        raise InputError(f"record {record.id}: {length_s:.4f} s of samples, its record says {record.duration_s:.4f} s.")
    buffer = io.BytesIO()
    nearest = np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int16)  # of wav, libsndfile takes the lower
    soundfile.write(buffer, nearest, member.sample_rate_hz, "PCM_16", format=member.format.upper())
    return buffer.getvalue()


@dataclass(frozen=True, eq=False, slots=True)
class Shard:
    """One tar and its index."""

    path: Path
    split: str
    index: ShardIndex

    def read(self, name: str, ending: str) -> bytes:
        """The bytes of ``NAME.ENDING``.

        Raises InputError if there is no such member, or the tar is not what the index says.
        """
        place = self.index.members.get(name, {}).get(ending)
        if place is None:
            raise InputError(f"{self.path}: holds no {name}.{ending}.")
        return tar.read(self.path, f"{name}.{ending}", place)

    def record(self, name: str) -> Clip:
        """The record called ``name``.

        Raises InputError if it is missing or not a record of that name and split, with sound in this shard.
        """
        try:
            record = Clip.from_json(json.loads(self.read(name, "json")))
        except (ValueError, RecursionError) as bad:
            raise InputError(f"{self.path}: {name}.json: {bad}") from bad
        sounds = [f"{name}.{ending}" for ending in self.index.members[name]]
        if (record.id, record.split or self.split) != (name, self.split) or str(record.audio) not in sounds:
            raise InputError(f"{self.path}: {name}.json is of {record.id!r}, {record.split!r}, sound {record.audio!r}.")
        return record if record.split else replace(record, split=self.split)

    def sound(self, record: Clip) -> bytes:
        """The clip's sound file. Raises InputError as ``read``."""
        return self.read(record.id, str(record.audio).rpartition(".")[2])

    def audio(self, record: Clip) -> Audio:
        """The clip's sound, mono at its own sample rate. Raises DecodeError if its bytes are not sound."""
        (whole,) = stretches(f"{self.path}/{record.audio}", 1e9, data=self.sound(record))
        start = round(record.start_s * whole.sample_rate_hz)
        if start == 0 and record.duration_s >= whole.duration_s:
            return whole
        end = start + round(record.duration_s * whole.sample_rate_hz)
        return Audio(whole.samples[start:end], whole.sample_rate_hz)

    def annotation(self, record: Clip) -> MusicAnnotation | None:
        """The exact truth of its music, None where there is none.

        Raises InputError if it is not JAMS of the expected shape.
        """
        if "jams" not in self.index.members[record.id]:
            return None
        return parse_jams(self.read(record.id, "jams"), f"{self.path}/{record.id}.jams")


@dataclass(frozen=True, eq=False)
class Dataset:
    """A finished data set. Holds the indexes in memory, no file open; safe to share between threads and processes."""

    folder: Path
    manifest: Mapping[str, Any]
    shards: tuple[Shard, ...]
    _where: Mapping[str, Shard] = field(repr=False)

    @classmethod
    def open(cls, folder: Path | str) -> "Dataset":
        """The data set in a folder.

        Raises InputError if it is not one, is not finished, or its parts do not belong together.
        """
        folder = Path(folder)
        if not (folder / "dataset.json").is_file():
            begun = (folder / "building.json").exists()
            advice = " It was not finished: run the same command again." if begun else ""
            raise InputError(f"{folder} is not a data set: it has no dataset.json.{advice}")
        manifest = read_json(folder / "dataset.json", SCHEMA)
        try:
            hashes = {str(entry["file"]): entry["sha256"] for entry in manifest["shards"]}
        except (KeyError, TypeError) as bad:
            raise InputError(f"{folder}/dataset.json is not of the form {SCHEMA} ({bad}).") from bad
        shards, where = [], {}
        for name, sha256 in hashes.items():
            if not _SHARD_FILE.fullmatch(name):
                raise InputError(f"{folder}/dataset.json: {name!r} is not a shard name such as train/000000.tar.")
            if not (folder / name).is_file():
                raise InputError(f"{folder}/{name} is missing. Run the same command again.")
            shard = Shard(folder / name, name.partition("/")[0], ShardIndex.read(folder / name))
            if shard.index.sha256 != sha256:
                raise InputError(f"{folder}/{name}: its index is of another data set. Run the same command again.")
            for record in shard.index.members:
                if record in where:
                    raise InputError(f"{folder}: two records are called {record!r}.")
                where[record] = shard
            shards.append(shard)
        return cls(folder, manifest, tuple(shards), where)

    @property
    def name(self) -> str:
        """What it is called."""
        return str(self.manifest.get("name", ""))

    @property
    def revision(self) -> str:
        """A hash of all its shards: equal revisions are equal data."""
        return str(self.manifest.get("revision", ""))

    def split(self, name: str) -> "Clips":
        """The records of ``train``, ``val`` or ``test``, in order; each is read when it is asked for.

        Raises UnknownName if there is no such split.
        """
        if name not in SPLITS:
            raise UnknownName("split", name, SPLITS)
        return Clips([s for s in self.shards if s.split == name])

    def shard_of(self, name: str) -> Shard:
        """Where the record called ``name`` is. Raises UnknownName if there is none."""
        if name not in self._where:
            raise UnknownName("record", name, ())
        return self._where[name]

    def audio(self, record: Clip) -> Audio:
        """The clip's sound (``Shard.audio``)."""
        return self.shard_of(record.id).audio(record)

    def annotation(self, record: Clip) -> MusicAnnotation | None:
        """The exact truth of its music, None where there is none (``Shard.annotation``)."""
        return self.shard_of(record.id).annotation(record)


class Clips:
    """The records of some shards, of one data set or several, read from disk one by one."""

    def __init__(self, shards: Sequence[Shard]) -> None:
        self.shards = tuple(shards)
        self.ids: tuple[str, ...] = tuple(name for shard in self.shards for name in shard.index.members)
        self._ends = list(accumulate(len(s.index.members) for s in self.shards))

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, at: int) -> Clip:
        return self.shard_at(at).record(self.ids[at])

    def shard_at(self, at: int) -> Shard:
        """Where record number ``at`` is."""
        return self.shards[bisect_right(self._ends, range(len(self))[at])]

    def __iter__(self) -> Iterator[Clip]:
        for shard in self.shards:
            for name in shard.index.members:
                yield shard.record(name)
