"""A learned captioner as a folder, and what it says of a sound. Needs torch and transformers.

::

    FOLDER/captioner.json          sizes, backbone of sound, language model, what it was trained on
    FOLDER/connector.safetensors   the connector
    FOLDER/lm/                     a language model that was trained too, as transformers saves it
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as to_bytes

from solfa.alignment.joint import Batch
from solfa.audio import at_rate, stretches
from solfa.core.errors import InputError, WeightsError
from solfa.core.files import file_hash, whole_folder
from solfa.core.text import printable
from solfa.core.types import Audio, EncoderSpec
from solfa.encoders import checkpoints
from solfa.encoders.trained import check_file, load_on
from solfa.language.captioner.networks import LOG_MEL, CaptionerConfig, CaptionNetwork, LanguageModel, library
from solfa.language.narrate import Claim

SCHEMA = "solfa.captioner/1"
_FILE, _WEIGHTS = "captioner.json", "connector.safetensors"
_SILENT = 1e-4  # of full scale; of less a language model would make up music


def save(folder: Path, model: CaptionNetwork, spec: EncoderSpec, about: Mapping[str, Any]) -> None:
    """Write the folder, whole or not at all.

    ``spec`` is of the states of sound; ``about`` says ``sound`` (name of the backbone, "" for log-mel bands),
    ``window_s`` (length of the clips) and what it was trained on.
    """
    with whole_folder(folder, replace=True) as scratch:
        own = {name: tensor.contiguous() for name, tensor in model.state_dict().items() if name[:7] != "bodies."}
        (scratch / _WEIGHTS).write_bytes(to_bytes(own))
        if model.config.tune_lm:
            library.utils.logging.disable_progress_bar()
            model.lm.network.save_pretrained(scratch / "lm")
            model.lm.tokenizer.save(str(scratch / "lm" / "tokenizer.json"))
        described = {
            "schema": SCHEMA, **about, "model": model.config.to_json(), "space": spec.space, "licence": spec.licence,
            "lm": "" if model.config.tune_lm else model.lm.source, "lm_sha256": _hash(model.lm),
            "sha256": file_hash(scratch / _WEIGHTS),
        }  # fmt: skip
        (scratch / _FILE).write_text(json.dumps(described, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _hash(lm: LanguageModel) -> str:
    digest = hashlib.sha256()
    for tensor in lm.network.state_dict().values():
        digest.update(tensor.detach().cpu().contiguous().numpy())
    return digest.hexdigest()


class LearnedCaptioner:
    """The captioner in a folder.

    Raises InputError if the folder is none; WeightsError if it is damaged, or its language model or backbone is another
    one on this machine; InputError or MissingExtra as ``encoders.trained.load_on``.
    """

    def __init__(self, folder: Path, *, device: str = "cpu", allow_noncommercial: bool = False) -> None:
        if not (folder / _FILE).is_file():
            raise InputError(f"{folder} has no {_FILE}; a captioner is the folder RUN/model of solfa train captioner.")
        described = checkpoints.config(folder / _FILE)
        with checkpoints.reading(folder / _FILE, "the description of a captioner"):
            if described["schema"] != SCHEMA or not 0.1 <= described["window_s"] <= 600:
                raise ValueError(f"its schema is {described['schema']!r}, its clips last {described['window_s']} s")
            config = replace(CaptionerConfig(**described["model"]), tune_lm=False)
            sound, self.window_s, source = described["sound"], described["window_s"], str(described["lm"])
        check_file(folder / _WEIGHTS, str(described.get("sha256")))
        self.model = CaptionNetwork(config, LanguageModel.load(source or str(folder / "lm")))
        checkpoints.fill(self.model, checkpoints.load_tensors(folder / _WEIGHTS), folder / _WEIGHTS, "this captioner")
        self.model.to(checkpoints.device_for(device))
        given: Any = {"device": device, "allow_noncommercial": allow_noncommercial}
        self.sound = load_on(sound, "audio", **given) if sound else None
        space = (LOG_MEL if self.sound is None else self.sound.spec).space
        if _hash(self.model.lm) != described.get("lm_sha256") or space != described.get("space"):
            raise WeightsError(f"{folder} was trained on another language model ({source}) or backbone ({sound}).")
        self.name = f"captioner {folder}"

    def claims(self, file: Path | str, *, seed: int = 0) -> Iterator[Claim]:
        """A caption of each ``window_s`` of a file: the model's word, with no confidence, for nothing was measured.

        A rest is left out, a shorter sound is filled up with zeros (LP-MusicCaps); of silence the claim is just that.
        Raises DecodeError as ``audio.stretches``.
        """
        for part, audio in enumerate(stretches(file, self.window_s)):
            more = round(self.window_s * audio.sample_rate_hz) - len(audio.samples)
            if more > 1 and audio.start_s > 0:
                return
            claim = Claim(text="Silence.", start_s=audio.start_s, end_s=audio.start_s + audio.duration_s,
                          field="caption", value=None, confidence=1.0, certainty="surely", part=part)  # fmt: skip
            if np.abs(audio.samples).max(initial=0.0) > _SILENT:
                filled = replace(audio, samples=np.pad(audio.samples, (0, max(0, more))), _derived={})
                text = printable(" ".join(self.write(filled, seed=seed).split())) or "(the model gives no words)"
                claim = replace(claim, text=text, confidence=0.0, certainty="perhaps", maker=self.name)
            yield claim

    def write(self, audio: Audio, *, seed: int = 0) -> str:
        """The words for one clip."""
        if self.sound is None:
            audio, given = at_rate(audio, LOG_MEL.sample_rate_hz or 0), [torch.zeros(1, 0)] * 3
        else:
            states = self.sound.states([audio])
            given = [torch.from_numpy(x) for x in (states.pooled_BD, states.states_BTD, states.mask_BT)]
        of: Any = Batch  # what no connector reads is empty
        batch = of(("",), *given, *[torch.zeros(1, 0)] * 6, sounds=(audio,))
        return self.model.write(batch.to(self.model.lm.network.device), seed=seed)[0]
