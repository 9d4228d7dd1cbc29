"""A trained denoiser in one ONNX file, run by ONNX Runtime. No torch.

The network takes ``z`` [shape=(B, T, D)], ``t`` [shape=(B,)], ``text`` [shape=(B, L, E)] and ``mask`` [shape=(B, L)]
and gives ``prediction`` [shape=(B, T, D)]. The file's metadata hold ``spec``, a ``DenoiserSpec`` as JSON with arrays in
lists, and ``about``: licence, and what it was trained on.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from solfa.core.errors import InputError, WeightsError
from solfa.core.types import BoolArray, FloatArray
from solfa.diffusion.guidance import DenoiserSpec
from solfa.diffusion.schedule import Schedule
from solfa.weights import path
from solfa.weights.sessions import open_session

SCHEMA, FILE = "solfa.gdr/1", "gdr.onnx"


class OnnxDenoiser:
    """The denoiser in a file. Raises WeightsError if it is none, or damaged."""

    def __init__(self, file: Path, *, threads: int | None = None) -> None:
        self._session = open_session(file, threads=threads)
        said = self._session.get_modelmeta().custom_metadata_map
        try:
            self.spec, self.about = _spec_of(json.loads(said["spec"])), dict(json.loads(said["about"]))
            got = {each.name: each.shape[1:] for each in self._session.get_inputs()}
            if (got["z"], got["text"][1]) != ([self.spec.length, self.spec.dim], self.spec.text_dim):
                raise ValueError(f"a network of other inputs: {got}")
        except (AttributeError, LookupError, RecursionError, TypeError, ValueError) as bad:
            raise WeightsError(f"{file} is not a denoiser of solfa train gdr, or a damaged one ({bad!r}).") from bad

    def __call__(self, z_BTD: FloatArray, t_B: Any, text_BLE: FloatArray, mask_BL: BoolArray) -> FloatArray:
        """The prediction [shape=(B, T, D)]."""
        given = {"z": z_BTD, "t": np.asarray(t_B, np.int64), "text": text_BLE, "mask": mask_BL}
        found: FloatArray = self._session.run(["prediction"], given)[0]
        return found


def load(place: Path | str | None = None, *, threads: int | None = None) -> OnnxDenoiser:
    """The denoiser that is shipped, for the default model; or that of a folder or file that ``solfa train gdr`` wrote.

    Raises InputError if there is nothing; WeightsError if it is damaged.
    """
    if place is None:
        return OnnxDenoiser(path("gdr"), threads=threads)
    file = next((f for f in (Path(place), Path(place, FILE), Path(place, "model", FILE)) if f.is_file()), None)
    if file is None:
        raise InputError(f"{place}: no {FILE} there. Give the folder of a run of solfa train gdr.")
    return OnnxDenoiser(file, threads=threads)


def to_json(spec: DenoiserSpec) -> str:
    """What ``spec`` of a file says."""
    arrays = {name: getattr(spec, name).tolist() for name in ("mean_D", "null_LE")}
    return json.dumps({"schema": SCHEMA, **asdict(spec), **arrays})


def _spec_of(said: dict[str, Any]) -> DenoiserSpec:
    if said.pop("schema") != SCHEMA:
        raise ValueError("another schema")
    arrays = {name: np.array(said[name], np.float32) for name in ("mean_D", "null_LE")}
    spec = DenoiserSpec(**{**said, **arrays, "schedule": Schedule(**said["schedule"])})
    fits = spec.mean_D.shape == (spec.dim,) and spec.null_LE.shape[1:] == (spec.text_dim,) and len(spec.null_LE) > 0
    if not (fits and all(np.isfinite(array).all() for array in arrays.values()) and 0 < spec.scale < np.inf):
        raise ValueError("numbers that do not fit")
    return spec
