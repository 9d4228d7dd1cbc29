"""The axes of the bridge's space and the numbers that it was fitted with.

A vector is ``[tags | sounds | timbre]``: 250 axes that are outputs of the tagging networks and 128 onto which the
everyday sounds of the vocabulary are folded, which text can point along, and 134 axes of what the networks find but
have no word for, where every text is zero. So the dot product of a text and a sound compares tags and everyday sounds
only, and that of two sounds compares all. Folding is a fixed random projection (Johnson and Lindenstrauss 1984): a clip
has few of the hundreds of everyday sounds, so that products of sparse vectors are nearly kept with fewer numbers.

The numbers are in ``bridge.npz`` next to this file, written by ``tools/fit_bridge.py``.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

from solfa.analysis.tagging import VERSION, labels, voters
from solfa.core.files import table_of
from solfa.core.types import FloatArray
from solfa.core.vocabulary import concepts
from solfa.weights import weight

DIM = 512
SOUND_DIM = 128
NETS = ("musicnn", "yamnet")
# AudioSet's branch of music, less its two roots, which say nothing about which music; and the voices, which AudioSet
# keeps elsewhere.
_MUSIC = ("Plucked string instrument", "Scary music")
_VOICES = ("Singing", "Choir", "Chant", "Rapping", "Humming", "Speech", "Whistling")
# By hash, the name that collections and trained models on disk have for the same values (cosine above 0.999999).
_NAMED = {"b2a56f876878": "cf06f8a71b27"}


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Fit:
    """What ``tools/fit_bridge.py`` wrote; float32.

    Shape letters: A axes with a name, E numbers of the networks' last layers, K timbre axes, P prompts, M of MiniLM,
    S everyday sounds, F axes that they are folded onto.
    """

    tag_mean_A: FloatArray
    tag_scale_A: FloatArray
    timbre_mean_E: FloatArray
    timbre_scale_E: FloatArray
    timbre_axes_EK: FloatArray
    prompt_PM: FloatArray
    prompt_axis_P: FloatArray
    prompt_bias_A: FloatArray
    sound_prompt_PM: FloatArray
    sound_axis_P: FloatArray
    sound_bias_S: FloatArray
    sound_fold_SF: FloatArray


@cache
def axes() -> tuple[tuple[str, str], ...]:
    """(net, output) of every tag axis, in order; those of one net follow each other."""
    yamnet = labels()["yamnet"]
    first, last = (yamnet.index(name) for name in _MUSIC)
    labelled = [name for i, name in enumerate(yamnet) if first <= i <= last or name in _VOICES]
    nets = {"mtt": labels()["mtt"], "msd": labels()["msd"], "yamnet": tuple(labelled)}
    return tuple((net, name) for net, names in nets.items() for name in names)


@cache
def sounds() -> tuple[str, ...]:
    """Concepts of everyday sounds that have an axis, in order; music itself and silence distinguish no clips."""
    labelled = {label for net, label in axes() if net == "yamnet"}
    kept = (c for c in voters() if concepts()[c].kind == "sound" and c not in ("music", "silence"))
    return tuple(c for c in kept if not labelled.issuperset(voters()[c][0].labels))


@cache
def columns() -> dict[str, tuple[int, ...]]:
    """Where the axes are among the outputs of each net."""
    return {net: tuple(labels()[net].index(name) for n, name in axes() if n == net) for net in dict(axes())}


@cache
def fit() -> Fit:
    """The numbers of ``bridge.npz``."""
    with files("solfa.encoders").joinpath("bridge.npz").open("rb") as stream:
        arrays = np.load(stream, allow_pickle=False)
        return Fit(**{name: arrays[name].astype(np.float32) for name in Fit.__dataclass_fields__})


@cache
def space() -> str:
    """Name of the space: networks, text model, preprocessing and fit, as one hash over values, not over files."""
    digest = hashlib.sha256(b"".join(getattr(fit(), name).tobytes() for name in Fit.__dataclass_fields__))
    digest.update(json.dumps(_of_outputs(table_of("solfa.analysis", "concepts.toml"))).encode())
    digest.update(" ".join([VERSION, *(weight(name).values for name in (*NETS, "minilm"))]).encode())
    values = digest.hexdigest()[:12]
    return f"bridge/2/{DIM}/{_NAMED.get(values, values)}"


def _of_outputs(table: dict[str, dict[str, list[str]]]) -> dict[str, dict[str, list[str]]]:
    """The table of concepts without the votes of the instrument probe, which has no axis in the space."""
    rows = {kind: {c: [v for v in votes if "probe:" not in v] for c, votes in of.items()} for kind, of in table.items()}
    return {kind: {c: votes for c, votes in of.items() if votes} for kind, of in rows.items()}
