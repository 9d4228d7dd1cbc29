"""Search orders tracks as evaluation does, in each view of a trained model; the collection knows its model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

import solfa
from fakes.tiny import tiny_model
from solfa.api import DEFAULT_MODEL
from solfa.collection import Collection, database
from solfa.collection.database import Database
from solfa.core.errors import InputError
from solfa.core.types import Audio, EncoderSpec, Features, FloatArray, JointModel, View, ViewName, Views
from solfa.evaluation.similarity import joint_scores
from solfa.evaluation.tasks import encode_files
from solfa.query import parse
from solfa.retrieval import Display, Searcher, like_example

DIM, RATE, WINDOW_S = 24, 8000, 4.0
LENGTHS_S = (4.0, 4.0, 4.0, 3.0, 5.5, 8.0, 12.0, 13.5, 2.0, 4.0, 20.0, 7.0, 4.0, 16.0, 4.0, 6.0)
CAPTION = "a warm bass with high noisy bells"


def unit(rows: np.ndarray) -> FloatArray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


class Trained:
    """Pooled vectors and frames that have nothing to do with each other, as projectors of two views give them."""

    def __init__(self, is_text: bool, name: str = "projected") -> None:
        rng = np.random.default_rng(5 + is_text)
        tiny = tiny_model()
        self._inner = tiny.text if is_text else tiny.audio
        self._pooled, self._rows = rng.standard_normal((2, self._inner.spec.dim, DIM))
        times = {} if is_text else {"sample_rate_hz": RATE, "hop_s": 1.0, "window_s": WINDOW_S}
        self.spec = EncoderSpec(name=name, space=f"{name}/1", dim=DIM, licence="", commercial_use=True, **times)

    def encode(self, batch: Sequence[Audio] | Sequence[str]) -> Features:
        given = self._inner.encode(batch)  # type: ignore[arg-type]
        frames = unit(given.frames_BTD @ self._rows + 1e-3)
        return Features(unit(given.global_BD @ self._pooled), frames, given.mask_BT)


def trained(views: Views | None = None) -> JointModel:
    views = views or Views(trained=("global", "frame", "mix"), rank=View(name="mix", alpha=0.4))
    return JointModel(name="projected", audio=Trained(False), text=Trained(True), views=views, captions=True)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder, rng = tmp_path_factory.mktemp("views"), np.random.default_rng(0)
    paths = []
    for i, seconds in enumerate(LENGTHS_S):
        time_s = np.arange(round(seconds * RATE)) / RATE
        swept = np.sin(2 * np.pi * np.cumsum(rng.uniform(80, 3500, 8)[(time_s * 1.3).astype(int) % 8]) / RATE)
        sound = 0.4 * swept + rng.uniform(0, 0.3) * rng.standard_normal(len(time_s))
        paths.append(folder / f"{i:02d}.wav")
        soundfile.write(paths[-1], 0.5 * sound, RATE)
    return paths


@pytest.fixture(scope="module")
def collection(files: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Collection:
    opened = Collection.open(tmp_path_factory.mktemp("shelf"), create=True)
    assert opened.add(files, model=trained, extractors=tuple).added == len(files)
    return opened


def evaluated(files: list[Path], view: View) -> list[Path]:
    """The pool as ``solfa eval`` orders it."""
    scores = joint_scores(encode_files(files, trained()), trained().text.encode([CAPTION]), view)
    return [files[i] for i in np.argsort(-scores.matrix()[0], kind="stable").tolist()]


@pytest.mark.parametrize("name", ["global", "frame", "mix", None])
@pytest.mark.parametrize("by", ["search", "vectors"])
def test_search_orders_a_pool_as_evaluation_does(
    collection: Collection, files: list[Path], name: ViewName | None, by: str
) -> None:
    whole = Display(k=len(files), duplicates=True)
    hits = Searcher(collection, trained, name).search(parse(CAPTION), display=whole, by=by).hits  # type: ignore[arg-type]
    expected = evaluated(files, View(name=name or "mix", alpha=0.4))
    assert [hit.path for hit in hits] == expected
    others = [evaluated(files, View(name=n, alpha=0.4)) for n in ("global", "frame", "mix") if n != (name or "mix")]  # type: ignore[arg-type]
    assert expected not in others


def test_a_track_of_one_clip_repeated_is_where_the_clip_is(files: list[Path], tmp_path: Path) -> None:
    clip, rate = soundfile.read(files[0], dtype="int16")
    soundfile.write(tmp_path / "long.wav", np.tile(clip, 5), rate)
    soundfile.write(tmp_path / "clip.wav", clip, rate)
    with Collection.open(tmp_path / "c", create=True) as opened:
        opened.add([tmp_path], model=trained, extractors=tuple)
        clip_windows, long_windows = (
            opened.store("projected/1").windows([track.id])[0]
            for track in sorted(opened.tracks(), key=lambda t: t.duration_s)
        )
    np.testing.assert_array_equal(np.repeat(clip_windows.pooled_WD, 5, axis=0), long_windows.pooled_WD)
    np.testing.assert_array_equal(np.tile(clip_windows.frames_TD, (5, 1)), long_windows.frames_TD)


def test_examples_are_compared_by_the_trained_vectors(collection: Collection, files: list[Path]) -> None:
    searcher = Searcher(collection, trained)
    example = like_example(searcher, f"{files[10]}@0:04-0:08")
    hits = searcher.search(parse("x"), like=[example], by="vectors", display=Display(k=3, duplicates=True)).hits
    assert files[10] not in [hit.path for hit in hits]  # never its own answer
    assert hits[0].score >= hits[1].score


def test_a_model_without_windows_has_no_frame_view(tmp_path: Path, files: list[Path]) -> None:
    with Collection.open(tmp_path, create=True) as opened:
        opened.add(files[:2], model=tiny_model, extractors=tuple)
        with pytest.raises(InputError, match="has only the global view"):
            Searcher(opened, tiny_model, "frame").search(parse("low"))


def test_candidates_beyond_the_shortlist_never_come_first(
    collection: Collection, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("solfa.retrieval.plan.CANDIDATES", 4)
    hits = Searcher(collection, trained, "frame").search(parse(CAPTION), display=Display(k=1), by="vectors").hits
    text = trained().text.encode([CAPTION]).global_BD[0]
    best = [float((sound.pooled_WD @ text).max()) for sound in encode_files(files, trained()).sounds]
    candidates = [files[i] for i in np.argsort(best)[::-1][:4]]  # the tracks with the nearest windows
    assert hits[0].path == next(path for path in evaluated(files, View(name="frame")) if path in candidates)


def test_the_collection_remembers_its_model(files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, bool]] = []

    def load(name: str, *, allow_noncommercial: bool = False) -> JointModel:
        asked.append((name, allow_noncommercial))
        return tiny_model() if name == DEFAULT_MODEL else trained()

    monkeypatch.setattr("solfa.api.load_model", load)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    mine = f"trained:{tmp_path / 'model'}"
    with Collection.open(tmp_path / "c", create=True) as opened:
        solfa.index(opened, files[:2], extractors=["loudness"])
        solfa.search(opened, "low")
        assert set(asked) == {(DEFAULT_MODEL, False)}
        asked.clear()
        solfa.index(opened, files[:2], extractors=["loudness"], model="trained:model", allow_noncommercial=True)
        solfa.search(opened, "low")
        monkeypatch.chdir("/")
        solfa.search(opened, "low")
        solfa.index(opened, files[:3], extractors=["loudness"])
        assert set(asked) == {(mine, True)}
        asked.clear()
        solfa.search(opened, "low", model=DEFAULT_MODEL)
        assert asked == [(DEFAULT_MODEL, False)]
        assert opened.stats().spaces == {"tiny/1/32": 2, "projected/1": 3}


def test_a_collection_of_the_first_version_is_brought_up_to_date(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as old:
        old.setattr(database, "MIGRATIONS", database.MIGRATIONS[:1])
        old.setattr(database, "VERSION", 1)
        Database(tmp_path).prepare(create=True)
    with Database(tmp_path).lock(), Database(tmp_path).writer() as db:
        db.execute("INSERT INTO space VALUES (1, 'tiny/1/32', 32, 1.0, 0, 0, 0)")
    with Collection.open(tmp_path) as opened:
        assert opened.remembered_model() is None
        opened.add(files[:2], model=tiny_model, extractors=tuple)
        assert opened.stats().spaces == {"tiny/1/32": 2}
        assert len(Searcher(opened, tiny_model).search(parse("low")).hits) == 2
