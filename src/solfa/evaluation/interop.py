"""Rankings in TREC's file formats, and a solfa model behind mteb's encoder protocol.

InputError is raised where ids do not fit or hold blanks, gains are not whole numbers, or a batch holds nothing to
encode.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from solfa.audio import stretches
from solfa.core.errors import InputError, need
from solfa.core.files import write_output
from solfa.core.types import Audio, FloatArray, JointModel
from solfa.evaluation.relevance import Floats, Ints, Relevance
from solfa.evaluation.similarity import unit_rows


def _checked_ids(ids: Sequence[str], num: int, what: str) -> None:
    if len(ids) != num or len(set(ids)) != num:
        raise InputError(f"{what}: {len(ids)} ids, {len(set(ids))} different, for {num}.")
    bad = next((i for i in ids if not i or any(c.isspace() for c in i)), None)
    if bad is not None:
        raise InputError(f"{what}: the id {bad!r} is empty or holds a blank, which TREC's format cannot carry.")


def write_qrels(
    path: Path, relevance: Relevance, query_ids: Sequence[str], item_ids: Sequence[str], *, force: bool = False
) -> None:
    """TREC qrels: ``QUERY 0 ITEM GAIN`` a line. Gains must be whole numbers; ``force`` replaces an existing file."""
    _checked_ids(query_ids, relevance.num_queries, "queries")
    _checked_ids(item_ids, relevance.num_items, "items")
    if (relevance.gains != np.rint(relevance.gains)).any():
        raise InputError("TREC qrels hold whole gains only.")
    rows = zip(relevance.queries, relevance.items, relevance.gains, strict=True)
    write_output(path, "".join(f"{query_ids[q]} 0 {item_ids[i]} {int(g)}\n" for q, i, g in rows), force=force)


def write_run(
    path: Path,
    items: Ints,
    scores: Floats,
    query_ids: Sequence[str],
    item_ids: Sequence[str],
    *,
    tag: str = "solfa",
    force: bool = False,
) -> None:
    """A TREC run from `ranking.top_k`: ``QUERY Q0 ITEM RANK SCORE TAG`` a line, scores exact.

    ``trec_eval`` orders by score, and equal scores by id downwards: with ties its numbers may differ from ours. Items
    and their scores are [shape=(Q, K)], best first; ``tag`` names the system; ``force`` replaces an existing file.
    """
    _checked_ids(query_ids, len(items), "queries")
    _checked_ids([*item_ids], len(item_ids), "items")
    _checked_ids([tag], 1, "tag")
    if items.size and items.max() >= len(item_ids):
        raise InputError(f"item {int(items.max())} has no id; {len(item_ids)} were given.")
    lines = (
        f"{query_ids[q]} Q0 {item_ids[item]} {rank} {float(score)!r} {tag}\n"
        for q in range(len(items))
        for rank, (item, score) in enumerate(zip(items[q], scores[q], strict=True), start=1)
    )
    write_output(path, "".join(lines), force=force)


class MtebModel:
    """A joint model as mteb 2 wants it, so that MAEB's own code can score it::

        import mteb
        tasks = mteb.get_tasks(tasks=list(MTEB_TASKS))
        mteb.evaluate(MtebModel(model), tasks)

    Only global vectors take part, as mteb compares one vector a side.
    """

    def __init__(self, model: JointModel) -> None:
        self.model = model

    def encode(self, inputs: Iterable[dict[str, Any]], **kwargs: Any) -> FloatArray:
        """Unit vectors of batches that hold ``text``, or ``audio`` as arrays with their sampling rate."""
        parts = []
        for batch in _batches(inputs):
            if ("text" in batch) == ("audio" in batch):
                raise InputError(f"a batch must hold text or audio, got {', '.join(batch) or 'nothing'}.")
            if "text" in batch:
                parts.append(self.model.text.encode(list(batch["text"])).global_BD)
            else:
                sounds = [Audio(_mono(a["array"]), int(a["sampling_rate"])) for a in batch["audio"]]
                parts.append(self.model.audio.encode(sounds).global_BD)
        if not parts:
            raise InputError("there is nothing to encode.")
        return np.concatenate(parts)

    def similarity(self, embeddings1: FloatArray, embeddings2: FloatArray) -> FloatArray:
        """Cosine of every vector of the first with every one of the second."""
        return np.asarray(unit_rows(np.atleast_2d(embeddings1)) @ unit_rows(np.atleast_2d(embeddings2)).T)

    def similarity_pairwise(self, embeddings1: FloatArray, embeddings2: FloatArray) -> FloatArray:
        """Cosine of each vector of the first with its partner of the second."""
        a, b = unit_rows(np.atleast_2d(embeddings1)), unit_rows(np.atleast_2d(embeddings2))
        return np.asarray(np.einsum("nd,nd->n", a, b))

    @property
    def mteb_model_meta(self) -> Any:
        """What mteb's tables say about the model.

        Raises
        ------
        MissingExtra
            If mteb is not installed.
        """
        mteb = need("mteb.models.model_meta", "scoring through mteb", "pip install mteb")
        spec = self.model.audio.spec
        return mteb.ModelMeta.create_empty(
            {
                "name": f"solfa/{self.model.name}",
                "revision": spec.space,
                "embed_dim": spec.dim,
                "modalities": ["audio", "text"],
                "similarity_fn_name": mteb.ScoringFunction.COSINE,
            }
        )


# The music tasks of MAEB, by their names there.
MTEB_TASKS = (
    *(f"{name}{way}Retrieval" for name in ("FGMCaps", "MusicCaps", "SongDescriber") for way in ("A2T", "T2A")),
    "GTZANAudioReranking",
    "GTZANGenreClustering",
)


def _mono(samples: Any) -> FloatArray:
    data = np.asarray(samples, np.float32)
    return data if data.ndim == 1 else np.asarray(data.mean(axis=int(np.argmin(data.shape))), np.float32)


def _batches(inputs: Any) -> Iterator[dict[str, Any]]:
    # mteb's loaders hold undecoded sound. It is decoded as all of solfa's is: torchcodec and torchaudio, which mteb
    # would take, are not needed.
    dataset: Any = getattr(inputs, "dataset", None)
    sound: Any = (getattr(dataset, "features", None) or {}).get("audio")
    if not hasattr(sound, "decode"):
        yield from inputs
        return
    for batch in dataset.cast_column("audio", replace(sound, decode=False)).iter(inputs.batch_size):
        yield {**batch, "audio": [_decoded(a) for a in batch["audio"]]}


def _decoded(sound: dict[str, Any]) -> dict[str, Any]:
    parts = list(stretches(sound["path"] or "sound", data=sound["bytes"]))
    return {"array": np.concatenate([p.samples for p in parts]), "sampling_rate": parts[0].sample_rate_hz}
