"""From verdicts and judges to what a collection is searched with: judge, mine, tune, evaluate, re-index."""

import json
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from solfa.alignment.scores import Texts
from solfa.collection import Attributes, Collection
from solfa.collection.feedback import Sought, StoredHead, TrackVerdict
from solfa.collection.store import Ids
from solfa.core.errors import InputError, SolfaError
from solfa.core.filters import PRESENT, folded
from solfa.core.types import FloatArray, JointModel
from solfa.core.vocabulary import concepts
from solfa.encoders.windows import text_candidates, track_vector
from solfa.query import parse
from solfa.relevance import head as heads
from solfa.relevance.feedback import in_force
from solfa.relevance.head import NEAREST, Judged, agreement, hard_share, mine, part_of, split
from solfa.relevance.judge import Judge, similarity
from solfa.relevance.preference import Preference, Traits
from solfa.relevance.rules import summaries
from solfa.retrieval import Searcher, like_example

LEAST = 5  # verdicts
_FEW_HARD, _COST = 0.05, 0.01  # share of hard candidates at which rounds end; general retrieval that may be lost
_SOUND = 0.7  # nats for a standard score of the cosine with one example, as a search counts it (retrieval.searcher)
_SAMPLE = 256  # tracks whose similarities the head keeps


@dataclass(frozen=True, kw_only=True, slots=True)
class Round:
    """One round: candidates that were judged, the share that was hard, triplets to train on and held out, the share of
    held-out ones in the right order and general retrieval (mean average precision of names of what is present) before
    and after (None, 0: nothing to try), and whether the head was taken."""

    judged: int
    hard: float
    trained: int
    held_out: int
    agreement: tuple[float, float] | None
    general: tuple[float, float]
    taken: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Learnt:
    """What was learnt: ``weights`` of attributes in nats (empty: not taken), and the share of held-out pairs of a good
    and a bad track in the right order before and after (None: there are none); rounds of the head; notes."""

    verdicts: int
    weights: dict[str, float]
    agreement: tuple[float, float] | None
    rounds: tuple[Round, ...]
    notes: tuple[str, ...]
    head: StoredHead | None


