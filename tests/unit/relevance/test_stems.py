"""Stems: separated by masks, compared apart, weighed, kept."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from fakes.files import write_audio
from fakes.synth import song, tone
from solfa.apps.cli import app
from solfa.collection import Collection
from solfa.core.errors import InputError
from solfa.core.types import Audio, Span
from solfa.encoders import listener
from solfa.relevance import stems
from solfa.relevance.stems import STEMS, Masks, StemMatch, StemStore, learn_weights, read_weights, stem_similarity

RATE = 22_050


def level_db(audio: Audio) -> float:
    return 10 * math.log10(float(np.mean(np.square(audio.samples))) + 1e-12)


def test_clicks_low_tones_and_high_tones_go_to_their_stems_which_add_up() -> None:
    count = 4 * RATE
    time_s = np.arange(count) / RATE
    clicks = np.zeros(count, np.float32)
    clicks[:: RATE // 4] = 0.9
    parts = {
        "drums": clicks,
        "bass": 0.3 * np.sin(2 * np.pi * 80 * time_s),
        "high": 0.3 * np.sin(2 * np.pi * 880 * time_s),
    }
    for name, sound in parts.items():
        found = Masks()(Audio(np.asarray(sound, np.float32), RATE), (Span(start_s=2.0, end_s=4.0, confidence=1.0),))
        assert set(found) == set(STEMS)
        np.testing.assert_allclose(sum(f.samples for f in found.values()), sound, atol=1e-4)
        levels = {k: level_db(f) for k, f in found.items()}
        if name == "high":  # where somebody sings it counts as the voice's
            halves = [
                level_db(Audio(found[k].samples[i : i + RATE], RATE))
                for k, i in (("other", RATE), ("vocals", 3 * RATE))
            ]
            assert min(halves) > -15 and max(levels["drums"], levels["bass"]) < -25
        else:
            assert levels[name] > max(v for k, v in levels.items() if k != name) + 10


def test_one_hot_weights_give_that_cosine_and_the_measure_is_symmetric() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 4, 8)).astype(np.float32)
    for i, name in enumerate(STEMS):
        cosine = float(a[i] @ b[i] / np.linalg.norm(a[i]) / np.linalg.norm(b[i]))
        assert stem_similarity(a, b, {name: 1.0}).score == pytest.approx(cosine, abs=1e-5)
    weights = read_weights("drums=3,other=0.5")
    assert stem_similarity(a, b, weights) == stem_similarity(b, a, weights)
    assert stem_similarity(a, a, weights).score == pytest.approx(1.0, abs=1e-6)
    b[2] = 0.0  # no vocals in one, no bass in both: dropped, the rest scaled up
    a[1] = b[1] = 0.0
    found = stem_similarity(a, b, weights)
    assert set(found.cosines) == {"drums", "other"} and found.one_sided == ("vocals",)
    assert found.score == pytest.approx((3 * found.cosines["drums"] + 0.5 * found.cosines["other"]) / 3.5)
    assert stem_similarity(a, b, {"vocals": 1.0}).score is None


def test_learned_weights_are_the_planted_ones() -> None:
    rng = np.random.default_rng(1)
    for planted in ((0.7, 0.3, 0.0, 0.0), (0.1, 0.1, 0.3, 0.5), (0.0, 0.0, 1.0, 0.0)):
        x = rng.uniform(-1, 1, (3000, 4))
        alike = rng.random(3000) < 1 / (1 + np.exp(-10 * (x @ planted - 0.1)))
        matches = [StemMatch(None, dict(zip(STEMS, row, strict=True)), ()) for row in x.tolist()]
        found = learn_weights(matches, alike.tolist())
        np.testing.assert_allclose([found[k] for k in STEMS], planted, atol=0.05)
    with pytest.raises(InputError, match="some alike and some not"):
        learn_weights(matches, [True] * len(matches))
    with pytest.raises(InputError, match="no stem is more alike"):
        learn_weights(matches, (x.sum(axis=1) < 0).tolist())


@pytest.mark.parametrize(
    "text", ["drums", "drums=-1", "flute=1", "drums=nan", "drums=inf", "", "drums=0,bass=0,vocals=0,other=0"]
)
def test_weights_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"not weights of stems.*expected rhythm, harmony, mood"):
        read_weights(text)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stems")
    (folder / "music").mkdir()
    for i, (chords, drums) in enumerate((("A:min F:maj", True), ("A:min F:maj", False), ("D:maj G:maj", True))):
        made = song(chords, tempo_bpm=120.0, bars=4, drums=drums, seed=i)
        write_audio(folder / "music" / f"{i}.wav", made.audio.samples, RATE)
    write_audio(folder / "music" / "gone.wav", np.tile(tone(60, 1.0), 5), RATE)
    result = CliRunner().invoke(
        app, ["index", str(folder / "music"), "--collection", str(folder / "shelf"), "--workers", "1"]
    )
    assert result.exit_code == 0, result.output
    (folder / "music" / "gone.wav").unlink()
    return folder


def test_similar_with_weights_orders_the_hits_and_is_fast_the_second_time(
    shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [
        "similar",
        str(shelf / "music" / "0.wav"),
        "--collection",
        str(shelf / "shelf"),
        "--weights",
        "drums=1,bass=0,vocals=0,other=0",
        "--json",
    ]
    first = CliRunner().invoke(app, asked)
    assert first.exit_code == 0 and "tracks separated" in first.stderr, first.output
    hits = json.loads(first.stdout)["hits"]
    assert Path(hits[0]["path"]).name == "2.wav"  # the same drums over other chords
    assert hits[0]["score"] > 0.8 and hits[0]["evidence"][0]["constraint"] == "stems"
    assert hits[-1]["evidence"][0]["measured"].startswith(("cannot be", "no such"))  # gone.wav

    def never(*_: object) -> None:
        raise AssertionError("separated again")

    monkeypatch.setattr(stems.Masks, "__call__", never)
    again = json.loads(CliRunner().invoke(app, asked).stdout)["hits"]
    assert [(h["path"], h["score"]) for h in again[:2]] == [(h["path"], h["score"]) for h in hits[:2]]
    beyond = json.loads(CliRunner().invoke(app, [*asked, "--page", "9"]).stdout)
    assert beyond["hits"] == [] and beyond["note"].startswith("No page 9")


def test_weights_without_an_example_and_two_orders_are_refused(shelf: Path) -> None:
    place = ["--collection", str(shelf / "shelf"), "--weights", "rhythm"]
    for more, said in (
        (["slow piano"], "give one with --like"),
        (["slow piano", "--for", "reading"], "two orders"),
    ):
        result = CliRunner().invoke(app, ["search", *more, *place])
        assert result.exit_code != 0 and said in str(result.exception)


def test_damaged_vectors_are_made_again(shelf: Path) -> None:
    with Collection.open(shelf / "shelf") as collection:
        track = collection.at(shelf / "music" / "1.wav")
        assert track is not None
        good = StemStore(collection).track(track)
        for file in (shelf / "shelf" / "stems").rglob("*.npy"):
            file.write_bytes(b"\x93NUMPY damaged")
        store = StemStore(collection)
        np.testing.assert_allclose(store.track(track), good, atol=1e-2)
        assert len(store.made_s) == 1 and good.shape == (4, listener.DIM)


def test_only_the_stems_that_are_asked_for_are_made_and_kept_ones_stay(
    shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(shelf / "shelf" / "stems", ignore_errors=True)
    with Collection.open(shelf / "shelf") as collection:
        track = collection.at(shelf / "music" / "0.wav")
        assert track is not None
        store, made = StemStore(collection), list[str]()
        phi = stems._phi
        monkeypatch.setattr(stems, "_phi", lambda name, row: (made.append(name), phi(name, row))[1])
        drums = store.track(track, ["drums"])
        assert made == ["drums"] and drums[0].any() and not drums[1:].any()
        every = store.track(track)
        assert sorted(made) == ["bass", "drums", "other"] and not every[2].any()  # nobody sings
        np.testing.assert_array_equal(every[0], drums[0])
        np.testing.assert_array_equal(store.track(track, ["drums"]), drums)
        assert len(made) == 3 and len(store.made_s) == 2 and np.isfinite(every).all()
        whole = store._backbone.states([song("A:min F:maj", tempo_bpm=120.0, bars=2).audio])
        for only, part in (("harmony", 2), ("rhythm", 1)):
            half = store._backbone.states([song("A:min F:maj", tempo_bpm=120.0, bars=2).audio], only)  # type: ignore[arg-type]
            sides = [np.split(s.pooled_BD[0], stems.PARTS) for s in (half, whole)]
            assert not sides[0][part].any() and sides[1][part].any()
            np.testing.assert_allclose(sides[0][3 - part], sides[1][3 - part], atol=1e-6)
