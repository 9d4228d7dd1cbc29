"""A language model that is given sound: connectors and ways of conditioning. Needs torch and transformers.

Shape letters: B items, T states, K vectors of the connector, W width of the language model, L tokens, N samples.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers.models.whisper.modeling_whisper import sinusoids

from solfa.alignment.joint import Batch
from solfa.core.errors import InputError, WeightsError
from solfa.core.types import EncoderSpec
from solfa.encoders import checkpoints
from solfa.encoders.tokens import clean, tokenizer
from solfa.encoders.torch_backbone import masked_mean

_RATE_HZ, _FFT, _HOP, _BANDS, _STRIDES = 16_000, 1024, 160, 128, 5  # LP-MusicCaps
LOG_MEL = EncoderSpec(name="log-mel", space="log-mel/1", dim=_BANDS, licence="no weights", commercial_use=True,
                      sample_rate_hz=_RATE_HZ, hop_s=_HOP / _RATE_HZ)  # fmt: skip
_WRITING: dict[str, dict[str, Any]] = {
    "greedy": {"do_sample": False}, "beams": {"do_sample": False, "num_beams": 5},
    "sampled": {"do_sample": True, "top_k": 50, "top_p": 0.9, "temperature": 0.1, "repetition_penalty": 1.1},
}  # fmt: skip
_SPECIAL = {"pad_token_id": "<pad>", "bos_token_id": "<s>", "eos_token_id": "</s>"}
library: Any = transformers


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionerConfig:
    """A captioner but for its language model. Raises InputError if a number is out of range.

    - ``kind``: of the connector. ``prefix`` maps the pooled vector to ``vectors`` (ISMIR 2024 tutorial), ``qformer``
      reads states of ``in_dim`` by as many queries in ``layers`` (BLIP-2), both ``hidden`` wide inside; ``linear`` maps
      the mean of every ``pool`` states (LLark); ``encoder-decoder`` convolves a log-mel spectrogram (LP-MusicCaps)
    - ``mode``: where a decoder gets the vectors: before its tokens, beside the channels of each token, as scale and
      shift of its norms, in gated cross-attention. An encoder-decoder reads them: ``cross-attention``
    - ``prompt``: words between the sound and the caption, which has ``max_tokens`` at most
    - ``tune_lm``: whether the language model is trained too; ``label_smoothing``: of the loss in training
    - ``writing``: ``beams`` are five (LP-MusicCaps), ``sampled`` is as the tutorial samples
    """

    kind: Literal["prefix", "qformer", "linear", "encoder-decoder"]
    mode: Literal["prefix", "concatenation", "modulation", "cross-attention"] = "prefix"
    in_dim: int = 1
    hidden: int = 256
    vectors: int = 1
    layers: int = 2
    pool: int = 1
    prompt: str = ""
    max_tokens: int = 128
    tune_lm: bool = False
    label_smoothing: float = 0.0
    writing: Literal["greedy", "beams", "sampled"] = "greedy"

    def __post_init__(self) -> None:
        numbers = {name: value for name, value in asdict(self).items() if type(value) is int}
        if bad := [f"{name} {value}" for name, value in numbers.items() if not 1 <= value <= 16_384]:
            raise InputError(f"captioner: {', '.join(bad)}; expected 1 to 16384.")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)


class LanguageModel:
    """One of transformers' with its tokenizer; ``source`` names its checkpoint. Raises WeightsError without an end."""

    def __init__(self, network: Any, words: Tokenizer, source: str = "") -> None:
        self.network, self.tokenizer, self.source = network, words, source
        self.reads = bool(network.config.is_encoder_decoder)
        bos, eos, pad = (getattr(network.config, f"{name}_token_id", None) for name in ("bos", "eos", "pad"))
        if eos is None:
            raise WeightsError(f"{source}: config.json names no eos_token_id, the token that ends a text.")
        self.eos = int(eos[0] if isinstance(eos, list) else eos)
        self.bos, self.pad = self.eos if bos is None else int(bos), self.eos if pad is None else int(pad)

    @classmethod
    def load(cls, source: str) -> "LanguageModel":
        """A local checkpoint by folder or Hugging Face id, such as GPT-2, Llama, BART or T5; nothing is fetched.

        Raises InputError if it is not on this machine; WeightsError if it is damaged or no such model.
        """
        place, what = checkpoints.locate(source), "a language model"
        checkpoints.config(place / "config.json")
        with checkpoints.reading(place, what):
            config = library.AutoConfig.from_pretrained(place, local_files_only=True)
        network = checkpoints.pretrained(_class_of(config), place, what).float()
        return cls(network, tokenizer(place), str(place.absolute()) if Path(source).is_dir() else source)

    @classmethod
    def new(cls, sizes: dict[str, Any], captions: Iterable[str]) -> "LanguageModel":
        """One of a ``model_type`` and sizes, with new weights, for the words of captions (byte-level BPE)."""
        words = Tokenizer(models.BPE())
        words.pre_tokenizer, words.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
        how: Any = {"special_tokens": [*_SPECIAL.values()], "initial_alphabet": pre_tokenizers.ByteLevel.alphabet()}
        words.train_from_iterator(
            map(clean, captions), trainers.BpeTrainer(vocab_size=2000, show_progress=False, **how)
        )
        numbers = {name: words.token_to_id(token) for name, token in _SPECIAL.items()}
        numbers |= {"vocab_size": words.get_vocab_size(), "decoder_start_token_id": numbers["eos_token_id"]}
        config = library.AutoConfig.for_model(**sizes, **numbers)
        return cls(_class_of(config).from_config(config), words)

    def tokens(self, text: str) -> list[int]:
        """The token numbers of a text, without special ones."""
        return list(self.tokenizer.encode(clean(text), add_special_tokens=False).ids) if text else []

    def padded(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Token numbers [shape=(B, L)] filled up at the end, and which are real."""
        given = [torch.tensor(row, dtype=torch.long) for row in rows]
        ids = nn.utils.rnn.pad_sequence(given, batch_first=True, padding_value=self.pad).to(self.network.device)
        lengths = torch.tensor([len(row) for row in rows], device=ids.device)
        return ids, torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]


def _class_of(config: Any) -> Any:
    return library.AutoModelForSeq2SeqLM if config.is_encoder_decoder else library.AutoModelForCausalLM


class LogMel(nn.Module):
    """The front end of LP-MusicCaps: log-mel bands, a convolution and five strided ones, sinusoidal positions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        bank = library.audio_utils.mel_filter_bank(_FFT // 2 + 1, _BANDS, 0.0, _RATE_HZ / 2, _RATE_HZ)
        self.register_buffer("bank", torch.from_numpy(np.asarray(bank, np.float32)), persistent=False)
        strided = (nn.Conv1d(width, width, 3, stride=2, padding=1) for _ in range(_STRIDES))
        self.convolutions = nn.ModuleList([nn.Conv1d(_BANDS, width, 3, padding=1), *strided])

    def forward(self, samples_BN: Tensor) -> Tensor:
        """Vectors [shape=(B, K, W)], one every 0.32 s."""
        window = torch.hann_window(_FFT, device=samples_BN.device)
        power = torch.stft(samples_BN, _FFT, _HOP, window=window, return_complex=True)[..., :-1].abs().square()
        x = ((power.mT @ self.get_buffer("bank")).clamp(min=1e-10).log10() / 4 + 1).mT  # about unit scale
        for convolution in self.convolutions:
            x = F.gelu(convolution(x))
        return x.mT + sinusoids(x.shape[2], x.shape[1]).to(x)


class Conditioning(nn.Module):
    """What sound changes at a place inside a decoder; nothing before training.

    A map of each token beside the mean vector, scale and shift by it (FiLM: Perez et al., AAAI 2018), or
    cross-attention with a gate (Flamingo: Alayrac et al., NeurIPS 2022).
    """

    def __init__(self, mode: str, width: int) -> None:
        super().__init__()
        self.map: Any = nn.Linear(*((2 * width, width) if mode == "concatenation" else (width, 2 * width)))
        nn.init.zeros_(self.map.weight), nn.init.zeros_(self.map.bias)
        if mode == "concatenation":
            nn.init.eye_(self.map.weight.data[:, :width])
        self.attention: nn.Module | None = None
        if mode == "cross-attention":
            self.map, self.gate = nn.LayerNorm(width), nn.Parameter(torch.zeros(1))
            self.attention = nn.MultiheadAttention(width, math.gcd(width, 8), batch_first=True)

    def forward(self, x: Tensor, vectors: Tensor, mask: Tensor) -> Any:
        """What comes out of a module of the decoder [shape=(B, L, W)] with the sound."""
        if self.attention is not None:
            return x + self.gate.tanh() * self.attention(self.map(x), vectors, vectors, ~mask, need_weights=False)[0]
        mean = masked_mean(vectors, mask)[:, None]
        if self.map.in_features > self.map.out_features:
            return self.map(torch.cat([x, mean.expand_as(x)], -1))
        scale, shift = self.map(mean).chunk(2, -1)
        return x * (1 + scale) + shift


def _places(network: Any, mode: str, width: int) -> list[nn.Module]:
    """The modules of a decoder whose output a mode changes; none of ``prefix``."""
    if mode == "cross-attention":
        depth, lists = network.config.num_hidden_layers, (m for m in network.modules() if isinstance(m, nn.ModuleList))
        return list(next(m for m in lists if len(m) == depth))
    norms = (m for m in network.modules() if type(m).__name__.endswith("Norm"))
    scaled = [m for m in norms if getattr(m, "weight", torch.zeros(0)).shape == (width,)]
    return {"concatenation": [network.get_input_embeddings()], "modulation": scaled}.get(mode, [])


class CaptionNetwork(nn.Module):
    """A connector and a language model, as ``training.trainer.Trainer`` trains a model.

    A frozen language model is none of its parameters and stays in eval mode. Raises InputError if the mode is not one
    of the language model.
    """

    # What the trainer asks for: the states of a batch are there, and the loss takes what ``forward`` gives.
    with_states = staticmethod(lambda batch: batch)
    projected = staticmethod(lambda made, batch, seed: made)

    def __init__(self, config: CaptionerConfig, lm: LanguageModel) -> None:
        super().__init__()
        self.config, self.lm, kind, hidden = config, lm, config.kind, config.hidden
        width = int(lm.network.get_input_embeddings().weight.shape[1])
        self.bodies = nn.ModuleDict({"lm": lm.network} if config.tune_lm else {})  # the name that the trainer knows
        lm.network.requires_grad_(config.tune_lm).eval()
        if lm.reads and config.mode != "cross-attention":
            raise InputError(f"an encoder-decoder takes sound by cross-attention, {config.mode} is a mode of decoders.")
        first: nn.Module = nn.Linear(config.in_dim, width if kind == "linear" else hidden)
        more = [nn.ReLU(), nn.Linear(hidden, config.vectors * width)] if kind == "prefix" else []
        self.connector = LogMel(width) if kind == "encoder-decoder" else nn.Sequential(first, *more)
        self.marks = nn.Parameter(0.02 * torch.randn(2, width)) if kind == "linear" else None
        if kind == "qformer":
            sizes = library.Blip2QFormerConfig(
                hidden_size=hidden, num_hidden_layers=config.layers, num_attention_heads=math.gcd(hidden, 8),
                intermediate_size=4 * hidden, encoder_hidden_size=config.in_dim, cross_attention_frequency=1,
            )  # fmt: skip
            self.connector, self.out = library.Blip2QFormerModel(sizes), nn.Linear(hidden, width)
            self.queries = nn.Parameter(0.02 * torch.randn(config.vectors, hidden))
        self._given: tuple[Tensor, Tensor] | None = None
        places = [] if lm.reads else _places(lm.network, config.mode, width)
        self.conditioning = nn.ModuleList(Conditioning(config.mode, width) for _ in places)
        for place, module in zip(places, self.conditioning, strict=True):
            place.register_forward_hook(partial(self._changed, module))

    def _changed(self, module: nn.Module, place: nn.Module, inputs: Any, out: Any) -> Any:
        x = out[0] if isinstance(out, tuple) else out
        if self._given is not None:  # a search by beams has several rows of one sound
            x = module(x, *(given.repeat_interleave(len(x) // len(given), 0) for given in self._given))
        return (x, *out[1:]) if isinstance(out, tuple) else x

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        self.lm.network._apply(fn)  # a frozen one is not among the modules
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

    def vectors(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """What the connector makes of sounds [shape=(B, K, W)], and which are real [shape=(B, K)]."""
        config, mask = self.config, batch.frame_mask_BT
        if self.marks is not None:
            parts = mask[:, None].float(), batch.frames_BTD.mT
            share, states = (F.avg_pool1d(x, config.pool, ceil_mode=True).mT for x in parts)
            first, last = self.marks[:, None, None].expand(-1, len(mask), -1, -1)
            made = torch.cat([first, self.connector(states / share.clamp(min=1e-6)), last], 1)
            return made, F.pad(share[..., 0] > 0, (1, 1), value=True)
        if config.kind == "qformer":
            read = {"encoder_hidden_states": batch.frames_BTD, "encoder_attention_mask": mask.long()}
            made = self.out(self.connector(self.queries.expand(len(mask), -1, -1), **read).last_hidden_state)
        elif config.kind == "prefix":
            made = self.connector(batch.audio_BD).view(len(mask), config.vectors, -1)
        else:
            sounds = [torch.from_numpy(sound.samples) for sound in batch.sounds]
            made = self.connector(nn.utils.rnn.pad_sequence(sounds, batch_first=True).to(self.lm.network.device))
        return made, made.new_ones(made.shape[:2], dtype=torch.bool)

    @contextmanager
    def _inputs(self, batch: Batch, rows: Sequence[Sequence[int]] = ()) -> Iterator[dict[str, Tensor]]:
        """What the language model takes of sounds, the prompt and rows of tokens; in the block it knows the sounds."""
        start = self.lm.tokens(self.config.prompt) + ([] if self.lm.reads else [self.lm.bos])
        self._given = vectors, mask = self.vectors(batch)
        try:
            ids, real = self.lm.padded([[*start, *row] for row in rows or [[]] * len(batch)])
            tokens = self.lm.network.get_input_embeddings()(ids)
            if not self.conditioning:
                tokens, real = torch.cat([vectors, tokens], 1), torch.cat([mask, real], 1)
            yield {"inputs_embeds": tokens, "attention_mask": real.long()}
        finally:
            self._given = None

    def forward(self, batch: Batch, rows: bool = True) -> dict[str, Tensor]:
        """Of each pair the sum of losses of its caption's tokens [shape=(B,)], and their number; no others count."""
        lm, most = self.lm, self.config.max_tokens - 1
        answers = [[*lm.tokens(text)[:most], lm.eos] for text in batch.texts]
        labels, real = lm.padded(answers)
        labels = labels.masked_fill(~real, -100)
        with self._inputs(batch, () if lm.reads else answers) as given:
            if lm.reads:
                given["decoder_input_ids"] = lm.network.prepare_decoder_input_ids_from_labels(labels=labels)
            else:
                given["position_ids"] = (given["attention_mask"].cumsum(1) - 1).clamp(min=0)
            logits = lm.network(**given).logits
        logits = logits if lm.reads else logits[:, -labels.shape[1] - 1 : -1]
        smoothing = self.config.label_smoothing if self.training else 0.0
        each_BL = F.cross_entropy(logits.mT.float(), labels, reduction="none", label_smoothing=smoothing)
        return {"loss_B": each_BL.sum(1), "count_B": real.sum(1).float()}

    @torch.no_grad()
    def write(self, batch: Batch, *, seed: int = 0) -> list[str]:
        """A caption of each sound; the seed counts where captions are sampled."""
        how = _WRITING[self.config.writing] | {"max_new_tokens": self.config.max_tokens}
        self.eval()
        with self._inputs(batch) as given, torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            found = self.lm.network.generate(**given, **how, pad_token_id=self.lm.pad, eos_token_id=self.lm.eos)
        return [self.lm.tokenizer.decode(row).strip() for row in found.tolist()]