def learn(
    collection: Collection, model: JointModel, *, judge: Judge | None = None, anchors: int = 20, rounds: int = 3,
    seed: int = 0, progress: Callable[[int, int], None] = lambda done, total: None,
) -> Learnt:  # fmt: skip
    """Learn from the verdicts of a collection, and from a judge of similar tracks if there is one; nothing is stored.

    ``model`` is the one that the collection was indexed with. Verdicts of the person always count; a judge adds pairs
    of ``anchors`` tracks, drawn with ``seed``, and their nearest tracks. What does not help on artists that were held
    out is not taken. ``Collection.install_head`` puts it in force.

    Raises InputError if there are fewer than 5 verdicts, or of one kind only, and no judge.
    """
    table, searcher, rng = collection.attributes(), Searcher(collection, lambda: model), np.random.default_rng(seed)
    ids = np.intersect1d(table.track_ids, searcher.store.track_ids)
    row_of = {track_id: row for row, track_id in enumerate(ids.tolist())}
    if not row_of:
        raise InputError("no track of the collection has vectors and a file. Index it first: solfa index FOLDER")
    verdicts = [v for v in in_force(collection.verdicts()) if v.track_id in row_of]
    enough = len(verdicts) >= LEAST and len({v.is_good for v in verdicts}) == 2
    if not enough and judge is None:
        raise InputError(f"{len(verdicts)} verdicts that count; learning needs {LEAST}, good and bad ones. Give more "
                         f"with 'solfa feedback', or learn from a judge: --judge rules")  # fmt: skip
    artists = [folded(row.tags.artist) or row.hash for row in collection.rows(ids.tolist())]
    tracks, notes, judged = track_vectors(searcher, ids.tolist()), list[str](), list[Judged]()
    sources = {sought: _source(searcher, sought, row_of, notes) for sought in dict.fromkeys(v.sought for v in verdicts)}
    vectors, given, asked = tracks, np.zeros(len(verdicts)), set[tuple[int, int]]()
    for sought, (direction, seeds) in sources.items():
        own = [(at, row_of[v.track_id], v.is_good) for at, v in enumerate(verdicts) if v.sought == sought]
        asked |= {(seeds[0], row) for _, row, _ in own if seeds}
        if direction is not None:
            judged += [Judged(anchor=len(vectors), track=row, is_good=is_good) for _, row, is_good in own]
            artists.append(artists[seeds[0]] if seeds else sought.write())
            vectors, cosines = np.concatenate([vectors, direction[None]]), tracks @ direction
            standard = np.clip((cosines - cosines.mean()) / max(float(cosines.std()), 1e-6), -4, 4)
            given[[at for at, *_ in own]] = _SOUND * standard[[row for _, row, _ in own]]
    preference, agreed, at_rows = None, None, table.rows(ids)
    if enough:
        traits, seeds_of = Traits(table), [at_rows[sources[v.sought][1]].tolist() for v in verdicts]
        found = [traits.of(seeds, at_rows[[row_of[v.track_id]]]) for seeds, v in zip(seeds_of, verdicts, strict=True)]
        parts = [part_of(artists[row_of[v.track_id]]) for v in verdicts]
        preference, agreed = _weighed(Preference.scaled(traits, rng), found, verdicts, given, parts)
    texts, present = _general(model, table, at_rows)
    general = _precision(texts, present, tracks)
    sample = np.concatenate([tracks[rng.permutation(len(ids))[:_SAMPLE]], texts])
    done, moved, taken = list[Round](), vectors, None
    for number in range(rounds if judge else 1):
        progress(number, rounds if judge else 1)
        if judge is not None:
            drawn = rng.permutation(len(ids))[:anchors].tolist()
            asked |= {(j.anchor, j.track) for j in judged}  # what the person said comes first
            judged += _judge(collection, judge, moved[: len(ids)], ids, drawn, asked)
        triplets = mine(moved, artists, judged)
        train, held = split(artists, triplets)
        agreed_on, scores, better, hard = None, (0.0, 0.0), False, hard_share(moved, judged)
        before = agreement(moved, held)
        for keep in heads.KEEPS if len(train) and len(held) else ():
            weights = heads.train(vectors, train, sample, keep)
            apply = heads.stored("", weights, "").apply
            agreed_on = before, agreement(new := apply(vectors), held)
            scores = general, _precision(apply(texts), present, new[: len(ids)])
            better = agreed_on[1] > agreed_on[0] and scores[1] > scores[0] - _COST
            if better:
                break
        done.append(Round(judged=len(judged), hard=hard, trained=len(train), held_out=len(held), agreement=agreed_on,
                          general=scores, taken=better))  # fmt: skip
        if better:
            taken, moved = weights, new
        if not better or hard < _FEW_HARD:
            break
    report = json.dumps({"verdicts": len(verdicts), "preference": preference and asdict(preference)})
    nothing = taken is None and preference is None
    return Learnt(
        verdicts=len(verdicts), weights=dict(preference.weights) if preference else {}, agreement=agreed,
        rounds=tuple(done), notes=tuple(notes), head=None if nothing else heads.stored(model.space, taken, report),
    )  # fmt: skip


def lines(learnt: Learnt) -> list[str]:
    """What was learnt, for people."""
    told, taken = [f"note: {note}" for note in learnt.notes], ("not installed", "installed")
    change = "in the right order {:.2f} before, {:.2f} after"
    if learnt.agreement is not None:
        most = sorted(learnt.weights.items(), key=lambda item: -abs(item[1]))[:5]
        told.append(f"weights of attributes, from {learnt.verdicts} verdicts: held-out pairs "
                    f"{change.format(*learnt.agreement)}: {taken[bool(most)]}")  # fmt: skip
        told += [f"  {', '.join(f'{name} {weight:+.2f}' for name, weight in most)}"] if most else []
    for number, r in enumerate(learnt.rounds, 1):
        tried = "too few triplets of artists that can be held out" if r.agreement is None else (
            f"held-out triplets {change.format(*r.agreement)}; tracks found by names of what is in them "
            f"{r.general[0]:.3f} before, {r.general[1]:.3f} after")  # fmt: skip
        told.append(f"head, round {number}: {r.judged} judged, {r.hard:.1%} hard, {r.trained} triplets; {tried}: "
                    f"{taken[r.taken]}")  # fmt: skip
    return told


