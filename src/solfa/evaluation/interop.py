"""A solfa model behind mteb's encoder protocol."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from solfa.audio import stretches
from solfa.core.errors import InputError, need
from solfa.core.types import Audio, FloatArray, JointModel
from solfa.evaluation.similarity import unit_rows


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

        Raises MissingExtra if mteb is not installed.
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
