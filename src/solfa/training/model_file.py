"""A trained model as one folder that needs nothing else (``encoders.trained`` says what is in it). Needs torch."""

import hashlib
import json
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from solfa.alignment.joint import JointConfig, JointProjector, Tower
from solfa.core.errors import InputError, WeightsError
from solfa.core.files import file_hash, whole_folder
from solfa.core.registry import with_source
from solfa.core.text import printable
from solfa.core.types import EncoderSpec, Logit, Views
from solfa.encoders.checkpoints import load_tensors
from solfa.encoders.torch_backbone import TorchBackbone
from solfa.encoders.trained import (
    BESIDE,
    NETWORKS,
    SCHEMA,
    TUNED,
    check_file,
    fill_tuned,
    read_description,
    tuned_folder,
)
from solfa.weights.sessions import open_session

Tuned = Mapping[str, TorchBackbone[Any]]
_PARITY = 1e-4  # largest difference of a unit vector's component between torch and ONNX Runtime


def save_model(
    folder: Path,
    model: JointProjector,
    *,
    name: str,
    audio: EncoderSpec,
    text: EncoderSpec,
    backbones: tuple[str, str],
    trained_on: Mapping[str, Any],
    tuned: Tuned | None = None,
    logits: Mapping[str, Logit] | None = None,
    views: Views | None = None,
    window_s: float | None = None,
    licence: str = "none stated",
) -> Path:
    """Write the folder, whole or not at all; an older one is replaced.

    Raises WeightsError if ONNX Runtime answers other than torch.

    - ``folder``, ``model``, ``name``: to write, the projectors, and what they are called
    - ``audio``, ``text``, ``backbones``: what the backbones are, and their names, as ``load_backbone`` takes them
    - ``trained_on``: recipe, data and scores, for the card
    - ``tuned``: backbones that were tuned, by kind: their weights and what they are rebuilt from are written too
    - ``logits``: what the sigmoid losses learnt (``Objective.logits``)
    - ``views``: which were trained, and the one to rank by (``objectives.views_of``); a reader takes the global one if
      None
    - ``licence``: of the projectors
    - ``window_s``: length of the sounds that it was trained on, which search and evaluation cut others into; 0 of a
      tower by row, to which length is nothing
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with whole_folder(folder, replace=True) as scratch:
        model = model.cpu().eval()
        weights = {n: t.detach() for n, t in model.state_dict().items() if not n.startswith("bodies.")}
        _write(scratch / "model.safetensors", weights)
        for file, tower in zip(NETWORKS, (model.audio, model.text), strict=True):
            _export(tower, scratch / file)
        described_backbones = {"audio": _backbone(backbones[0], audio), "text": _backbone(backbones[1], text)}
        for kind, backbone in (tuned or {}).items():
            named = with_source(
                described_backbones[kind]["backbone"], ""
            )  # with its options, but its place is the folder
            described_backbones[kind] |= save_tuned(backbone, scratch / tuned_folder(kind)) | {"backbone": named}
        files = sorted(p.relative_to(scratch).as_posix() for p in scratch.rglob("*") if p.is_file())
        hashes = {n: file_hash(scratch / n) for n in files}
        digest = hashlib.sha256(json.dumps([hashes, described_backbones], sort_keys=True).encode()).hexdigest()[:12]
        described = {
            "schema": SCHEMA, "name": name, "space": f"{name}/{digest}/{model.dim}", "dim": model.dim,
            **described_backbones,
            "licence": f"projectors: {licence}; sound: {audio.licence}; text: {text.licence}",
            **({} if views is None else {"views": asdict(views)}),
            **({} if window_s is None else {"window_s": window_s}),
            "logits": {k: asdict(v) for k, v in (logits or {}).items()},
            "projectors": model.config.to_json(), "trained_on": dict(trained_on), "solfa": version("solfa"),
            "sha256": hashes,
        }  # fmt: skip
        (scratch / "model.json").write_text(json.dumps(described, indent=1, ensure_ascii=False) + "\n", "utf-8")
        (scratch / "README.md").write_text(card(described), "utf-8")
        if folder.exists():
            read_description(folder)  # never replaces a folder that is something else
    return folder


def _write(file: Path, tensors: Mapping[str, Tensor]) -> None:
    # Cloned, because the format refuses tied weights; as bytes, because its own writer keeps files from other users.
    file.write_bytes(to_bytes({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}))


def _backbone(name: str, spec: EncoderSpec) -> dict[str, Any]:
    terms = {"licence": spec.licence, "commercial_use": spec.commercial_use}
    return {"backbone": name, "space": spec.space, **terms}


def save_tuned(backbone: TorchBackbone[Any], folder: Path) -> dict[str, Any]:
    """Write what a tuned backbone is loaded from, and its weights; what ``model.json`` says of it besides the usual."""
    file = backbone.file
    assert file is not None  # batches.prepare has seen to it
    folder.mkdir()
    for kept in (file, *(file.with_name(n) for n in BESIDE if (file.parent / n).is_file())):
        shutil.copyfile(kept, folder / kept.name)
    _write(folder / TUNED, backbone.network.state_dict())
    whole = file.name in ("model.safetensors", "pytorch_model.bin")
    return {"tuned": True, "file": "" if whole else file.name}


def load_tuned(folder: Path, backbones: Tuned) -> None:
    """Give backbones the weights that they were tuned to for a model, to go on from there.

    Raises InputError if the model has a tuned backbone that is not among them; WeightsError if the folder is damaged.
    """
    check_tuned(folder, {kind: backbone.spec.space for kind, backbone in backbones.items()})
    described = read_description(folder)
    for kind, backbone in backbones.items():
        if described[kind].get("tuned"):
            fill_tuned(backbone, folder / tuned_folder(kind))


def check_tuned(folder: Path, spaces: Mapping[str, str]) -> None:
    """See that the backbones of these spaces, by kind, can go on from a model. Raises InputError as ``load_tuned``."""
    described = read_description(folder)
    for kind in (kind for kind in ("audio", "text") if described[kind].get("tuned")):
        if spaces.get(kind) != described[kind]["space"]:
            place = folder / tuned_folder(kind) / described[kind]["file"]
            wanted = with_source(described[kind]["backbone"], str(place))
            raise InputError(
                f"{folder} has a tuned {kind} backbone; start from it with --{kind} {wanted} --tune {kind}."
            )


def load_projectors(folder: Path, expected: JointConfig) -> dict[str, Tensor]:
    """The tensors of a model folder's projectors, to train on.

    Raises InputError if they are of another configuration than expected; WeightsError if the folder is damaged.
    """
    described, file = read_description(folder), folder / "model.safetensors"
    if described.get("projectors") != json.loads(json.dumps(expected.to_json())):
        raise InputError(f"{folder} has other projectors than the recipe; use the recipe and sizes of that model.")
    check_file(file, str(described["sha256"].get(file.name)))
    tensors = load_tensors(file)
    with torch.device("meta"):
        wanted = {name: tensor.shape for name, tensor in JointProjector(expected).state_dict().items()}
    if wanted != {name: tensor.shape for name, tensor in tensors.items()}:
        raise WeightsError(f"{file} does not fit its model.json. Copy the folder again.")
    return tensors


class _Network(nn.Module):
    def __init__(self, tower: Tower) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, pooled: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        # What a tower does not read of the two still is an input, so that all models are called alike.
        whole = self.tower.of_sound(pooled, states, None)
        if self.tower.config.by_row:
            whole = whole + 0 * pooled[:, :1]
        rows = self.tower.rows(states, None) if self.tower.has_rows else whole[:, None] + 0 * states[:, :1, :1]
        return whole, rows


def _export(tower: Tower, file: Path) -> None:
    network = _Network(tower).eval()
    rows = tower.config.whole if tower.config.shared or tower.config.rows is None else tower.config.rows
    generator = torch.Generator().manual_seed(0)
    pooled = torch.randn((1, tower.config.whole.in_dim), generator=generator)
    states = torch.randn((1, 7, rows.in_dim), generator=generator)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter that needs no further package is called old by torch
        torch.onnx.export(
            network, (pooled, states), str(file), dynamo=False, opset_version=17, input_names=["pooled", "states"],
            output_names=["whole", "rows"], dynamic_axes={"states": {1: "T"}, "rows": {1: "R"}},
        )  # fmt: skip
    session = open_session(file)
    for length in (1, 7, 40):
        states = torch.randn((1, length, rows.in_dim), generator=generator)
        with torch.no_grad():
            expected = network(pooled, states)
        got = session.run(["whole", "rows"], {"pooled": pooled.numpy(), "states": states.numpy()})
        worst = max(float(np.abs(g - e.numpy()).max()) for g, e in zip(got, expected, strict=True))
        if not worst <= _PARITY:
            raise WeightsError(
                f"{file.name}: ONNX Runtime differs from torch by {worst:g}, expected {_PARITY:g} at most."
            )


def card(described: Mapping[str, Any]) -> str:
    """A model card in the hub's form: front matter, backbones, licence, training, how to use it."""
    trained, free = described["trained_on"], all(described[kind]["commercial_use"] for kind in ("audio", "text"))
    data, scored = trained.get("data", {}), trained.get("validation") or "none, the last weights were kept"
    lines = [
        "---", "library_name: solfa", "tags: [music, retrieval, text-to-music]", "---", f"# {described['name']}", "",
        f"Sound and text in one space of {described['dim']} numbers, trained with `solfa train "
        f"{trained.get('recipe', {}).get('name', '')}` (solfa {described['solfa']}).", "",
        *(f"- {kind}: `{described[kind]['backbone']}`, {'tuned' if described[kind].get('tuned') else 'frozen'}; "
          f"licence: {described[kind]['licence']}" for kind in ("audio", "text")),
        f"- commercial use of the backbones: {'allowed' if free else 'not allowed'}",
        *([f"- started from: `{trained['init']}`"] if trained.get("init") else []),
        f"- data: `{data.get('name')}`, revision {data.get('revision')}, {data.get('num_clips')} clips to train on; "
        f"licences: {', '.join(data.get('licences', ())) or 'none stated'}",
        f"- validation: {scored}",
        f"- probability that a text fits: {'fitted to' if 'match' in described['logits'] else 'not known from'} the "
        f"validation split's scores in the view that it ranks by",
        "", "```console", "$ solfa index MUSIC --model trained:FOLDER", "```", "",
    ]  # fmt: skip
    return "\n".join(printable(line) for line in lines)
