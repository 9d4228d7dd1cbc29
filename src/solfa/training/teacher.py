"""What search says of texts and recordings without captions: a teacher, whose probabilities are trained on.

One file: texts, tracks (their content, as ``Clip.track`` of ``solfa data caption``) and the logarithm of the
probability of each track given each text. A text is a caption of clips that it is likely for; which others of a batch
it fits, and how well, the teacher says (``objectives.distilled``), so that no text is a false negative.
"""

import hashlib
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from solfa.core.clip import Clip
from solfa.core.errors import InputError
from solfa.core.files import write_whole
from solfa.core.types import FloatArray
from solfa.query import parse
from solfa.retrieval import Searcher

_OWN_SHARE = 0.2  # of the captions that are drawn of a clip, those that its data set has of it
_KEPT_AT_ONCE = 1000  # answers, a few minutes' work
_COPIES = 2  # tracks that a text is a caption of, at most


@dataclass(frozen=True, eq=False, kw_only=True)
class Teacher:
    """Log-probabilities of N tracks given each of X texts, float16 [shape=(X, N)]; tracks by their content."""

    texts: tuple[str, ...]
    tracks: tuple[str, ...]
    logs_XN: NDArray[np.float16]

    @classmethod
    def of(
        cls, texts: Iterable[str], searcher: Searcher, progress: Callable[[int, int], None], kept: Path | None = None
    ) -> "Teacher":
        """What search says of every track of a collection: its evidence, in nats, is a log-probability but for a sum.

        Names and tags count nothing; texts of which nothing is understood are left out. ``kept`` is a folder where
        answers are kept, a thousand at a time; those that are there are not asked for again. Raises InputError if
        nothing is understood.
        """
        unique, parts = list(dict.fromkeys(texts)), list[Teacher]()
        hashes = {track.id: track.hash for track in searcher.collection.tracks()}
        tracks = tuple(hashes[i] for i in searcher.collection.attributes().track_ids.tolist())
        for first in range(0, len(unique), _KEPT_AT_ONCE):
            own, file = unique[first : first + _KEPT_AT_ONCE], None if kept is None else kept / f"{first:07}.npz"
            part = None if file is None or not file.exists() else cls.load(file)
            if part is None or not set(part.texts) <= {*own} or part.tracks != tracks:
                rows = dict[str, FloatArray]()
                for done, text in enumerate(own, first + 1):
                    _, attributes, sound = searcher.evidence(replace(parse(text), words=""))
                    if np.ptp(nats := attributes + sound) > 0:
                        rows[text] = (nats - np.logaddexp.reduce(nats)).astype(np.float16)
                    progress(done, len(unique))
                logs_XN = np.array([*rows.values()], np.float16).reshape(len(rows), len(tracks))
                part = cls(texts=tuple(rows), tracks=tracks, logs_XN=logs_XN)
                if file is not None:
                    file.parent.mkdir(exist_ok=True)
                    part.save(file)
            parts.append(part)
        understood = tuple(text for part in parts for text in part.texts)
        if not understood:
            raise InputError("the teacher understands none of the texts, or has no tracks to tell apart.")
        return cls(texts=understood, tracks=tracks, logs_XN=np.concatenate([part.logs_XN for part in parts]))

    @classmethod
    def load(cls, file: Path) -> "Teacher":
        """What ``save`` wrote. Raises InputError if it is something else."""
        try:
            with file.open("rb") as stream, np.load(stream, allow_pickle=False) as kept:
                texts, tracks, logs_XN = kept["texts"].tolist(), kept["tracks"].tolist(), kept["logs_XN"]
            if logs_XN.shape != (len(texts), len(tracks)) or not np.isfinite(logs_XN).all():
                raise ValueError("numbers of another shape, or not finite")
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as bad:
            raise InputError(f"{file} is not a teacher's file ({bad}). Make it again.") from bad
        return cls(texts=tuple(texts), tracks=tuple(tracks), logs_XN=logs_XN)

    def save(self, file: Path) -> None:
        """Write the file, whole or not at all."""
        out = io.BytesIO()
        np.savez_compressed(out, texts=np.array(self.texts), tracks=np.array(self.tracks), logs_XN=self.logs_XN)
        write_whole(file, out.getvalue())

    @property
    def revision(self) -> str:
        """A hash of what it says."""
        return hashlib.sha256(repr([self.texts, self.tracks]).encode() + self.logs_XN.tobytes()).hexdigest()[:16]

    @cached_property
    def _places(self) -> tuple[dict[str, int], ...]:
        return tuple({name: i for i, name in enumerate(names)} for names in (self.tracks, self.texts))

    def pairs(self, tracks: Sequence[str], texts: Sequence[str]) -> FloatArray:
        """Log-probabilities of each track (rows) given each text, NaN where unknown [shape=(B, B)]."""
        pairs = zip(self._places, (tracks, texts), strict=True)
        i, j = (np.array([places.get(name, -1) for name in names]) for places, names in pairs)
        found: FloatArray = self.logs_XN[j[None], i[:, None]].astype(np.float32)
        found[(i[:, None] < 0) | (j[None] < 0)] = np.nan
        return found

    def captions(self, clips: Sequence[Clip], seed: int) -> list[tuple[str, ...]]:
        """Captions of clips: their own, repeated to a fifth of what is drawn, and texts that the teacher finds likely.

        Tracks are drawn by the teacher's probabilities, balanced so that all get about as many texts.
        """
        here = sorted({self._places[0][clip.track] for clip in clips if clip.track in self._places[0]})
        said: dict[str, list[str]] = {self.tracks[column]: [] for column in here}
        logs_XN, rng = self.logs_XN[:, here].astype(np.float32), np.random.default_rng(seed)
        for _ in range(20 * bool(here)):  # Sinkhorn's scaling, towards tracks of equal share
            share_N = np.exp(logs_XN - np.logaddexp.reduce(logs_XN, axis=1, keepdims=True)).mean(axis=0)
            logs_XN -= np.log(np.maximum(share_N * len(here), 1e-6))
        for _ in range(_COPIES * bool(here)):
            for text, number in zip(self.texts, (logs_XN + rng.gumbel(size=logs_XN.shape)).argmax(axis=1), strict=True):
                said[self.tracks[here[number]]].append(text)
        return [_shared(clip.captions, list(dict.fromkeys(said.get(clip.track, ())))) for clip in clips]


def _shared(own: tuple[str, ...], said: list[str]) -> tuple[str, ...]:
    times = round(_OWN_SHARE / (1 - _OWN_SHARE) * len(said) / max(1, len(own)))
    return (*own * max(1, times), *said)
