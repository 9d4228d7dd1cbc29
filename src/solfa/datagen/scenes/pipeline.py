"""``solfa data scenes``: a data set of sound scenes, each a pure function of (configuration, seed, split, number)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from solfa.core.clip import SPLITS, Clip
from solfa.core.errors import InputError
from solfa.core.types import FloatArray, Rng
from solfa.datagen.captions.llm import Captioner, Endpoint
from solfa.datagen.scenes.captions import llm_caption, rule_caption
from solfa.datagen.scenes.mixing import MixRule, Scene, Sound, mix, noise
from solfa.datagen.scenes.pool import PoolRule, PoolSound, SoundPool, by_label
from solfa.datagen.scenes.sources import BACKGROUND
from solfa.datasets.building import ShardTask, build
from solfa.datasets.phrases import bank_of
from solfa.datasets.shards import Dataset, Failure, Member
from solfa.jobs import Executor

BANK_FILE = "phrases.jsonl"
_VERSION = 2
_SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}


@dataclass(frozen=True, kw_only=True, slots=True)
class SceneConfig:
    """How scenes are drawn; the defaults are FineLAP's.

    ``pool`` and ``mix`` say how recordings are cut and laid. Events are picked evenly over files, or over labels and
    then over the files of a label; ``noise_share`` of the scenes have coloured noise for a background. A language model
    at the ``endpoint`` writes the captions; where its answers break a rule, a template's caption stands and the rule is
    listed among the shard's failures.
    """

    pool: PoolRule = field(default_factory=PoolRule)
    mix: MixRule = field(default_factory=MixRule)
    pick: Literal["file", "label"] = "file"
    noise_share: float = 0.0
    per_shard: int = 100
    endpoint: Endpoint | None = None


@dataclass(frozen=True)
class SceneMaker:
    """Makes the scenes of a shard from a pool (a folder, so that it travels to other processes)."""

    pool_folder: Path
    config: SceneConfig

    def __call__(self, task: ShardTask) -> Iterator[Member | Failure]:
        """All scenes of a shard, in order."""
        for i in range(self.config.per_shard):
            yield from self._captioned(self._member(task, i, *self.draw(task, i)), task.rng(i, 1))

    def _captioned(self, member: Member, rng: Rng) -> Iterator[Member | Failure]:
        """The member with its caption, and why a language model's caption is missing, where it is."""
        record = member.record
        labels = [p.text for p in record.phrases]
        behind = "background" in record.attributes["scene"]
        caption = rule_caption(labels, rng, duration_s=record.duration_s, background=behind)
        if self._captioner is not None:
            answer = llm_caption(labels, self._captioner, record.id)
            caption = answer.text or caption
            if answer.rejected:
                yield Failure(item=record.id, reason=f"no caption by a language model: {', '.join(answer.rejected)}")
        yield replace(member, record=replace(record, captions=(caption,)))

    def check(self, split: str) -> None:
        """Nothing, if the pool has what a split needs; else InputError."""
        labels = set(self._material[split])
        if not labels - {BACKGROUND} or (self.config.noise_share < 1 and BACKGROUND not in labels):
            raise InputError(
                f"the split {split} has no {'background' if labels - {BACKGROUND} else 'event'}: there are too few "
                f"recordings (three of a label give one to each split). For backgrounds, noise can stand in."
            )

    def draw(self, task: ShardTask, i: int) -> tuple[Scene, tuple[PoolSound, ...]]:
        """Scene ``i`` of a shard with its stems, and the pool entries it was made of, the background (if any) last."""
        rng = task.rng(i)
        events = self._events(task.split, rng)
        behind, background = self._background(task.split, rng)
        sounds = [Sound(e.label, e.source, self.pool.samples(e)) for e in events]
        scene = mix(sounds, background, self.config.mix, self.config.pool.sample_rate_hz, rng)
        return scene, (*events, *behind)

    @cached_property
    def pool(self) -> SoundPool:
        """The opened pool."""
        return SoundPool.open(self.pool_folder)

    @cached_property
    def _captioner(self) -> Captioner | None:
        endpoint = self.config.endpoint
        return None if endpoint is None else Captioner(endpoint, self.pool_folder.parent / "answers")

    @cached_property
    def _material(self) -> dict[str, dict[str, list[PoolSound]]]:
        return {split: by_label(e for e in self.pool.entries if e.split == split) for split in SPLITS}

    def _events(self, split: str, rng: Rng) -> list[PoolSound]:
        labels = {label: found for label, found in self._material[split].items() if label != BACKGROUND}
        wanted = int(rng.integers(*self.config.mix.num_events, endpoint=True))
        if self.config.pick == "file":
            entries = [e for found in labels.values() for e in found]
            return [entries[i] for i in rng.choice(len(entries), min(wanted, len(entries)), replace=False)]
        names = list(labels)
        drawn = [labels[names[i]] for i in rng.choice(len(names), min(wanted, len(names)), replace=False)]
        return [found[int(rng.integers(len(found)))] for found in drawn]

    def _background(self, split: str, rng: Rng) -> tuple[tuple[PoolSound, ...], FloatArray]:
        found = self._material[split].get(BACKGROUND, [])
        if rng.random() < self.config.noise_share:
            return (), noise(round(self.config.mix.duration_s * self.config.pool.sample_rate_hz), rng)
        entry = found[int(rng.integers(len(found)))]
        return (entry,), self.pool.samples(entry)

    def _member(self, task: ShardTask, i: int, scene: Scene, parts: tuple[PoolSound, ...]) -> Member:
        rate = scene.sample_rate_hz
        events = [
            {"label": e.label, "source": e.source, "start_s": round(e.start / rate, 6), "end_s": round(e.end / rate, 6),
             "snr_db": round(e.snr_db, 3)}
            for e in scene.events
        ]  # fmt: skip
        behind = next((e.source for e in parts if e.label == BACKGROUND), "noise")
        record = Clip(
            id=f"scene-{task.split}-{task.number:06}-{i:03}", duration_s=len(scene.samples) / rate,
            phrases=scene.phrases(),
            attributes={"scene": {"background": behind, "events": events}}, source="scenes",
            licence="; ".join(sorted({e.licence for e in parts if e.licence})), split=task.split,
        )  # fmt: skip
        return Member(record=record, samples=scene.samples, sample_rate_hz=rate)


