"""Joint models and backbones by name (``core.registry``); the built-in ones are in ``registry.toml`` next to this file.

Published networks are modules of ``encoders.published``, which the table names as any package's entry does.
"""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from solfa.core.errors import InputError, UnknownName
from solfa.core.files import table_of
from solfa.core.registry import ModelEntry, Registry
from solfa.core.types import Backbone, EncoderSpec, JointModel, ModelInfo
from solfa.encoders.selftest import check_once

Kind = Literal["audio", "text"]
ROWS: Mapping[str, Mapping[str, Mapping[str, Any]]] = table_of("solfa.encoders", "registry.toml")
# Fields of a row that are no options of its loader.
_FIELDS = ("description", "licence", "commercial_use", "loader", "source", "hub", "pulled")


def _registry(section: str, kind: str) -> Registry:
    entries = {}
    for name, row in ROWS[section].items():
        described = {key: row[key] for key in ("description", "licence", "commercial_use")}
        source = row.get("source") or f"Hugging Face hub, {row['hub']}"
        defaults = {key: value for key, value in row.items() if key not in _FIELDS}
        info = ModelInfo(name=name, kind=kind, source=source, **described)
        entries[name] = ModelEntry(info=info, loader=row["loader"], defaults=defaults)
    return Registry(kind, entries)


MODELS = _registry("model", "joint model")
BACKBONES = {kind: _registry(kind, f"{kind} backbone") for kind in ("audio", "text")}


def stated_spec(kind: str, name: str, space: str, dim: int, **sound: Any) -> EncoderSpec:
    """The spec of a built-in entry (``model``, ``audio``, ``text``), with the licence that its row states."""
    row = ROWS[kind][name]
    terms = {"licence": row["licence"], "commercial_use": row["commercial_use"]}
    return EncoderSpec(name=name, space=space, dim=dim, **terms, **sound)


def available() -> tuple[ModelInfo, ...]:
    """Joint models that can be asked for, built-in ones first; nothing is loaded."""
    return MODELS.infos()


def available_backbones() -> tuple[ModelInfo, ...]:
    """Backbones that can be asked for, likewise."""
    return tuple(info for registry in BACKBONES.values() for info in registry.infos())


def load_model(name: str, *, allow_noncommercial: bool = False, **options: Any) -> JointModel:
    """A joint model that passed the self-test.

    Raises UnknownName if no model has this name; InputError if the weights are non-commercial and were not allowed, or
    the loader takes no such option; MissingExtra, MissingWeights or WeightsError if packages or files are missing,
    wrong or dead.

    ``name``: a name of ``available()``, or ``NAME:SOURCE`` with a place of weights; ``allow_noncommercial``: Must be
    True for weights that may not be used commercially; ``**options``: what the model's loader takes, such as
    ``device``.
    """
    try:
        model: JointModel = MODELS.load(name, allow_noncommercial=allow_noncommercial, **options)
    except UnknownName:
        if folder := _trained(name):
            raise InputError(f"unknown model {name!r}, but the folder {folder} is one. Use: trained:{folder}") from None
        raise
    check_once(model)
    return model


def load_backbone(
    name: str, kind: Kind = "audio", *, allow_noncommercial: bool = False, **options: Any
) -> Backbone[Any]:
    """A pretrained backbone, ready to give states; those on torch can be tuned too (``torch_backbone.TorchBackbone``).

    Raises UnknownName if no backbone of this kind has this name; InputError if the weights are non-commercial and were
    not allowed, the loader takes no such option or value, or ``kind`` is neither; MissingExtra, MissingWeights or
    WeightsError if packages or files are missing or wrong.

    - ``name``: A name of ``available_backbones()``, or ``NAME:SOURCE`` with a file, a folder, or a Hugging Face id that
      is in the local cache; options may follow it: ``e5?special_tokens=false``, ``musicfm:PATH?layer=5&window_s=30``
    - ``kind``: ``audio`` or ``text``: some names are both
    - ``allow_noncommercial``: Must be True for weights that may not be used commercially
    - ``**options``: What the loader takes, such as ``device``, ``window_s`` or ``max_tokens``
    """
    if kind not in BACKBONES:
        raise InputError(f"a backbone is of 'audio' or 'text', got kind {kind!r}.")
    backbone: Backbone[Any] = BACKBONES[kind].load(name, allow_noncommercial=allow_noncommercial, **options)
    return backbone


def _trained(name: str) -> Path | None:
    """The folder of a trained model, if that or the folder of its run is what a name is."""
    with suppress(OSError):  # too long for a path
        return next((f for f in (Path(name), Path(name, "model")) if (f / "model.json").is_file()), None)
    return None
