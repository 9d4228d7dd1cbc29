from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soxr

from fakes.files import write_audio
from fakes.synth import tone
from solfa.audio import stretches
from solfa.core.errors import InputError
from solfa.core.types import Audio
from solfa.datagen.captions.fingerprints import agreement, fingerprint, near_duplicates
from solfa.datagen.captions.sources import originals
from solfa.datagen.captions.stages import FGMCAPS
from solfa.datasets.splits import assign, families, link_keys, targets

RATE = 22050


def melody(seed: int, seconds: float = 20.0) -> Audio:
    """Random notes over random chords: no two seeds are the same music."""
    rng = np.random.default_rng(seed)
    out = np.zeros(int(seconds * RATE), np.float32)
    at = 0.0
    while at < seconds - 1.0:
        for _ in range(int(rng.integers(1, 4))):
            note = tone(float(rng.integers(40, 85)), float(rng.uniform(0.2, 0.9)), RATE)
            out[int(at * RATE) : int(at * RATE) + len(note)] += note * 0.2
        at += float(rng.choice([0.12, 0.2, 0.25, 0.4]))
    out += rng.standard_normal(len(out)).astype(np.float32) * 0.003
    return Audio(out / np.abs(out).max(), RATE)


def faster(audio: Audio, ratio: float) -> Audio:
    """Speed and pitch together, as a turntable does: 3 % are half a semitone."""
    return Audio(soxr.resample(audio.samples, RATE * ratio, RATE).astype(np.float32), RATE)


def as_mp3(audio: Audio, folder: Path) -> Audio:
    path = write_audio(folder / "copy.mp3", audio.samples, RATE)
    parts = list(stretches(path))
    return Audio(np.concatenate([p.samples for p in parts]), parts[0].sample_rate_hz)


def part(audio: Audio, start_s: float, end_s: float) -> Audio:
    return Audio(audio.samples[int(start_s * RATE) : int(end_s * RATE)], RATE)


def test_copies_are_found_whatever_became_of_them_and_nothing_else(tmp_path: Path) -> None:
    songs = [melody(seed) for seed in range(6)]
    copies = [
        as_mp3(songs[0], tmp_path),
        faster(songs[1], 1.03),
        faster(songs[2], 0.975),
        Audio(songs[3].samples * np.float32(0.2), RATE),
        part(songs[4], 4.0, 17.0),
        as_mp3(part(faster(songs[5], 1.02), 2.0, 18.0), tmp_path),
    ]
    prints = [fingerprint([a]) for a in (*songs, *copies)]
    assert near_duplicates(prints) == [(i, i + 6) for i in range(6)]


def test_silence_and_nothing_are_no_copies_of_each_other() -> None:
    silent = fingerprint([Audio(np.zeros(10 * RATE, np.float32), RATE)])
    assert len(silent) == 0 and near_duplicates([silent, silent, fingerprint([])]) == []
    assert agreement(silent, fingerprint([melody(0)])) == 0


def test_a_fingerprint_in_stretches_is_nearly_that_of_the_whole() -> None:
    song = melody(3)
    halves = [part(song, 0, 10), Audio(song.samples[10 * RATE :], RATE, start_s=10.0)]
    whole, parts = fingerprint([song]), fingerprint(halves)
    assert agreement(whole, parts) > 0.6 * len(whole)


def test_planted_duplicates_never_end_in_two_splits() -> None:
    songs = [melody(seed, 8.0) for seed in range(12)]
    prints = [fingerprint([a]) for a in (*songs, *(faster(s, 1.015) for s in songs))]
    keys = [link_keys(source="folder", track=f"{i}.wav", artist="", piece="", content=str(i)) for i in range(24)]
    family = families(keys, near_duplicates(prints))
    for seed in range(20):
        split = assign(family, ["folder"] * 24, targets({"folder": 24}, (0.5, 0.25, 0.25)), seed=seed)
        assert all(split[i] == split[i + 12] for i in range(12))
        assert set(split) == {"train", "val", "test"}


def test_tracks_artists_pieces_and_equal_sound_stay_together() -> None:
    def keys(track: str, artist: str = "", piece: str = "", content: str = "") -> tuple[str, ...]:
        return link_keys(source="s", track=track, artist=artist, piece=piece, content=content)

    rows = [
        keys("1", artist="Björk"), keys("2", artist="bjork"), keys("3", piece="Sonata 1"), keys("4", "X", "sonata  1"),
        keys("5", artist="X feat. Nobody"), keys("6", content="abc"), keys("7", content="abc"), keys("8", "Various"),
        keys("9", "various"),
    ]  # fmt: skip
    assert families(rows) == [0, 0, 2, 2, 2, 5, 5, 7, 8]


