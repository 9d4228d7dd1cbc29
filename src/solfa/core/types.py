"""The nouns that all rooms share: frozen values, no IO.

Shape letters: B batch, T frames, L tokens, D dimensions, N samples.
Times are seconds from the start of the track (``_s``), tempo is beats per minute (``_bpm``).
A *confidence* is a calibrated probability in 0..1 that the value is right; how each was calibrated is in
``docs/analysis.md``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from solfa.core.errors import InputError

T = TypeVar("T")
Rng = np.random.Generator
FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
HalfArray = NDArray[np.float16]


@dataclass(frozen=True, eq=False, slots=True)
class Audio:
    """A stretch of mono sound.

    ``samples`` are float32 [shape=(N,)], nominally -1..1; ``start_s`` is where the stretch starts in its track.

    Raises InputError if the samples are not of one channel.
    """

    samples: FloatArray
    sample_rate_hz: int
    start_s: float = 0.0
    _derived: dict[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.samples.ndim != 1:
            raise InputError(f"sound of shape {self.samples.shape}, expected one channel: take the mean of channels.")

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.sample_rate_hz

    def derive(self, key: str, compute: "Callable[[Audio], T]") -> T:
        """The value of ``compute(self)``, computed once for this stretch.

        Resamplings and network outputs that several consumers need go through here, so that one decode and one
        forward pass feed everything.
        """
        if key not in self._derived:
            self._derived[key] = compute(self)
        value: T = self._derived[key]
        return value


# --- analysis -------------------------------------------------------------------------------------------------------

V = TypeVar("V", covariant=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class Alternative(Generic[V]):
    """A value that the measurement did not prefer, with its own confidence."""

    value: V
    confidence: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate(Generic[V]):
    """One measured value. ``value`` is None where nothing could be measured (confidence 0)."""

    value: V | None
    confidence: float
    alternatives: tuple[Alternative[V], ...] = ()
    unit: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """A time range with the confidence that the thing in question is there."""

    start_s: float
    end_s: float
    confidence: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ChordSegment:
    """One chord; ``label`` is in Harte / mir_eval syntax (``A:min7``, ``F:maj/3``, ``N``)."""

    start_s: float
    end_s: float
    label: str
    confidence: float


@dataclass(frozen=True, kw_only=True, slots=True)
class TagTrack:
    """How sure we are that a concept is present somewhere in the track, and where.

    ``concept`` is an id of the vocabulary (``core.vocabulary``); ``confidence`` is for the whole track.
    ``share`` is the fraction of the track in which it is present.
    """

    concept: str
    kind: str
    confidence: float
    share: float = 0.0
    spans: tuple[Span, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """A regularly sampled curve; ``values[i]`` belongs to ``[i*hop_s, (i+1)*hop_s)``."""

    hop_s: float
    values: tuple[float, ...]
    unit: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Analysis:
    """All that was measured about one track. JSON form: ``docs/json.md`` (schema ``solfa.analysis/1``)."""

    duration_s: float
    tempo_bpm: Estimate[float]
    metre: Estimate[str]
    beats_s: tuple[float, ...]
    downbeats_s: tuple[float, ...]
    key: Estimate[str]
    chords: tuple[ChordSegment, ...]
    loudness_lufs: Estimate[float]
    energy: Curve
    voice: TagTrack
    instruments: tuple[TagTrack, ...]
    genres: tuple[TagTrack, ...]
    moods: tuple[TagTrack, ...]
    sounds: tuple[TagTrack, ...] = ()
    extractors: tuple[str, ...] = ()

    def tags(self) -> dict[str, TagTrack]:
        """Every concept that was measured, by id (the voice included)."""
        return {t.concept: t for t in (self.voice, *self.instruments, *self.genres, *self.moods, *self.sounds)}


@dataclass(frozen=True, kw_only=True, slots=True)
class FileTags:
    """What the file says about itself; kept apart from what is measured. Text is cleaned of control characters."""

    title: str = ""
    artist: str = ""
    album: str = ""
    genre: str = ""
    date: str = ""
    comment: str = ""
    tempo_bpm: float | None = None
    key: str | None = None


# --- embeddings -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderSpec:
    """What an encoder is; two encoders with one ``space`` produce vectors that may be compared.

    ``space`` names family, checkpoint hash, dimension and preprocessing.
    ``hop_s`` is the time between frames (0 for text); ``sample_rate_hz`` is 0 for text. ``window_s`` is the length of
    sound that the encoder was trained on, in which longer sound is encoded (0: sound of any length is encoded at once,
    and its pooled vector is the mean of its frames).
    """

    name: str
    space: str
    dim: int
    licence: str
    commercial_use: bool
    sample_rate_hz: int = 0
    hop_s: float = 0.0
    window_s: float = 0.0


ViewName = Literal["global", "frame", "mix"]
Direction = Literal["frames", "tokens"]


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """How a window of sound and a text are scored (computed in ``alignment.scores``).

    ``name``: ``global``: cosine of the pooled vectors; ``frame``: FIGMA's frame score (arXiv 2606.06615), the mean over
    frames of the best token; ``mix``: ``alpha * global + (1 - alpha) * frame``; ``alpha``: weight of the global score
    in a mix, 0..1; ``direction``: what the mean of the frame score runs over: ``tokens`` is the mean over tokens of the
    best frame.

    Raises InputError if the name or the direction is unknown, or alpha is not in 0..1.
    """

    name: ViewName = "global"
    alpha: float = 0.6
    direction: Direction = "frames"

    def __post_init__(self) -> None:
        if self.name not in ("global", "frame", "mix") or self.direction not in ("frames", "tokens"):
            raise InputError(
                f"no such view: {self.name!r} over {self.direction!r}. Expected global, frame or mix, over frames or "
                f"tokens."
            )
        if not 0.0 <= self.alpha <= 1.0:
            raise InputError(f"alpha must be between 0 and 1, got {self.alpha}.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Views:
    """Which views of a model were trained, and the one that it ranks by."""

    trained: tuple[ViewName, ...] = ("global",)
    rank: View = View()


@dataclass(frozen=True, eq=False, slots=True)
class Features:
    """What an encoder says about a batch.

    ``global_BD`` float32, unit norm per row; ``frames_BTD`` float32, unit norm per frame (tokens for text);
    ``mask_BT`` True where a frame is real. Padding and batch size never change the real rows.
    """

    global_BD: FloatArray
    frames_BTD: FloatArray
    mask_BT: BoolArray


@dataclass(frozen=True, eq=False, slots=True)
class States:
    """What a pretrained backbone gives for a batch, before any projection: raw, not normalised.

    ``pooled_BD`` and ``states_BTD`` float32, or float16 where they come from a cache; ``mask_BT`` True where a frame or
    token is real (others are zero). Padding and batch size never change the real rows. An item may have no real row at
    all.
    """

    pooled_BD: FloatArray | HalfArray
    states_BTD: FloatArray | HalfArray
    mask_BT: BoolArray


X = TypeVar("X", contravariant=True)


class Backbone(Protocol[X]):
    """A pretrained network that projectors are trained on: of sound (``Audio``) or of words (``str``).

    Its ``spec.space`` names checkpoint and preprocessing, so that cached states of two backbones never meet.
    """

    @property
    def spec(self) -> EncoderSpec:
        """What this backbone is; ``dim`` is the width of its states and of its pooled vectors."""

    def states(self, batch: Sequence[X]) -> States:
        """The hidden states of a batch; audio states are ``spec.hop_s`` apart from the start of each stretch."""


class Encoder(Protocol[X]):
    """Sound (``Audio``) or words (``str``) to vectors of one space."""

    @property
    def spec(self) -> EncoderSpec:
        """What this encoder is."""

    def encode(self, batch: Sequence[X]) -> Features:
        """Encode a batch: frames of sound are ``spec.hop_s`` apart from the start of each stretch, and every text
        counts to its last word, however long."""


AudioEncoder = Encoder[Audio]
TextEncoder = Encoder[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelInfo:
    """What a user must know before using a model: shown by ``solfa models``."""

    name: str
    kind: str
    licence: str
    commercial_use: bool
    source: str
    description: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Logit:
    """How a sigmoid loss turned cosines into probabilities: sigmoid(cosine / temperature + bias), both learnt."""

    temperature: float
    bias: float

    def probability(self, cosines: NDArray[Any]) -> NDArray[np.float64]:
        """Probabilities 0..1 of cosines -1..1 [same shape]."""
        return np.asarray(0.5 + 0.5 * np.tanh((np.asarray(cosines, np.float64) / self.temperature + self.bias) / 2))


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Match:
    """What turns scores of a model that learnt no probabilities into some, whatever collection is searched.

    ``sounds_SD``, ``texts_XD``: unit vectors of sounds and of texts at large, which an unlike text and an unlike sound
    are judged by; ``weights``: of a logistic model: of the standard score among sounds, among texts, of
    ``familiarity``, and a constant; ``likeness``: of another, of an example sound: of its standard score, and a
    constant, and the median scores of other recordings and of another part of its own (``benchmarks/likeness.py``).

    Source: S-norm of speaker verification (Kenny 2010), fitted by ``tools/fit_match.py``.
    """

    sounds_SD: FloatArray
    texts_XD: FloatArray
    weights: tuple[float, float, float, float]
    likeness: tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class JointModel:
    """An audio tower and a text tower that share a space.

    ``logits`` has what the model's sigmoid losses learnt: ``clip`` for pooled vectors of sound and caption, ``frame``
    for a frame and the pooled vector of a phrase; its ``match`` was fitted to the validation split's scores in the view
    that the model ranks by, with as many true as false pairs. The field ``match`` serves models that were not trained.
    ``captions``: whether texts were learnt as a whole, so that search asks a whole query rather than its phrases.
    """

    name: str
    audio: AudioEncoder
    text: TextEncoder
    views: Views = Views()
    logits: Mapping[str, Logit] = field(default_factory=dict)
    match: Match | None = None
    captions: bool = False

    @property
    def space(self) -> str:
        """The embedding space that both towers write to."""
        return self.audio.spec.space
