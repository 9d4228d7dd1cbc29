"""Models that ``solfa train`` made: projectors on two pretrained backbones, from one folder. No torch of its own.

::

    FOLDER/model.json          backbones, projectors, views, dimensions, licence, what it was trained on
    FOLDER/audio.onnx          states of sound to unit vectors; text.onnx likewise
    FOLDER/model.safetensors   the same projectors as tensors, to train on
    FOLDER/audio_body/         of a tuned backbone: what it was loaded from, tuned.safetensors; text_body likewise
    FOLDER/match.npz           probabilities whatever is searched, where they were fitted (``encoders.match``)
    FOLDER/README.md           model card

Both networks take ``pooled`` [shape=(1, P)] and ``states`` [shape=(1, T, D)] and give ``whole`` [shape=(1, E)] and
``rows`` [shape=(1, T or 1, E)]. Items run one by one and unpadded, so that a vector does not depend on its neighbours.
A tuned backbone runs on torch, with its projectors after it on ONNX Runtime.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from solfa.core.errors import InputError, WeightsError
from solfa.core.registry import with_source
from solfa.core.types import Audio, Backbone, EncoderSpec, Features, FloatArray, JointModel, Logit, States, View, Views
from solfa.encoders.checkpoints import fill, hash_of, load_tensors
from solfa.encoders.match import FILE, load_match
from solfa.encoders.registry import BACKBONES, Kind, load_backbone
from solfa.encoders.vectors import features
from solfa.weights.sessions import open_session
from solfa.weights.store import shipped

SCHEMA = "solfa.model/1"
NETWORKS = ("audio.onnx", "text.onnx")
TUNED = "tuned.safetensors"
# What loaders read besides the weights.
BESIDE = ("config.json", "preprocessor_config.json", "tokenizer.json", "msd_stats.json", "fma_stats.json")
_MOST_JSON_BYTES = 1 << 20
# What is raised where a description is missing, or has values of other types.
_MISREAD = ArithmeticError, AttributeError, InputError, LookupError, OSError, RecursionError, TypeError, ValueError
_WINDOW_S = 10.0  # of models whose description does not name it: the length of clips of the published recipes
X = TypeVar("X", Audio, str)


def load(*, source: str | Path | None = None, device: str = "cpu", allow_noncommercial: bool = False) -> JointModel:
    """The model in a folder.

    Raises InputError if there is no such folder, or a backbone is non-commercial and was not allowed; WeightsError if a
    file is missing, damaged, or does not fit the backbones on this machine; MissingExtra or MissingWeights if packages
    or files of a backbone are missing.

    ``source``: the folder; there is no model without one; ``device``: of backbones that run on torch;
    ``allow_noncommercial``: must be True where a backbone's weights may not be used commercially.
    """
    if not source:
        raise InputError("a trained model is named with its folder: trained:FOLDER, as in trained:runs/figma/model.")
    folder = Path(source).expanduser()
    if not folder.is_dir():
        raise InputError(f"{source!r} is not a folder. A trained model is a folder: trained:runs/figma/model.")
    described = read_description(folder)
    for name in NETWORKS:
        check_file(folder / name, str(described["sha256"].get(name)))
    backbones: dict[Kind, Backbone[Any]] = {}
    kinds: tuple[Kind, ...] = ("audio", "text")
    for kind in kinds:
        entry, tuned = described[kind], bool(described[kind].get("tuned"))
        name = _rebuilt(folder, kind, described) if tuned else entry["backbone"]
        backbone: Any = load_on(name, kind, device=device, allow_noncommercial=allow_noncommercial)
        if backbone.spec.space != entry["space"]:
            raise WeightsError(
                f"{folder} was trained on {entry['space']!r}, {entry['backbone']!r} on this machine is "
                f"{backbone.spec.space!r}. Get the backbone that it was trained on, or train again."
            )
        if tuned:
            fill_tuned(backbone, folder / tuned_folder(kind))
            terms = {"licence": str(entry.get("licence")), "commercial_use": entry.get("commercial_use") is True}
            backbone.spec = replace(backbone.spec, **terms)
        backbones[kind] = backbone
    spec = EncoderSpec(
        name=described["name"],
        space=described["space"],
        dim=described["dim"],
        licence=described["licence"],
        commercial_use=all(backbone.spec.commercial_use for backbone in backbones.values()),
    )
    views, window_s = _ranking(described)
    sound = replace(
        spec,
        # Vectors of windows of another length are other vectors.
        space=f"{spec.space}/{window_s:g}s" if window_s else spec.space,
        sample_rate_hz=backbones["audio"].spec.sample_rate_hz,
        hop_s=backbones["audio"].spec.hop_s,
        window_s=window_s,
    )
    audio: TrainedEncoder[Audio] = TrainedEncoder(backbones["audio"], folder / "audio.onnx", sound)
    text: TrainedEncoder[str] = TrainedEncoder(
        backbones["text"], folder / "text.onnx", replace(spec, space=sound.space)
    )
    match = load_match(folder / FILE, sound) if (folder / FILE).is_file() else None
    return JointModel(
        name=f"trained:{folder}", audio=audio, text=text, views=views, logits=logits_of(described), match=match,
        captions=True,
    )  # fmt: skip


def load_shipped(*, name: str, device: str = "cpu") -> JointModel:
    """The trained model of this name inside the package. Raises as ``load``."""
    return replace(load(source=shipped(name), device=device), name=name)


def _ranking(described: Mapping[str, Any]) -> tuple[Views, float]:
    """The views of a model and the length of its windows (0: none); older models rank by the global view."""
    stated, window_s = described.get("views", {}), float(described.get("window_s", _WINDOW_S))
    views = Views(trained=tuple(stated.get("trained", ("global",))), rank=View(**stated.get("rank", {})))
    if not set(views.trained) <= {"global", "frame", "mix"} or not (window_s == 0 or 0.1 <= window_s <= 600):
        raise ValueError(f"views {views.trained}, windows of {window_s} s")
    return views, window_s


def tuned_folder(kind: str) -> str:
    """Where a model's folder has a tuned backbone."""
    return f"{kind}_body"


