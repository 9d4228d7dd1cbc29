"""Training of denoisers on states of frozen backbones (``solfa train gdr``), and the file that a run ends in."""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from solfa.alignment.joint import Batch
from solfa.alignment.objectives import Objective, info_nce
from solfa.core.errors import WeightsError
from solfa.core.files import whole_folder
from solfa.core.types import EncoderSpec
from solfa.datasets.features import FrozenFeatures
from solfa.diffusion.denoisers import DenoiserConfig, Generator
from solfa.diffusion.guidance import DenoiserSpec
from solfa.diffusion.network import FILE, OnnxDenoiser, to_json
from solfa.training.trainer import Trainer

_CLIPS = 2048  # that mean and scale are taken from
_PARITY = 5e-3  # largest difference between torch and ONNX Runtime with halved weights, of what has a variance of 1


class Denoising(nn.Module):
    """A denoiser as what the trainer trains; its "vectors" are the errors of a batch."""

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        self.denoiser, self.bodies = Generator(config), nn.ModuleDict()

    def forward(self, batch: Batch, rows: bool = True) -> dict[str, Tensor]:
        return self.denoiser.errors(batch.frames_BTD, batch.frame_mask_BT, batch.tokens_BLD, batch.token_mask_BL)

    def with_states(self, batch: Batch) -> Batch:
        return batch  # no backbone is tuned

    def projected(self, vectors: Mapping[str, Tensor], batch: Batch, seed: int) -> Mapping[str, Tensor]:
        return vectors


class DenoisingLoss(Objective):
    """Mean squared error, and InfoNCE between means over time where the configuration weighs it."""

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        self.config = config

    def losses(self, batch: Any) -> dict[str, Tensor]:
        """The terms, weighted."""
        terms = {"mse": batch["error_B"].mean()}
        if self.config.contrastive:
            near = F.normalize(batch["predicted_BD"], dim=1) @ F.normalize(batch["right_BD"], dim=1).T
            terms["contrastive"] = self.config.contrastive * info_nce(near / self.config.temperature)
        return terms


class DenoiserTrainer(Trainer):
    """``Trainer`` of a denoiser; latents are the frames of a batch."""

    def _networks(self) -> tuple[nn.Module, Objective]:
        model = Denoising(self.recipe.model)
        standardise(model.denoiser, self.data.train)
        return model, DenoisingLoss(self.recipe.model)


def standardise(model: Generator, features: FrozenFeatures) -> None:
    """Set mean and scale so that latents of the first clips have mean 0 and, over all their numbers, variance 1."""
    total, square, count = np.zeros(model.config.dim), 0.0, 0
    for row in range(min(_CLIPS, len(features))):
        states = features.audio(np.array([row]))
        clip = states.states_BTD[0][states.mask_BT[0]].astype(np.float64)
        clip = clip.mean(axis=0, keepdims=True) if model.config.length == 1 else clip
        total, square, count = total + clip.sum(axis=0), square + float((clip**2).sum()), count + len(clip)
    mean = total / count
    model.mean_D.copy_(torch.from_numpy(mean))
    model.scale.fill_(max(square / count - float(mean @ mean), 1e-12) ** 0.5 / len(mean) ** 0.5)


def save_denoiser(
    folder: Path, model: Generator, *, audio: EncoderSpec, text: EncoderSpec, backbones: tuple[str, str],
    trained_on: Mapping[str, Any],
) -> Path:  # fmt: skip
    """Write ``FOLDER/gdr.onnx``, whole or not at all, with weights in float16; an older folder is replaced.

    ``audio``, ``text`` and ``backbones`` say what latents and texts are, and the names of what makes them. Raises
    WeightsError if ONNX Runtime answers other than torch.
    """
    import onnx

    model = model.cpu().eval()
    config = model.config
    spec = DenoiserSpec(
        space=audio.space, audio=backbones[0], text=backbones[1], text_space=text.space, hop_s=audio.hop_s,
        length=config.length, dim=config.dim, text_dim=config.text_dim, mean_D=model.mean_D.numpy(),
        scale=float(model.scale), null_LE=model.null_LE.detach().numpy(), prediction=config.prediction,
        generates=config.generates,
    )  # fmt: skip
    about = {"trained_on": dict(trained_on), "licence": f"sound: {audio.licence}; text: {text.licence}"}
    z = torch.randn((2, config.length, config.dim), generator=torch.Generator().manual_seed(0))
    text_BLE, mask_BL = torch.ones((2, 3, config.text_dim)), torch.tensor([[True, True, True], [True, False, False]])
    given = {"z": z, "t": torch.tensor([0, 700]), "text": text_BLE, "mask": mask_BL}
    axes = {name: {0: "B", 1: "L"} if name in ("text", "mask") else {0: "B"} for name in (*given, "prediction")}
    with whole_folder(folder, replace=True) as scratch:
        file = scratch / FILE
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter that needs no further package is called old by torch
            torch.onnx.export(
                model, tuple(given.values()), str(file), dynamo=False, opset_version=17, input_names=list(given),
                output_names=["prediction"], dynamic_axes=axes,
            )  # fmt: skip
        network = onnx.load(str(file))
        kind = onnx.TensorProto
        for tensor in [t for t in network.graph.initializer if t.data_type == kind.FLOAT and np.prod(t.dims) > 64]:
            name, half = tensor.name, onnx.numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(onnx.numpy_helper.from_array(half, f"{name}_half"))
            network.graph.node.insert(0, onnx.helper.make_node("Cast", [f"{name}_half"], [name], to=kind.FLOAT))
        onnx.helper.set_model_props(network, {"spec": to_json(spec), "about": json.dumps(about)})
        onnx.save(network, str(file))
        with torch.no_grad():
            expected = model(*given.values()).numpy()
        worst = float(np.abs(OnnxDenoiser(file)(*(tensor.numpy() for tensor in given.values())) - expected).max())
        if not worst <= _PARITY * max(1.0, float(np.abs(expected).max())):
            raise WeightsError(f"{FILE}: ONNX Runtime differs from torch by {worst:g}, expected {_PARITY:g} at most.")
    return folder
