"""A teacher's probabilities: the file, what they are of, and that training comes nearer to them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from small import NOTES, Hear, Read  # noqa: E402
from tiny_recipes import features_of, tiny  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from fakes.files import write_audio  # noqa: E402
from fakes.synth import song  # noqa: E402
from solfa.api import open_searcher  # noqa: E402
from solfa.apps.cli import app  # noqa: E402
from solfa.apps.solfa1 import requests, sentences  # noqa: E402
from solfa.collection import Collection  # noqa: E402
from solfa.core.errors import InputError  # noqa: E402
from solfa.datasets.shards import Dataset  # noqa: E402
from solfa.encoders import trained  # noqa: E402
from solfa.query import parse  # noqa: E402
from solfa.retrieval import Display  # noqa: E402
from solfa.training.batches import prepare  # noqa: E402
from solfa.training.run import run  # noqa: E402
from solfa.training.teacher import Teacher  # noqa: E402
from solfa.training.trainer import Trainer  # noqa: E402


def made(count: int = 3) -> Teacher:
    logs = np.log(np.random.default_rng(0).dirichlet(np.ones(count), 5))
    return Teacher(texts=tuple("abcde"), tracks=tuple(f"t{i}" for i in range(count)), logs_XN=logs.astype(np.float16))


def test_the_file_holds_what_was_said_and_nothing_else_is_read(tmp_path):
    teacher = made()
    teacher.save(tmp_path / "t.npz")
    again = Teacher.load(tmp_path / "t.npz")
    assert again.revision == teacher.revision and again.texts == teacher.texts and again.tracks == teacher.tracks
    for damage in (b"", b"nonsense", (tmp_path / "t.npz").read_bytes()[:200]):
        (tmp_path / "bad.npz").write_bytes(damage)
        with pytest.raises(InputError, match="not a teacher's file"):
            Teacher.load(tmp_path / "bad.npz")


def test_pairs_are_of_tracks_and_texts_and_nan_where_one_is_unknown():
    teacher = made()
    found = teacher.pairs(["t2", "?", "t0"], ["b", "e", "?"])
    assert found[0, 0] == teacher.logs_XN[1, 2] and found[2, 1] == teacher.logs_XN[4, 0]
    assert np.isnan(found[1]).all() and np.isnan(found[:, 2]).all() and np.isfinite(found[[0, 2], :2]).all()


def test_every_text_is_a_caption_of_likely_tracks_and_tracks_get_as_many(folder):
    clips = list(Dataset.open(folder).split("train"))
    tracks = [clip.track or clip.id for clip in clips]
    rng = np.random.default_rng(1)
    logs = np.full((600, len(tracks)), -12.0) + 6.0 * (rng.random(len(tracks)) < 0.1)  # some are near every text
    own = np.arange(600) % len(tracks)
    logs[np.arange(600), own] = 0.0
    teacher = Teacher(
        texts=tuple(f"text {i}" for i in range(600)), tracks=tuple(tracks), logs_XN=logs.astype(np.float16)
    )
    clips = [clip if clip.track else type(clip)(**{**_plain(clip), "track": clip.id}) for clip in clips]
    found = teacher.captions(clips, seed=0)
    said = [[text for text in own if text.startswith("text")] for own in found]
    assert 600 <= sum(map(len, said)) <= 1200 and max(map(len, said)) < 4 * min(map(len, said))
    assert np.mean([f"text {i}" in said[own[i]] for i in range(600)]) > 0.95
    share = [
        sum(text in clip.captions for text in all_of) / len(all_of) for clip, all_of in zip(clips, found, strict=True)
    ]
    assert all(0.1 < each < 0.4 for each in share)


def _plain(clip):
    return {name: getattr(clip, name) for name in clip.__dataclass_fields__}


def gap(trainer: Trainer, teacher: Teacher, texts: list[str]) -> float:
    """Mean divergence of the model's probabilities of clips given texts from the teacher's."""
    split = trainer.data.train.relabelled(captions=[(texts[0],)] * len(trainer.data.train))
    audio, _ = features_of(trainer.model, split)
    with torch.no_grad():
        pooled = torch.from_numpy(split.pooled_texts(texts)).float()
        said = trainer.model.text.pooled(pooled).numpy()
    logits = torch.from_numpy(audio.global_BD @ said.T / 0.07).log_softmax(dim=0)
    taught = torch.from_numpy(teacher.pairs(trainer.data.train.tracks(), texts)).log_softmax(dim=0)
    return float((taught.exp() * (taught - logits)).sum(dim=0).mean())


def of_notes(folder: Path) -> Teacher:
    """Knows which clips have a note, by their records."""
    clips = list(Dataset.open(folder).split("train"))
    texts = [f"the {name}" for name in NOTES] + [f"{a} and {b}" for a in NOTES for b in NOTES if a < b]
    named = [[n for n in NOTES if n in text.split()] for text in texts]
    logs = np.array([[4.0 * sum(n in clip.captions[0] for n in own) for clip in clips] for own in named])
    logs -= np.logaddexp.reduce(logs, axis=1, keepdims=True)
    return Teacher(texts=tuple(texts), tracks=tuple(clip.track for clip in clips), logs_XN=logs.astype(np.float16))


@pytest.fixture(scope="module")
def tracks_folder(tmp_path_factory) -> Path:
    from small import make_data

    path = tmp_path_factory.mktemp("taught") / "data"
    make_data(path, tracked=True)
    return path


def test_distillation_comes_nearer_to_the_teacher_than_the_pairs_alone(tracks_folder, tmp_path):
    teacher, gaps = of_notes(tracks_folder), []
    for distil in (0.0, 1.0):
        data = prepare(
            Dataset.open(tracks_folder), tracks_folder / "features", audio=Hear(), text=Read(), teacher=teacher
        )
        recipe = tiny("figma", data, epochs=12, select="last")
        recipe = replace(recipe, objective=replace(recipe.objective, distil=distil))
        trainer = Trainer(recipe, data, tmp_path / str(distil))
        before = gap(trainer, teacher, list(teacher.texts))
        trainer.run()
        gaps.append(gap(trainer, teacher, list(teacher.texts)))
        assert gaps[-1] < before
    assert gaps[1] < 0.9 * gaps[0]


def test_a_teacher_is_refused_where_it_says_nothing(folder, tmp_path):
    made().save(tmp_path / "t.npz")
    with pytest.raises(InputError, match="a teacher is for figma and united"):
        run("finelap", folder, tmp_path / "out", teacher=tmp_path / "t.npz")


def test_sentences_of_a_table_and_of_lines(tmp_path):
    table = tmp_path / "c.csv"
    table.write_text('caption,id\n"Slow piano. It is very sad.",3\n,4\nA drum,5\n')
    assert list(sentences(table)) == ["Slow piano. It is very sad.", "Slow piano.", "It is very sad.", "A drum"]
    (tmp_path / "c.txt").write_text("loud drums\n\nsoft rain\n")
    assert list(sentences(tmp_path / "c.txt")) == ["loud drums", "soft rain"]
    table.write_text("text\nx\n")
    with pytest.raises(InputError, match="no captions"):
        list(sentences(table))
    drawn = list(requests(50, 0))
    assert drawn == list(requests(50, 0)) != list(requests(50, 1)) and not any("{" in text for text in drawn)


@pytest.fixture(scope="module")
def music(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("recordings")
    for number, chords in enumerate(
        ("A:min F:maj C:maj G:maj", "D:maj G:maj A:7 D:maj", "E:min C:maj", "F:maj Bb:maj")
    ):
        made = song(chords, tempo_bpm=90 + 20 * number, bars=12 + 2 * number, drums=number % 2 == 0, seed=number)
        write_audio(folder / f"{number}.wav", made.audio.samples, made.audio.sample_rate_hz)
    return folder


@pytest.mark.slow
def test_solfa_1_is_trained_from_recordings_and_goes_on_where_it_stopped(music, tmp_path, monkeypatch):
    said, out = tmp_path / "said.txt", tmp_path / "solfa-1"
    said.write_text("a slow song with drums\nfast and loud music\nsomething calm for the evening\n")
    sizes = [f"--set={name}" for name in ("batch_size=2", "epochs=2", "warmup_steps=2", "checkpoint_every=1")]
    given = [
        "train",
        "solfa-1",
        "--recordings",
        str(music),
        "--captions",
        str(said),
        "--out",
        str(out),
        "--workers",
        "1",
    ]
    monkeypatch.setattr("solfa.apps.solfa1.requests", lambda count, seed: iter(["piano", "drums", "sad song", "rock"]))
    step, steps = Trainer.step, []

    def stopped(trainer: Trainer, batch: object) -> object:
        steps.append(len(steps))
        if len(steps) == 3:
            raise KeyboardInterrupt
        return step(trainer, batch)

    monkeypatch.setattr(Trainer, "step", stopped)
    assert CliRunner().invoke(app, [*given, *sizes]).exit_code == 130
    files = {
        file: file.stat().st_mtime_ns for file in (out / "teacher.npz", *sorted((out / "captioned").rglob("*.tar")))
    }
    monkeypatch.setattr(Teacher, "of", None)  # what is there is not made again
    done = CliRunner().invoke(app, [*given, *sizes])
    assert done.exit_code == 0, done.output
    assert files == {file: file.stat().st_mtime_ns for file in files}
    model = trained.load(source=out / "run" / "model")
    assert model.audio.spec.dim == 512 and "Apache-2.0" in model.audio.spec.licence
    assert {"a slow song with drums", "piano"} <= set(Teacher.load(out / "teacher.npz").texts)
    other = CliRunner().invoke(app, [*given, "--seed", "5"])
    assert isinstance(other.exception, InputError) and "begun with other recordings, captions or seed" in str(
        other.exception
    )


@pytest.mark.slow
def test_the_teacher_says_what_search_orders_by(music, tmp_path, monkeypatch):
    from solfa.api import index

    with Collection.open(tmp_path / "c", create=True) as collection:
        index(collection, [music])
        searcher = open_searcher(collection)
        teacher = Teacher.of(["fast song without drums", "rock", "xyzzy plugh", "rock"], searcher, lambda *_: None)
        hashes = {track.id: track.hash for track in collection.tracks()}
        for text in teacher.texts:
            hits = searcher.search(parse(text), display=Display(k=4, duplicates=True)).hits
            order = np.argsort(-teacher.logs_XN[teacher.texts.index(text)].astype(float), kind="stable")
            assert [teacher.tracks[i] for i in order] == [hashes[hit.track_id] for hit in hits]
        assert teacher.texts == ("fast song without drums", "rock")
        monkeypatch.setattr("solfa.training.teacher._KEPT_AT_ONCE", 2)
        said, asked, evidence = (
            ("rock", "xyzzy", "xyzzy plugh", "fast song without drums", "piano"),
            [],
            searcher.evidence,
        )

        def stopped(query: object) -> object:
            asked.append(query)
            if len(asked) == 4:
                raise KeyboardInterrupt
            return evidence(query)

        monkeypatch.setattr(searcher, "evidence", stopped)
        with pytest.raises(KeyboardInterrupt):
            Teacher.of(said, searcher, lambda *_: None, tmp_path / "answers")
        again = Teacher.of(said, searcher, lambda *_: None, tmp_path / "answers")
        assert again.texts == ("rock", "fast song without drums", "piano") and len(asked) == 4 + 3
        assert (again.logs_XN[[1, 0]] == teacher.logs_XN).all() and again.tracks == teacher.tracks
        assert np.allclose(np.exp(teacher.logs_XN.astype(float)).sum(axis=1), 1, atol=1e-2)