def make_scenes(
    folder: Path,
    pool: SoundPool,
    config: SceneConfig,
    *,
    count: int,
    seed: int,
    executor: Executor | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Dataset:
    """A data set of ``count`` scenes at least: 80 % train, 10 % val, 10 % test, each filled up to whole shards, and its
    phrase bank beside it.

    The pool was made with ``config.pool``; ``executor`` and ``progress`` are as in `build`. Raises InputError if a
    split has no event or no background, or lengths do not fit.
    """
    if count < 1 or config.per_shard < 1:
        raise InputError(f"expected one scene or more, got count {count}, per_shard {config.per_shard}.")
    if config.pool.scene_s != config.mix.duration_s or config.pool.clip.max_s >= config.mix.duration_s:
        raise InputError("backgrounds must be as long as the scenes, and events shorter than them.")
    maker = SceneMaker(pool.folder, config)
    for split in SPLITS:
        maker.check(split)
    shards = {s: max(1, -(-round(count * share) // config.per_shard)) for s, share in _SHARES.items()}
    made = build(
        folder, maker, name="scenes", seed=seed, num_shards=shards, executor=executor,
        config=_described(pool, config), progress=progress,
    )  # fmt: skip
    bank_of({e.label for e in pool.entries} - {BACKGROUND}).save(folder / BANK_FILE)
    return made


def _described(pool: SoundPool, config: SceneConfig) -> dict[str, Any]:
    plain = asdict(config)
    said_by = plain.pop("endpoint")
    model = {"captions_by": said_by["model"], "url": said_by["url"]} if said_by else {}
    return {"version": _VERSION, "pool_digest": pool.digest, **plain, **model}