MUSICBENCH = (
    *("data/-0SdAVK79lg.wav", "data_aug2/-0SdAVK79lg_1.wav", "data_aug2/-0SdAVK79lg_2.wav"),
    *("data/a_b-cdefg_1.wav", "data_aug2/a_b-cdefg_1_1.wav", "data/a_b-cdefg_2.wav"),
)


def test_changed_copies_go_with_their_original_whatever_their_names_say_of_the_change() -> None:
    assert originals(MUSICBENCH) == ["-0SdAVK79lg"] * 3 + ["a_b-cdefg_1"] * 2 + ["a_b-cdefg_2"]
    changed = ["s_pitch+2.wav", "s-speed0.9.flac", "s (copy).mp3", "augmented/s.wav", "s_tempo_1.1x.ogg", "s_+3.wav",
               "pitch_up/s.wav", "s_ps-1_ts1.1.wav", "s (1).mp3"]  # fmt: skip
    assert set(originals(["s.wav", *changed])) == {"s"}
    apart = ["Nina/01.mp3", "Max/01.mp3", "clip_0001.wav", "clip_0002.wav", "song 1.wav", "song 2.wav"]
    assert len(set(originals(apart))) == len(apart)


def test_pitch_and_tempo_copies_are_found_without_their_names() -> None:
    songs = [melody(seed, 12.0) for seed in range(4)]
    stretched = [faster(s, ratio) for s, ratio in zip(songs, (1.12, 0.9, 2 ** (2 / 12), 2 ** (-2 / 12)), strict=True)]
    prints = [fingerprint([a]) for a in (*songs, *stretched)]
    assert near_duplicates(prints) == [(i, i + 4) for i in range(4)]


def sample(num: int = 4000) -> tuple[list[int], list[str]]:
    rng = np.random.default_rng(0)
    family = [int(f) for f in np.minimum(rng.zipf(1.8, num), 900)]
    return family, ["a" if f % 3 else "b" for f in family]


def test_every_source_gets_its_shares_and_no_family_is_torn() -> None:
    family, source = sample()
    wanted = targets(Counter(source), (0.8, 0.1, 0.1))
    split = assign(family, source, wanted, seed=4)
    got = Counter(zip(source, split, strict=True))
    for name, counts in wanted.items():
        for part_, count in zip(("train", "val", "test"), counts, strict=True):
            assert abs(got[name, part_] - count) <= 0.02 * sum(counts)
    assert max(len({s for f, s in zip(family, split, strict=True) if f == one}) for one in set(family)) == 1
    assert split == assign(family, source, wanted, seed=4) != assign(family, source, wanted, seed=5)


def test_counts_are_met_exactly_and_other_sources_are_left_out() -> None:
    family, source = sample()
    split = assign(family, source, {"a": (500, 40, 60)}, seed=1, exact=True)
    got = Counter(zip(source, split, strict=True))
    assert [got["a", s] for s in ("train", "val", "test")] == [500, 40, 60] and not {"train", "val", "test"} & {
        s for n, s in got if n == "b"
    }
    assert sum(sum(counts) for counts in FGMCAPS.values()) == 400_878


def test_few_families_still_give_every_split_one() -> None:
    assert sorted(set(assign([0, 1, 2], ["s"] * 3, {"s": (3, 0, 0)}, seed=0))) == ["train"]
    assert sorted(assign([0, 1, 2], ["s"] * 3, {"s": (1, 1, 1)}, seed=0)) == ["test", "train", "val"]
    split = assign([0] * 10 + [1] * 10 + [2] * 10, ["s"] * 30, targets({"s": 30}, (0.9, 0.05, 0.05)), seed=0)
    assert set(split) == {"train", "val", "test"}
    split = assign([0, 0, 1, 1, 1, 1], ["s", "left out", *"ssss"], {"s": (5, 1, 1)}, seed=0)
    assert split[1] == "" and len(set(split) - {""}) > 1


@pytest.mark.parametrize("shares", [(0.9, 0.2, 0.1), (1.0, 0.0), (1.1, -0.1, 0.0)])
def test_shares_that_are_none_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="three numbers"):
        targets({"s": 10}, shares)
