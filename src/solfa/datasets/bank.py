"""Phrase bank, negative phrases for a clip (FineLAP, Algorithm 1), and labels of frames.

Conventions
-----------
A cluster is a set of phrases that say the same thing: its ``phrase`` (centroid) and ``alternatives``. A bank is stored
as JSON lines, one cluster each: ``{"phrase": ..., "alternatives": [...]}`` as FineLAP publishes it (the phrase stands
among its alternatives), and here also ``related``, phrases of other clusters that may be true of a sound of this one
(a dog is an animal). Phrases are compared without regard to case and surrounding blanks. A phrase may stand in two
clusters (four of FineLAP's do); then both count as its own.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from solfa.core.errors import InputError
from solfa.core.files import write_output
from solfa.core.types import BoolArray

FINELAP_RESOLUTION_S = 10 / 64
_DECIMALS = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class Cluster:
    """Phrases that say the same; ``related`` are centroids of clusters that are no false answer to this one."""

    phrase: str
    alternatives: tuple[str, ...] = ()
    related: tuple[str, ...] = ()

    @property
    def texts(self) -> tuple[str, ...]:
        """The centroid and its alternatives."""
        return (self.phrase, *self.alternatives)


class PhraseBank:
    """Clusters in order, and which of them a phrase belongs to.

    Raises InputError if a phrase is empty or two clusters have one centroid.
    """

    def __init__(self, clusters: Iterable[Cluster]) -> None:
        self.clusters = tuple(clusters)
        self._of: dict[str, list[int]] = {}
        centroids: dict[str, int] = {}
        for i, cluster in enumerate(self.clusters):
            for text in dict.fromkeys(_plain(t) for t in cluster.texts):
                if not text:
                    raise InputError(f"phrase bank: cluster {i + 1} ({cluster.phrase!r}) holds an empty phrase.")
                self._of.setdefault(text, []).append(i)
            if centroids.setdefault(_plain(cluster.phrase), i) != i:
                raise InputError(f"phrase bank: two clusters have the centroid {cluster.phrase!r}; merge them.")
        self._near: list[frozenset[int]] = [frozenset({i}) for i in range(len(self.clusters))]
        for shared in self._of.values():
            self._relate(*shared)
        for i, cluster in enumerate(self.clusters):
            for other in cluster.related:
                if _plain(other) in centroids:
                    self._relate(i, centroids[_plain(other)])

    def _relate(self, *clusters: int) -> None:
        for i in clusters if len(clusters) > 1 else ():
            self._near[i] |= {*clusters}

    def __len__(self) -> int:
        return len(self.clusters)

    def clusters_of(self, text: str) -> tuple[int, ...]:
        """Indices of the clusters that hold this phrase; none if the bank does not know it."""
        return tuple(self._of.get(_plain(text), ()))

    def near(self, cluster: int) -> frozenset[int]:
        """Indices of a cluster and of its relatives: what must not be a negative of it.

        Relatives are those named ``related`` on either side, and those that share a phrase with it."""
        return self._near[cluster]

    def merged(self, other: "PhraseBank") -> "PhraseBank":
        """Clusters of both; those of one centroid become one."""
        found: dict[str, Cluster] = {}
        for cluster in (*self.clusters, *other.clusters):
            had = found.get(_plain(cluster.phrase))
            if had is not None:
                more = [a for a in cluster.alternatives if _plain(a) not in {_plain(t) for t in had.texts}]
                related = dict.fromkeys((*had.related, *cluster.related))
                cluster = Cluster(phrase=had.phrase, alternatives=(*had.alternatives, *more), related=tuple(related))
            found[_plain(cluster.phrase)] = cluster
        return PhraseBank(found.values())

    def save(self, path: Path, *, force: bool = False) -> None:
        """Write JSON lines; ``force`` replaces an existing file."""
        rows = [{"phrase": c.phrase, "alternatives": c.texts, "related": c.related} for c in self.clusters]
        plain = [{name: value for name, value in row.items() if value or name != "related"} for row in rows]
        write_output(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in plain), force=force)

    @classmethod
    def load(cls, path: Path) -> "PhraseBank":
        """The bank of a JSONL file, ours or FineLAP's.

        Raises InputError if the file cannot be read, or a line is not of the form; names the line.
        """
        try:
            lines = path.read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"phrase bank {path} cannot be read: {error}.") from error
        return cls(_cluster(line, f"{path}:{n}") for n, line in enumerate(lines, start=1) if line.strip())


@dataclass(frozen=True, slots=True)
class Sampled:
    """Phrases for one clip: ``stands_for[i]`` holds the indices of the positives that ``texts[i]`` refers to.

    It is empty for a negative, whose frame labels are all zero; a phrase's labels are the union of its positives'.
    """

    texts: tuple[str, ...]
    stands_for: tuple[tuple[int, ...], ...]


def sample_phrases(
    positives: Sequence[str], bank: PhraseBank, n: int, rng: np.random.Generator, *, augment: bool = True
) -> Sampled:
    """Exactly ``n`` phrases for a clip, its own first, then negatives (FineLAP, Algorithm 1).

    Positives of one cluster become one phrase. No two phrases share a cluster, and no negative is in, or related to, a
    cluster of any positive, also of those cut off because there are more than ``n``.

    The bank holds every positive. With ``augment`` each phrase is said by a random member
    of its cluster, else by the positive itself, or the centroid. Equal states of ``rng`` give equal phrases. Raises
    InputError if the bank does not know a positive, or has too few clusters left for the negatives.
    """
    groups: dict[int, list[int]] = {}
    taken: set[int] = set()
    for i, text in enumerate(positives):
        own = bank.clusters_of(text)
        if not own:
            raise InputError(f"the phrase bank does not know {text!r}; add a cluster for it.")
        groups.setdefault(own[0], []).append(i)
        taken.update(*(bank.near(c) for c in own))
    kept = list(groups.items())[:n]
    allowed = np.ones(len(bank), np.bool_)
    allowed[list(taken)] = False
    free = np.flatnonzero(allowed)
    if len(free) < n - len(kept):
        raise InputError(
            f"{n} phrases were asked for, {len(kept)} are positive and only {len(free)} of {len(bank)} clusters can "
            f"be negative; expected at least {n - len(kept)}. Use a larger bank or fewer phrases."
        )
    negatives = rng.choice(free, size=n - len(kept), replace=False).tolist()
    said = [bank.clusters[cluster].texts for cluster in (*(c for c, _ in kept), *negatives)]
    if augment:
        texts = [options[k] for options, k in zip(said, rng.integers([len(o) for o in said]).tolist(), strict=True)]
    else:
        texts = [*(positives[members[0]] for _, members in kept), *(options[0] for options in said[len(kept) :])]
    return Sampled(tuple(texts), tuple(tuple(m) for _, m in kept) + ((),) * len(negatives))


def frame_labels(
    spans_s: Iterable[tuple[float, float]], num_frames: int, resolution_s: float = FINELAP_RESOLUTION_S
) -> BoolArray:
    """Where a phrase is true [shape=(num_frames,)]: frames from floor(start / res) up to, without, floor(end / res).

    A span shorter than a frame has the frame it starts in, so that nothing vanishes. FineLAP's code takes 10 / 64 =
    0.15625 s, while its 64 patches of 16 x 10 ms are 0.16 s apart: its labels drift by up to 0.24 s over a clip. Give
    the true distance of the encoder's frames instead.

    >>> frame_labels([(0.3, 0.65), (0.91, 0.92)], 10, 0.1).astype(int).tolist()
    [0, 0, 0, 1, 1, 1, 0, 0, 0, 1]
    """
    labels = np.zeros(num_frames, np.bool_)
    for start_s, end_s in spans_s:
        first, last = (int(round(t / resolution_s, _DECIMALS)) for t in (start_s, end_s))
        labels[first : max(last, first + 1)] = True
    return labels


def _plain(text: str) -> str:
    return text.strip().casefold()


def _cluster(line: str, where: str) -> Cluster:
    try:
        row = json.loads(line)
        lists = [row.get("alternatives", []), row.get("related", [])]
        if not all(isinstance(t, str) for t in (row["phrase"], *lists[0], *lists[1])):
            raise TypeError("a phrase is not text")
    except (ValueError, KeyError, TypeError, AttributeError) as bad:
        raise InputError(
            f"{where}: not a cluster ({bad}); expected {{'phrase': text, 'alternatives': [text, ...]}}."
        ) from bad
    others = tuple(a for a in lists[0] if a != row["phrase"])
    return Cluster(phrase=row["phrase"], alternatives=others, related=tuple(lists[1]))
