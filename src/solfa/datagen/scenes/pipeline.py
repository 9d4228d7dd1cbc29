"""``solfa data scenes``: a data set of sound scenes, each a pure function of (configuration, seed, split, number)."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property, partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import wavfile

from solfa.core.clip import SPLITS, Clip
from solfa.core.errors import InputError
from solfa.core.files import table_of
from solfa.core.types import FloatArray, Rng
from solfa.datagen.captions.checks import CaptionRules, broken_rules
from solfa.datagen.captions.llm import Captioner
from solfa.datagen.scenes.mixing import NUM_EVENTS, SCENE_S, Scene, mix, noise
from solfa.datagen.scenes.pool import Material, material
from solfa.datagen.scenes.sources import BACKGROUND
from solfa.datasets.building import ShardTask, build
from solfa.datasets.phrases import bank_of
from solfa.datasets.shards import Dataset, Failure, Member
from solfa.jobs import Executor
from solfa.llm import Endpoint

BANK_FILE = "phrases.jsonl"
_VERSION = 3
_SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}
_RULES = CaptionRules(complete=False, one_sentence=True, objective=True, most_words=80)
# Rules that hold a caption of music against its attributes; sounds are held against their labels instead.
_OF_MUSIC = ("false", "missing")


@dataclass(frozen=True, kw_only=True, slots=True)
class SceneConfig:
    """How scenes are drawn from a pool; the defaults are FineLAP's.

    Events are picked evenly over files, or over labels and then over the files of a label; ``noise_share`` of the
    scenes have coloured noise for a background. A language model at the ``endpoint`` writes the captions; where its
    answers break a rule, a template's caption is used and the rule is listed among the shard's failures.
    """

    by_label: bool = False
    noise_share: float = 0.0
    per_shard: int = 100
    endpoint: Endpoint | None = None


@cache
def table() -> dict[str, Any]:
    """``captions.toml``: ``templates``, and ``instructions`` for a language model."""
    return table_of("solfa.datagen.scenes", "captions.toml")


@dataclass(frozen=True)
class SceneMaker:
    """Makes the scenes of a shard from a pool (a folder, so that it travels to other processes)."""

    pool_folder: Path
    config: SceneConfig

    def __call__(self, task: ShardTask) -> Iterator[Member | Failure]:
        """All scenes of a shard, in order, each after the reason why it has no language model's caption, if so."""
        for i in range(self.config.per_shard):
            scene, parts = self.draw(task, i)
            record = _record(f"scene-{task.split}-{task.number:06}-{i:03}", task.split, scene, parts)
            labels = [p.text for p in record.phrases]
            caption = rule_caption(labels, task.rng(i, 1))
            if self._captioner is not None:
                answer = self._captioner.ask(
                    table()["instructions"], [{"sound": label} for label in labels], seed=record.id,
                    check=partial(_broken, labels),
                )  # fmt: skip
                caption = answer.text or caption
                if answer.rejected:
                    why = f"no caption by a language model: {', '.join(answer.rejected)}"
                    yield Failure(item=record.id, reason=why)
            member = replace(record, captions=(caption,))
            yield Member(record=member, samples=scene.samples, sample_rate_hz=scene.sample_rate_hz)

    def require_material(self, split: str) -> None:
        """Raise InputError if the pool lacks events or backgrounds for a split."""
        labels = set(self.material[split])
        if not labels - {BACKGROUND} or (self.config.noise_share < 1 and BACKGROUND not in labels):
            raise InputError(
                f"the split {split} has no {'background' if labels - {BACKGROUND} else 'event'}: there are too few "
                f"recordings (three of a label give one to each split). Noise can replace backgrounds."
            )

    def draw(self, task: ShardTask, i: int) -> tuple[Scene, tuple[Clip, ...]]:
        """Scene ``i`` of a shard with its stems, and the cuts it was made of, the background (if any) last."""
        rng = task.rng(i)
        events = self._events(task.split, rng)
        behind, background = self._background(task.split, rng)
        sounds = ((e.labels[0], e.source, self._samples(e)) for e in events)
        return mix(sounds, background, self._rate, rng), (*events, *behind)

    @cached_property
    def pool(self) -> Dataset:
        """The opened pool."""
        return Dataset.open(self.pool_folder)

    @cached_property
    def material(self) -> Material:
        """The pool's cuts by split and label."""
        return material(self.pool)

    def _samples(self, cut: Clip) -> FloatArray:
        """Of a file that we wrote, one of a few for every scene: a tenth of the time that decoding any file takes."""
        samples: FloatArray = wavfile.read(BytesIO(self.pool.shard_of(cut.id).sound(cut)))[1] / np.float32(1 << 15)
        return samples

    @cached_property
    def _rate(self) -> int:
        return self.pool.audio(self.pool.split("train")[0]).sample_rate_hz

    @cached_property
    def _captioner(self) -> Captioner | None:
        endpoint = self.config.endpoint
        return None if endpoint is None else Captioner(endpoint, self.pool_folder.parent / "answers")

    def _events(self, split: str, rng: Rng) -> list[Clip]:
        labels = {label: cuts for label, cuts in self.material[split].items() if label != BACKGROUND}
        wanted = int(rng.integers(*NUM_EVENTS, endpoint=True))
        if not self.config.by_label:
            cuts = [c for found in labels.values() for c in found]
            return [cuts[i] for i in rng.choice(len(cuts), min(wanted, len(cuts)), replace=False)]
        names = list(labels)
        drawn = [labels[names[i]] for i in rng.choice(len(names), min(wanted, len(names)), replace=False)]
        return [found[int(rng.integers(len(found)))] for found in drawn]

    def _background(self, split: str, rng: Rng) -> tuple[tuple[Clip, ...], FloatArray]:
        found = self.material[split].get(BACKGROUND, [])
        if rng.random() < self.config.noise_share:
            return (), noise(round(SCENE_S * self._rate), rng)
        cut = found[int(rng.integers(len(found)))]
        return (cut,), self._samples(cut)