def fill_tuned(backbone: Any, folder: Path) -> None:
    """Give a backbone on torch the weights that it was tuned to. Raises WeightsError if they are not its own."""
    file = folder / TUNED
    fill(backbone.network, load_tensors(file), file, backbone.spec.name)


def _rebuilt(folder: Path, kind: str, described: dict[str, Any]) -> str:
    """The name that ``load_backbone`` takes for a tuned backbone, each of its files seen to be what was written."""
    entry, own = described[kind], folder / tuned_folder(kind)
    names = [f"{own.name}/{file.name}" for file in sorted(own.iterdir())] if own.is_dir() else []
    for name in names:
        check_file(folder / name, str(described["sha256"].get(name)))
    source = own / str(entry.get("file", ""))
    if f"{own.name}/{TUNED}" not in names or not (source == own or f"{own.name}/{entry['file']}" in names):
        raise WeightsError(f"{own} lacks files of the tuned backbone. Copy the folder again.")
    return with_source(entry["backbone"], str(source))


def load_on(name: str, kind: Kind, *, device: str, allow_noncommercial: bool) -> Backbone[Any]:
    """A backbone by name, on the device if it runs on torch. Raises as ``load_backbone``."""
    options = {"device": device} if device != "cpu" and BACKBONES[kind].entry(name).takes("device") else {}
    backbone: Backbone[Any] = load_backbone(name, kind, allow_noncommercial=allow_noncommercial, **options)
    return backbone


