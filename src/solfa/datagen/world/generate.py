"""Clips of the music world, shard by shard: a score, a band, soundfonts, effects, and the record of what is true.

Everything about a clip follows from (configuration, seed, split, shard, place in the shard). Artists of corpora,
recordings for backgrounds and made-up pieces belong to one split each, by a hash of their name; one soundfont sounds in
``test`` only, and no other sounds there.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from solfa.audio import SUFFIXES, at_rate, stretches
from solfa.core.clip import Clip
from solfa.core.errors import DecodeError, InputError
from solfa.core.types import FloatArray, Rng
from solfa.datagen.captions import caption
from solfa.datagen.packages import soundfonts as known_soundfonts
from solfa.datagen.world import effects, studio
from solfa.datagen.world.compose import compose
from solfa.datagen.world.render import Stem, check_soundfont, only_drums, playable, render
from solfa.datagen.world.score import Score, ScorePart, table
from solfa.datagen.world.singing import Singer, check_singing, draw_singer, sung_part
from solfa.datagen.world.sources import artist_of, corpora, read_song, songs
from solfa.datagen.world.truth import Window, annotate, attributes_of, phrases_of
from solfa.datasets.building import ShardTask
from solfa.datasets.shards import Failure, Member

_ATTEMPTS = 4
_QUIETEST_DB = -55.0
_SHARES = (("train", 0.9), ("val", 0.05), ("test", 0.05))


@dataclass(frozen=True, eq=False, slots=True)
class Performance:
    """A piece as it is played: the stretch a clip shows, stems, mix [shape=(N,) or (2, N)], and how it was made."""

    score: Score
    window: Window
    stems: list[Stem]
    dry: FloatArray
    about: dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """Makes shards of the music world; see ``datasets.building.build``.

    ``soundfonts`` are two or more; ``held_out`` names (by file name) the one that sounds in ``test`` only. ``corpora``
    are folders by corpus (``sources.corpora``), and half of the clips come from them where there are any;
    ``background`` is a folder of recordings to mix in. ``captions`` is how many texts a clip has. ``production`` is
    "none" (mono, the sum of parts) or "studio" (stereo); ``singing`` is the share of clips with a tune that are sung.
    """

    soundfonts: tuple[Path, ...]
    held_out: str
    corpora: Mapping[str, Path]
    background: Path | None = None
    seconds: float = 10.0
    sample_rate_hz: int = 24000
    clips_per_shard: int = 100
    captions: int = 3
    production: str = "none"
    singing: float = 0.0

    def __post_init__(self) -> None:
        names = [p.name for p in self.soundfonts]
        if self.held_out not in names or len(set(names)) < 2 or len(set(names)) < len(names):
            raise InputError(
                f"soundfonts {', '.join(names) or 'none'}, of which {self.held_out!r} is held out for the test split: "
                f"expected two or more of different names, and the held-out one among them. Get some with: solfa data "
                f"soundfonts"
            )
        if not 2.0 <= self.seconds <= 120.0 or not 8000 <= self.sample_rate_hz <= 48000:
            raise InputError(f"{self.seconds} s at {self.sample_rate_hz} Hz: expected 2-120 s and 8000-48000 Hz.")
        if self.production not in ("none", "studio") or not 0 <= self.singing <= 1:
            got = f"production {self.production!r}, singing {self.singing}"
            raise InputError(f"{got}: expected the production none or studio, and a share of 0 to 1 that is sung.")

    def config(self) -> dict[str, Any]:
        """What decides the clips, as plain JSON: names and sizes of files, no folders."""
        return {
            "pipeline": "world/4", "seconds": self.seconds, "sample_rate_hz": self.sample_rate_hz,
            "production": self.production, "singing": self.singing,
            "clips_per_shard": self.clips_per_shard, "captions": self.captions, "held_out": self.held_out,
            "soundfonts": [[p.name, p.stat().st_size] for p in self.soundfonts],
            "corpora": {name: _named(songs(name, folder)) for name, folder in sorted(self.corpora.items())},
            "background": None if self.background is None else _named([p.name for p in _recordings(self.background)]),
        }  # fmt: skip

    def prepare(self) -> None:
        """Check that every soundfont is one, and that packages and programs are here; once in each process."""
        effects.processors()
        if self.singing:
            check_singing()
        for path in self.soundfonts:
            check_soundfont(path)

    def __call__(self, task: ShardTask) -> Iterator[Member | Failure]:
        """The clips of one shard; attempts that failed are listed with them."""
        for place in range(self.clips_per_shard):
            name = f"world-{task.seed}-{task.split}-{task.number:06}-{place:04}"
            for attempt in range(_ATTEMPTS):
                rng = task.rng(place, attempt)
                try:
                    yield self._clip(name, task.split, rng)
                    break
                except (InputError, DecodeError) as why:
                    yield Failure(item=f"{name}, attempt {attempt}", reason=str(why)[:300])

    def perform(self, name: str, split: str, rng: Rng) -> Performance:
        """The music of a clip called ``name`` before anything is done to its sound.

        Raises InputError if what was drawn cannot be played or is silent, or a song of a corpus cannot be read.
        """
        score, produced = self._score(name, split, rng), self.production == "studio"
        fonts = [p for p in self.soundfonts if (p.name == self.held_out) == (split == "test")]
        played = self._players(score, fonts, rng)
        score = replace(score, parts=tuple(part for part, _ in played))
        cents = float(np.clip(rng.normal(0, 14), -40, 40)) if rng.random() < 0.5 else 0.0
        cents = float(rng.uniform(-50, 50)) if produced and rng.random() < 0.2 else cents
        # A record or a tape runs off its speed; half a semitone is the most in all, so that the key has its name.
        off = float(np.clip(rng.normal(0, 15), -50 - cents, 50 - cents)) if produced and rng.random() < 0.15 else 0.0
        mechanical, accent = bool(rng.random() < 0.25), round(float(rng.uniform(0, 16)), 1)
        feels, feel = table()["feels"], score.about.get("groove", "")
        feel = feel if feel in feels else str(rng.choice([*feels, *[""] * len(feels)]))
        shift = int(rng.choice([-2, -1, 1, 2])) if rng.random() < 0.08 else 0  # semitones by varispeed
        window = _window(score, self.seconds, shift, off, rng)
        shown_s, rate, players = self.seconds * window.ratio, self.sample_rate_hz, [player for _, player in played]
        played_as: dict[str, Any] = {"mechanical": mechanical, "feel": feel, "accent": accent}
        stems = render(score, players, cents, window.begin_s, shown_s, rate, rng, **played_as)
        dry, about = _mixed(stems, round(shown_s * rate)), dict[str, Any]()
        if produced:
            stems, dry, about["studio"] = studio.mixed(stems, rate, float(np.median(np.diff(score.beat_s))), rng)
        licences = {font.file: font.licence for font in known_soundfonts()}
        singers = [{**asdict(player), "words": list(player.words)} for player in players if isinstance(player, Singer)]
        used = sorted({player.name for player in players if isinstance(player, Path)})
        about |= {
            **score.about, "soundfonts": used, "soundfont_licences": [licences.get(name, "unknown") for name in used],
            "singers": singers, "semitones": window.shift, "speed": round(window.ratio, 4), "tempo_shape": score.tempo,
            "tuning_cents": round(cents + window.cents, 1), **played_as,
        }  # fmt: skip
        dry = effects.fitted(effects.varispeed(dry, rate, window.ratio), round(self.seconds * rate))
        return Performance(score, window, stems, dry, about)

    def _players(self, score: Score, fonts: list[Path], rng: Rng) -> list[tuple[ScorePart, Path | Singer]]:
        # Each part as it can be played, and by which soundfont or singer.
        whole = [font for font in fonts if not only_drums(font)] or fonts
        main, mixed = whole[int(rng.integers(len(whole)))], rng.random() < 0.3
        apart = rng.random() < 0.4  # the drums are of another soundfont, kits alone among them
        singer, found = draw_singer(rng), list[tuple[ScorePart, Path | Singer]]()
        tunes = [part for part in score.parts if part.role == "lead" and len(part.notes) > 3]
        sung = tunes[0] if tunes and rng.random() < self.singing else None
        for part in score.parts:
            options = fonts if part.role == "drums" and (apart or mixed) else whole if mixed else [main]
            font = options[int(rng.integers(len(options)))]
            found.append((sung_part(part, singer), singer) if part is sung else (playable(part, font), font))
        return found

    def _clip(self, name: str, split: str, rng: Rng) -> Member:
        played, rate = self.perform(name, split, rng), self.sample_rate_hz
        score, stems, window = played.score, played.stems, played.window
        background, snr_db = self._noise(split, rng)
        samples, done = effects.treat(played.dry, rate, rng, background=background, snr_db=snr_db)
        mono = samples if samples.ndim == 1 else np.asarray(samples.mean(axis=0), np.float32)
        truth = annotate(score, stems, window, rate, mono)
        attributes = attributes_of(truth, score)
        if background is not None and not attributes.get("voice"):
            attributes.pop("voice", None)  # who knows what is in the background
        snr = None if background is None else round(snr_db, 2)
        attributes["world"] = {**played.about, "effects": list(done), "snr_db": snr}
        phrases, n = phrases_of(truth, score, stems, window), self.captions
        record = Clip(
            id=name, duration_s=self.seconds, phrases=phrases, attributes=attributes,
            captions=caption(attributes, phrases, seed=name, num=n, duration_s=self.seconds) if n else (),
            source=score.about["source"], licence=score.licence, artist=score.artist, piece=score.piece,
            track=score.piece, split=split, annotation=truth,
        )  # fmt: skip
        return Member(record=record, samples=samples.T, sample_rate_hz=rate)

    def _score(self, name: str, split: str, rng: Rng) -> Score:
        seconds = self.seconds * 1.14  # room for playing it faster
        corpus = "" if not self.corpora or rng.random() < 0.5 else str(rng.choice(sorted(self.corpora)))
        folder = self.corpora.get(corpus, Path())
        mine = _songs_of(corpus, folder, split) if corpus else ()
        if not mine:
            return replace(compose(seconds, rng), piece=name)
        song = mine[int(rng.integers(len(mine)))]
        score, artist = read_song(corpus, folder, song, seconds, rng), artist_of(corpus, folder, song)
        return replace(score, piece=f"{corpus}:{song}", artist=artist, licence=corpora()[corpus]["licence"])

    def _noise(self, split: str, rng: Rng) -> tuple[FloatArray | None, float]:
        if self.background is None or rng.random() > 0.12:
            return None, 0.0
        mine = [f for f in _recordings(self.background) if split_of(f.name) == split]
        if not mine:
            return None, 0.0
        path = mine[int(rng.integers(len(mine)))]
        parts = list(stretches(path, self.seconds))
        part = parts[int(rng.integers(max(1, len(parts) - 1)))]
        sound = at_rate(part, self.sample_rate_hz).samples
        if not np.any(sound):
            raise InputError(f"{path.name} is silent there")
        return effects.fitted(sound, round(self.seconds * self.sample_rate_hz)), float(rng.uniform(8, 30))


def _named(names: Sequence[str]) -> list[Any]:
    return [len(names), hashlib.sha256("\n".join(names).encode("utf-8", "surrogateescape")).hexdigest()[:16]]


def split_of(name: str) -> str:
    """Which split an artist, a song or a recording belongs to: 90 % train, 5 % val, 5 % test, by a hash of its name."""
    share = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") / 2**32
    for split, size in _SHARES:
        share -= size
        if share < 0:
            return split
    return "test"


@cache
def _songs_of(corpus: str, folder: Path, split: str) -> tuple[str, ...]:
    found = songs(corpus, folder)
    return tuple(s for s in found if split_of(f"{corpus}:{artist_of(corpus, folder, s) or s}") == split)


@cache
def _recordings(folder: Path) -> tuple[Path, ...]:
    found = tuple(sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES))
    if not found:
        raise InputError(f"{folder} holds no audio files to mix in.")
    return found


def _window(score: Score, seconds: float, shift: int, cents: float, rng: Rng) -> Window:
    window = Window(begin_s=0.0, seconds=seconds, shift=shift, cents=cents)
    shown = seconds * window.ratio
    first, last = float(score.beat_s[0]), float(score.beat_s[-1]) - shown
    if last < first:
        raise InputError(f"the piece lasts {last - first + shown:.1f} s, less than a clip")
    begin = float(rng.uniform(first, last))
    if rng.random() < 0.6:
        starts = np.array([float(score.seconds(a)) for a, _, _ in score.bars()])
        begin = float(starts[np.argmin(np.abs(starts - begin))])
    return replace(window, begin_s=min(max(begin, first), last))


def _mixed(stems: list[Stem], count: int) -> FloatArray:
    mix = np.zeros(count, np.float32)
    for stem in stems:
        mix += stem.samples
    levels = np.abs(mix)
    if not len(stems) or 20 * np.log10(float(np.sqrt(np.mean(mix**2))) + 1e-9) < _QUIETEST_DB:
        raise InputError("silent")
    if float(np.mean(levels > 1e-3)) < 0.15:
        raise InputError("nearly silent: it sounds for less than a seventh of the clip")
    return mix