def _record(name: str, split: str, scene: Scene, parts: tuple[Clip, ...]) -> Clip:
    rate = scene.sample_rate_hz
    events = [
        {"label": e.label, "source": e.source, "start_s": round(e.start / rate, 6), "end_s": round(e.end / rate, 6),
         "snr_db": round(e.snr_db, 3)}
        for e in scene.events
    ]  # fmt: skip
    behind = next((cut.source for cut in parts if cut.labels[0] == BACKGROUND), "noise")
    return Clip(
        id=name, duration_s=len(scene.samples) / rate, phrases=scene.phrases(),
        attributes={"scene": {"background": behind, "events": events}}, source="scenes",
        licence="; ".join(sorted({cut.licence for cut in parts if cut.licence})), split=split,
    )  # fmt: skip


def rule_caption(labels: list[str], rng: Rng) -> str:
    """One of ten sentences with the labels, lower-cased and joined by commas, in the given order.

    >>> import numpy as np
    >>> rule_caption(["dog barking", "Piano"], np.random.default_rng(0))
    'Heard over a background: dog barking, piano.'
    """
    templates: list[str] = table()["templates"]
    return templates[int(rng.integers(len(templates)))].format(", ".join(label.lower() for label in labels))


def _broken(labels: list[str], caption: str) -> tuple[str, ...]:
    broken = tuple(rule for rule in broken_rules(caption, {}, _RULES) if rule not in _OF_MUSIC)
    return broken if all(label.lower() in caption.lower() for label in labels) else (*broken, "missing")


def make_scenes(
    folder: Path,
    pool: Dataset,
    config: SceneConfig,
    *,
    count: int,
    seed: int,
    executor: Executor | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Dataset:
    """A data set of ``count`` scenes at least: 80 % train, 10 % val, 10 % test, each filled up to whole shards, and its
    phrase bank with it.

    ``executor`` and ``progress`` are as in `build`. Raises InputError if a split has no event or no background.
    """
    maker = SceneMaker(pool.folder, config)
    for split in SPLITS:
        maker.require_material(split)
    shards = {s: max(1, -(-round(count * share) // config.per_shard)) for s, share in _SHARES.items()}
    plain = asdict(config)
    model = plain.pop("endpoint")
    plain |= {"captions_by": model["model"], "url": model["url"]} if model else {}
    made = build(
        folder, maker, name="scenes", seed=seed, num_shards=shards, executor=executor, progress=progress,
        config={"version": _VERSION, "pool": digest(pool), **plain},
    )  # fmt: skip
    labels = {label for found in maker.material.values() for label in found}
    bank_of(labels - {BACKGROUND}).save(folder / BANK_FILE)
    return made


def digest(pool: Dataset) -> str:
    """A hash of what is in a pool, whatever folders its recordings came from."""
    return hashlib.sha256("".join(s.index.sha256 for s in pool.shards).encode()).hexdigest()