class TrainedEncoder(Generic[X]):
    """A backbone and its projectors; made by ``load``."""

    def __init__(self, backbone: Backbone[X], network: Path, spec: EncoderSpec) -> None:
        self._backbone: Any = backbone
        self.spec = spec
        self._session = open_session(network)
        sizes = {v.name: v.shape[-1] for v in (*self._session.get_inputs(), *self._session.get_outputs())}
        if (sizes.get("states"), sizes.get("whole"), sizes.get("rows")) != (
            self._backbone.spec.dim,
            spec.dim,
            spec.dim,
        ):
            raise WeightsError(f"{network} does not fit its model.json: it goes from and to {sizes}, not {spec.dim}.")

    @property
    def tokenizer(self) -> Any:
        """The backbone's tokenizer, where it shows one."""
        return self._backbone.tokenizer

    def token_spans(self, text: str, num_rows: int) -> list[tuple[int, int]] | None:
        """The characters that each of a text's token vectors stands for, (0, 0) of special tokens.

        None where vectors cannot be matched with tokens: of a text that was read in pieces, or a backbone that shows no
        tokenizer.
        """
        tokenizer, prefix = getattr(self._backbone, "tokenizer", None), getattr(self._backbone, "prefix", "")
        if tokenizer is None:
            return None
        for special in (True, False):
            offsets = tokenizer.encode(prefix + text, add_special_tokens=special).offsets
            if len(offsets) == num_rows:
                return [(max(0, a - len(prefix)), max(0, b - len(prefix))) for a, b in offsets]
        return None

    def familiarity(self, text: str) -> float:
        """How near a text is to what the backbone knows, 0..1; 1 where it cannot say."""
        tell = getattr(self._backbone, "familiarity", None)
        return 1.0 if tell is None else float(tell(text))

    def encode(self, batch: Sequence[X]) -> Features:
        """Vectors of each item; one without states has no frames, and the whole vector of a silent state."""
        states: States = self._backbone.states(batch)
        items = zip(states.pooled_BD, states.states_BTD, states.mask_BT, strict=True)
        found = [self._one(pooled, rows[mask]) for pooled, rows, mask in items]
        return features([rows for _, rows in found], self.spec.dim, [whole for whole, _ in found])

    def _one(self, pooled_D: FloatArray, states_TD: FloatArray) -> tuple[FloatArray, FloatArray]:
        given = states_TD if len(states_TD) else np.zeros((1, states_TD.shape[1]), np.float32)
        feeds = {"pooled": pooled_D[None].astype(np.float32), "states": given[None].astype(np.float32)}
        whole, rows = self._session.run(["whole", "rows"], feeds)
        return whole[0], rows[0][: None if len(states_TD) else 0]


def read_description(folder: Path) -> dict[str, Any]:
    """``model.json`` of a folder. Raises WeightsError if it is missing or not of the schema."""
    file, inner = folder / "model.json", folder / "model"
    if not file.exists() and (inner / "model.json").is_file():
        raise WeightsError(f"{folder} has no model.json; its model is {inner} (--model trained:{inner}).")
    try:
        if file.stat().st_size > _MOST_JSON_BYTES:
            raise ValueError(f"it is larger than {_MOST_JSON_BYTES} bytes")
        described: dict[str, Any] = json.loads(file.read_bytes())
        texts = [described[field] for field in ("schema", "name", "space", "licence")]
        texts += [described[kind][field] for kind in ("audio", "text") for field in ("backbone", "space")]
        typed = isinstance(described["dim"], int) and isinstance(described["sha256"], dict)
        if not typed or texts[0] != SCHEMA or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"it is of the schema {texts[0]!r}, or has values of another type")
        _ranking(described), logits_of(described)
    except _MISREAD as e:
        raise WeightsError(f"{folder} has no model.json of {SCHEMA}: {e}. Copy the folder again.") from e
    return described


def logits_of(described: Mapping[str, Any]) -> dict[str, Logit]:
    """The learnt temperatures and biases of a description; none where no sigmoid loss was trained."""
    stated = described.get("logits", {})
    read = {name: Logit(temperature=v["temperature"], bias=v["bias"]) for name, v in stated.items()}
    finite = all(math.isfinite(v.bias + v.temperature + 1 / v.temperature) for v in read.values())
    if not finite or not set(read) <= {"clip", "frame", "match"}:
        raise ValueError(f"logits: expected finite numbers for clip, frame and match, got {stated}")
    return read


def check_file(file: Path, sha256: str) -> None:
    """See that a file is the one that ``model.json`` names. Raises WeightsError if it is another or none."""
    found = hash_of(file)
    if found != sha256:
        raise WeightsError(
            f"{file} is not the file that model.json names (sha256 {found[:12]}..). Copy the folder again."
        )