def _general(model: JointModel, table: Attributes, rows: Ids) -> tuple[FloatArray, list[NDArray[np.bool_]]]:
    """Names of what is measured in some tracks [shape=(Q, D)], and where it is present: what a head must not spoil."""
    sure = {c.title: table.confidence(name)[rows] >= PRESENT for name, c in concepts().items() if c.kind != "sound"}
    some = {title: there for title, there in sure.items() if 3 <= there.sum() <= len(rows) / 2}
    if not some:
        return np.zeros((0, model.audio.spec.dim), np.float32), []
    return text_candidates(model.views, Texts.of(model.text.encode([*some]))), [*some.values()]


def _precision(texts_QD: FloatArray, present: Sequence[NDArray[np.bool_]], tracks_ND: FloatArray) -> float:
    """Mean average precision, 0..1; 1 where there is nothing to ask."""
    ordered = (p[np.argsort(-s, kind="stable")] for s, p in zip(texts_QD @ tracks_ND.T, present, strict=True))
    found = [(np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean() for hits in ordered]
    return float(np.mean(found)) if found else 1.0


def track_vectors(searcher: Searcher, track_ids: Sequence[int]) -> FloatArray:
    """The one vector of each track [shape=(N, D)]."""
    parts = (searcher.store.windows(track_ids[at : at + NEAREST]) for at in range(0, len(track_ids), NEAREST))
    return np.stack([track_vector(searcher.model.views, one) for part in parts for one in part])


def _weighed(
    plain: Preference, found: Sequence[Mapping[str, FloatArray]], verdicts: Sequence[TrackVerdict],
    given: NDArray[np.float64], parts: Sequence[int],
) -> tuple[Preference | None, tuple[float, float] | None]:  # fmt: skip
    """Weights of all verdicts if those of other artists' put more held-out pairs in the right order, else None."""
    good, scores = np.array([v.is_good for v in verdicts]), given.copy()
    for part in set(parts):
        rest = [i for i, own in enumerate(parts) if own != part]
        if len({bool(good[i]) for i in rest}) == 2:
            learnt = plain.learnt([found[i] for i in rest], good[rest].tolist(), given[rest])
            for i in (i for i, own in enumerate(parts) if own == part):
                scores[i] += learnt.evidence(found[i], 1)[0]
    pairs = [(i, j) for i in np.flatnonzero(good).tolist() for j in np.flatnonzero(~good).tolist()
             if verdicts[i].sought == verdicts[j].sought]  # fmt: skip
    if not pairs:
        return None, None
    before, after = (float(np.mean([(s[i] > s[j]) + (s[i] == s[j]) / 2 for i, j in pairs])) for s in (given, scores))
    return plain.learnt(found, good.tolist(), given) if after > before else None, (before, after)


def _source(
    searcher: Searcher, sought: Sought, row_of: Mapping[int, int], notes: list[str]
) -> tuple[FloatArray | None, list[int]]:
    """What a search compared by sound, if anything, and the rows of its examples; ``notes`` take what is left out."""
    likes = []
    for text in sought.examples:
        try:
            likes.append(like_example(searcher, text))
        except SolfaError as error:
            notes.append(f"an example is left out: {error}")
    direction = searcher.direction(parse(sought.query) if sought.query.strip() else None, likes)
    return direction, [row_of[like.track_id] for like in likes if like.track_id is not None and like.track_id in row_of]


def _judge(
    collection: Collection, judge: Judge, tracks_ND: FloatArray, ids: Ids, anchors: Iterable[int],
    asked: Container[tuple[int, int]],
) -> list[Judged]:  # fmt: skip
    """What the judge says of the nearest tracks of anchors, but of pairs ``asked``; unsure similarity is left out."""
    found = []
    for anchor in anchors:
        near = np.argsort(-(tracks_ND @ tracks_ND[anchor]), kind="stable")[: NEAREST + 1].tolist()
        new = [track for track in near if track != anchor and (anchor, track) not in asked]
        said = dict(summaries(collection, [int(ids[row]) for row in (anchor, *new)]))
        for track in new:
            alike = similarity(said[int(ids[anchor])], said[int(ids[track])], judge)
            if alike.core_mean is not None and alike.verdict != "NOT_ENOUGH_KNOWN":
                is_good = alike.verdict == "SIMILAR"
                sure = alike.core_mean if is_good else 1 - alike.core_mean
                found.append(Judged(anchor=int(anchor), track=track, is_good=is_good, confidence=sure))
    return found


def preference_of(head: StoredHead | None) -> Preference | None:
    """The weights of attributes that were learnt together with a head."""
    found = json.loads(head.report).get("preference") if head else None
    return None if found is None else Preference(weights=found["weights"], scales=found["scales"])
