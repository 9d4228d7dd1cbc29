"""Reports, comparison, published numbers, exports, and whole tasks on the tiny model."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fakes.tiny import tiny_model
from solfa.core.annotation import MusicAnnotation
from solfa.core.clip import Clip, Phrase
from solfa.core.errors import InputError, UnknownName
from solfa.core.intervals import Segment
from solfa.core.theory import Chord, Key
from solfa.core.types import Audio, ChordSegment, Features, Logit, View, ViewName
from solfa.datasets.readers import DataSet, sources
from solfa.evaluation import interop, tasks
from solfa.evaluation.events import (
    ClipScores,
    ClipTruth,
    SystemScores,
    best_collar_thresholds,
    best_segment_thresholds,
    collar_counts,
    decide,
    event_f1,
    segment_counts,
)
from solfa.evaluation.psds import RocCurve
from solfa.evaluation.reports import Report, beside, blind_rows, compare, published, read_report, row, write_report
from solfa.evaluation.significance import Interval
from solfa.evaluation.tagging import tag_scores
from solfa.evaluation.tasks import TASKS, TaskSettings, encode_files, run_mir, run_task
from solfa.evaluation.truth import holds
from solfa.query import parse

RATE = 16000
FEW = TaskSettings(num_resamples=50, num_clip_resamples=5)


def sound(*bands: str) -> np.ndarray:
    """One second of each named sound."""
    t = np.arange(RATE) / RATE
    rng = np.random.default_rng(0)
    made = {
        "low": np.sin(2 * np.pi * 80 * t),
        "middle": np.sin(2 * np.pi * 600 * t),
        "high": np.sin(2 * np.pi * 2500 * t),
        "bright": np.sin(2 * np.pi * 5000 * t),
        "noisy": rng.standard_normal(RATE) * 0.3,
        "silent": np.zeros(RATE),
    }
    return np.concatenate([made[b] for b in bands]).astype(np.float32) * 0.5


def phrases(**spans_s: list[tuple[float, float]]) -> tuple[Phrase, ...]:
    return tuple(Phrase(text=text, spans_s=tuple(spans)) for text, spans in spans_s.items())


def data_set(folder: Path, *items: tuple[str, np.ndarray, dict[str, object]]) -> DataSet:
    made = []
    for name, samples, known in items:
        soundfile.write(folder / f"{name}.wav", samples, RATE)
        made.append(Clip(id=name, audio=folder / f"{name}.wav", **known))  # type: ignore[arg-type]
    return DataSet(name="clotho", split="evaluation", revision="r1", source=sources()["clotho"], clips=tuple(made))


@pytest.fixture
def captioned(tmp_path: Path) -> DataSet:
    names = ("low", "middle", "high", "bright", "noisy")
    return data_set(
        tmp_path, *((n, sound(n, n), {"captions": (f"{n}", f"{n} {n}"), "attributes": {"labels": (n,)}}) for n in names)
    )


def test_retrieval_end_to_end(captioned: DataSet, tmp_path: Path) -> None:
    report = run_task("retrieval", tiny_model(), captioned, settings=FEW)
    assert report.metrics["T2A R@1"].value == report.metrics["A2T R@1"].value == 1
    assert (report.num_queries, report.num_items, report.space) == (10, 5, "tiny/1/32")
    path = tmp_path / "report.json"
    write_report(report, path)
    again = read_report(path)
    assert again == dataclasses.replace(report, options=again.options, metrics=dict(report.metrics))
    assert dict(again.options.items()) == json.loads(json.dumps(report.options))
    cells = row(report)
    assert cells["T2A R@1"] == "100.0 [47.8, 100.0]" and cells["T2A MedR"] == "1.0 [1.0, 1.0]"
    assert [p.model for p in beside(report)][-1] == "FineLAP"


def test_views_and_stretches_give_the_same_features_as_whole_clips(captioned: DataSet) -> None:
    model = tiny_model()
    pool = encode_files([i.audio for i in captioned.clips if i.audio], model)
    whole = model.audio.encode([Audio(sound("low", "low"), RATE)])
    np.testing.assert_allclose(pool.sounds[0].pooled_WD[0], whole.global_BD[0], atol=1e-3)  # through a 16-bit file
    names: tuple[ViewName, ...] = ("frame", "mix")
    for view in names:
        settings = dataclasses.replace(FEW, view=View(name=view))
        assert run_task("retrieval", model, captioned, settings=settings, pool=pool).metrics["T2A R@1"].value == 1


def test_a_long_file_is_encoded_in_stretches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from solfa.evaluation import tasks

    data = data_set(tmp_path, ("x", sound("low", "low", "high"), {}))
    monkeypatch.setattr(tasks, "STRETCH_S", 2.0)
    pool = encode_files([i.audio for i in data.clips if i.audio], tiny_model())
    assert len(pool.sounds[0].frames_TD) == 3 and np.linalg.norm(pool.sounds[0].pooled_WD[0]) == pytest.approx(
        1, abs=1e-5
    )


def test_zero_shot_and_saturation_and_perturbation(captioned: DataSet, tmp_path: Path) -> None:
    model = tiny_model()
    report = run_task("zeroshot", model, captioned, settings=FEW)
    assert report.metrics["accuracy"].value == 1 and report.per_query["accuracy"] == (1.0,) * 5
    with pytest.raises(InputError, match="own tokenizer"):
        run_task("saturation", model, captioned, settings=FEW)
    words = dataclasses.replace(
        FEW, spans=lambda t: [(i, i + 1) for i in range(len(t)) if not t[i].isspace()], steps=(1, 2)
    )
    curve = run_task("saturation", model, captioned, settings=words).details["curve"]
    assert [p["tokens"] for p in curve] == [1, 2, None] and curve[-1]["R@1"] == 1
    with pytest.raises(InputError, match="none of key, tempo"):
        run_task("perturbation", model, captioned, settings=FEW)
    stated = [
        (f"c{i}", sound(n), {"captions": (f"{n} in {k} major",)})
        for i, (n, k) in enumerate([(n, k) for k in "CDE" for n in ("low", "high", "bright")])
    ]
    keyed = run_task(
        "perturbation", model, data_set(tmp_path, *stated), settings=dataclasses.replace(FEW, kinds=("key",))
    )
    assert 0 <= keyed.metrics["key original R@1"].value <= 1 and keyed.details["skipped"]["key"] <= 1
    blind = keyed.details["blind"]
    assert set(blind) == {"random", "text-only, plausibility", "text-only, words", "text-only, length"}
    assert {"key preferred, mismatched sound", "key preferred beyond mismatched"} <= set(keyed.metrics)


@pytest.mark.parametrize("view", ["global", "frame"])
def test_a_text_is_encoded_once_in_a_task(view: ViewName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, encoded = tiny_model(), []

    class Counting:
        spec = model.text.spec

        def encode(self, batch: Sequence[str]) -> Features:
            encoded.extend(batch)
            return model.text.encode(batch)

    stated = [
        (f"c{i}", sound(n), {"captions": (f"{n} in {k} major" + i * " and on",)})
        for i, (n, k) in enumerate([(n, k) for k in "CDE" for n in ("low", "high", "bright")])
    ]
    data, settings = data_set(tmp_path, *stated), dataclasses.replace(FEW, kinds=("key",), view=View(name=view))
    found = run_task("perturbation", dataclasses.replace(model, text=Counting()), data, settings=settings)
    assert len(encoded) == len(set(encoded)) > len(stated)
    monkeypatch.setattr(tasks._Run, "read", lambda run, texts: run.model.text.encode(list(texts)))
    plain = run_task("perturbation", model, data, settings=settings)
    assert {n: i.value for n, i in found.metrics.items()} == {n: i.value for n, i in plain.metrics.items()}


def test_blind_rows_stand_beside_every_task(captioned: DataSet, tmp_path: Path) -> None:
    model = tiny_model()
    clips = [dataclasses.replace(clip, captions=clip.captions * (3 if n == 2 else 1),
                                 attributes={"labels": ("a",) if n else ("b",)})
             for n, clip in enumerate(captioned.clips)]  # fmt: skip
    some = dataclasses.replace(captioned, clips=tuple(clips))
    blind = run_task("zeroshot", model, some, settings=FEW).details["blind"]
    assert blind["popularity-only"]["accuracy"]["value"] == 0.8  # the class of four of five
    assert blind["text-only"]["accuracy"]["value"] in (0.2, 0.8) and 0 <= blind["random"]["accuracy"]["value"] <= 1
    retrieval = run_task("retrieval", model, some, settings=FEW)
    blind = retrieval.details["blind"]
    popular = blind["popularity-only"]["T2A R@1"]
    assert popular["value"] == 6 / 14 and popular["low"] < 6 / 14 < popular["high"]  # the clip with six of fourteen
    assert blind["text-only"]["A2T R@1"]["value"] == 0.2 and blind["random"]["T2A R@1"]["value"] < 0.6
    assert blind_rows(retrieval)["popularity-only"]["T2A R@1"].startswith("42.9 [")
    assert all(set(row) == set(retrieval.metrics) for row in blind.values())
    tags = [dataclasses.replace(item, attributes={"labels": ("low", "all") if n < 2 else ("all", "x")[: 1 + n % 2]})
            for n, item in enumerate(captioned.clips)]  # fmt: skip
    report = run_task("tagging", model, dataclasses.replace(captioned, clips=tuple(tags)), settings=FEW)
    assert report.details["blind"]["popularity-only"]["ROC-AUC"]["value"] < 1 and 0 <= report.metrics["mAP"].value <= 1
    with pytest.raises(InputError, match="no clip has a label"):
        bare = tuple(dataclasses.replace(item, attributes={}) for item in captioned.clips)
        run_task("tagging", model, dataclasses.replace(captioned, clips=bare), settings=FEW)


@pytest.mark.parametrize("levels", [0, 4])
def test_tag_scores_equal_scikit_learn(levels: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(levels)
    truth = rng.random((80, 6)) < 0.25
    truth[:, 5] = True  # has no score
    scores = rng.random((80, 6)) + 0.4 * truth
    scores = np.round(scores * levels) / levels if levels else scores
    ours = tag_scores(scores, truth)
    for c in range(5):
        assert ours["AP"][c] == pytest.approx(metrics.average_precision_score(truth[:, c], scores[:, c]))
        assert ours["ROC-AUC"][c] == pytest.approx(metrics.roc_auc_score(truth[:, c], scores[:, c]))
        precision, recall, _ = metrics.precision_recall_curve(truth[:, c], scores[:, c])
        assert ours["PR-AUC"][c] == pytest.approx(metrics.auc(recall, precision))
    assert np.isnan(ours["AP"][5])
    with pytest.raises(InputError, match="none of 6 tags"):
        tag_scores(scores, np.ones((80, 6), bool))


def test_detection_and_grounding(tmp_path: Path) -> None:
    clips = [
        (
            "a",
            sound("silent", "low", "low", "high"),
            {
                "duration_s": 4.0,
                "phrases": phrases(low=[(1.0, 3.0)], high=[(3.0, 4.0)], bright=[]),
            },
        ),
        (
            "b",
            sound("high", "silent", "silent", "low"),
            {
                "duration_s": 4.0,
                "phrases": phrases(high=[(0.0, 1.0)], low=[(3.0, 4.0)]),
            },
        ),
    ]
    data = data_set(tmp_path, *clips)
    settings = dataclasses.replace(FEW, num_filter_frames=1)
    report = run_task("sed", tiny_model(), data, settings=settings)
    assert report.metrics["PSDS1"].value == report.metrics["best segment F1"].value == 1
    grounded = run_task("grounding", tiny_model(), data, settings=FEW)
    assert grounded.metrics["PSDS2021"].value == 1 and grounded.num_queries == 4
    assert set(grounded.details) == {"Th-AUC of (cosine + 1) / 2", "PSD-ROC", "blind"}
    assert "F1 at probability 0.5" not in report.details
    sharp, vague = (  # what is there has a cosine of 1: a probability of 1, or of 0
        dataclasses.replace(tiny_model(), logits={"frame": Logit(temperature=0.05, bias=bias)}) for bias in (-10, -30)
    )
    found = [run_task("grounding", model, data, settings=FEW) for model in (sharp, vague)]
    assert [f.metrics["PSDS2021"].value for f in found] == [1, 1]
    assert [f.details["Th-AUC of probability"] for f in found] == pytest.approx([0.98, 0.0], abs=0.02)
    found = [run_task("sed", model, data, settings=settings) for model in (sharp, vague)]
    assert [f.details["F1 at probability 0.5"] for f in found] == [
        {"collar": 1, "segment": 1},
        {"collar": 0, "segment": 0},
    ]
    with pytest.raises(InputError, match="no clip has a sound event"):
        run_task("sed", tiny_model(), data_set(tmp_path, ("c", sound("low"), {"duration_s": 1.0})), settings=FEW)


@pytest.mark.parametrize("told", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("num_classes", [8, 24])
def test_the_best_f1_of_rare_classes_lies_in_its_own_interval(num_classes: int, told: float) -> None:
    rng, classes = np.random.default_rng(0), tuple(f"c{n}" for n in range(num_classes))
    truth, clips = {}, {}
    for n in range(24):
        start, own = int(rng.integers(8)), n % num_classes
        truth[str(n)] = ClipTruth(duration_s=10.0, events=(Segment(start, start + 2.0, classes[own]),))
        values = rng.random((20, num_classes))
        values[2 * start : 2 * start + 4, own] += told
        clips[str(n)] = ClipScores(values, np.arange(21) / 2)
    scores, settings = SystemScores(classes, clips), dataclasses.replace(FEW, num_clip_resamples=50)
    for best, match in ((best_segment_thresholds, segment_counts), (best_collar_thresholds, collar_counts)):
        thresholds = best(truth, scores)
        measured = tasks._at_best(truth, scores, thresholds, match, settings)
        whole = event_f1(truth, decide(scores, thresholds), classes, match)
        assert measured.value == pytest.approx(whole.macro_f1, abs=1e-12)
        assert measured.low <= measured.value <= measured.high and measured.num == 24
        assert (measured.low < measured.high) == (0 < measured.value < 1)


def test_the_staircases_of_a_report_have_the_area_of_its_score(tmp_path: Path) -> None:
    known = {"duration_s": 3.0, "phrases": phrases(low=[(1.0, 2.0)])}
    data = data_set(tmp_path, ("a", sound("silent", "low", "noisy"), known), ("b", sound("low", "low", "high"), known))
    for task in ("sed", "grounding"):
        report = run_task(task, tiny_model(), data, settings=dataclasses.replace(FEW, num_filter_frames=1))
        for name, roc in report.details["PSD-ROC"].items():
            curve = RocCurve(np.array(roc["efpr_per_hour"]), np.array(roc["tpr"]))
            assert curve.area(roc["max_efpr_per_hour"]) == pytest.approx(report.metrics[name].value, abs=1e-12)


def pool_of_music(folder: Path) -> DataSet:
    """Tracks whose key, tempo, metre and chords recur in all combinations."""
    items = []
    for i in range(36):
        chords = tuple(
            ChordSegment(
                start_s=float(j),
                end_s=j + 1.0,
                label=str(Chord((5 * (i // 2 % 3) + step) % 12, quality)),
                confidence=1.0,
            )
            for j, (step, quality) in enumerate([(0, "maj"), (9, "min"), (5, "maj"), (7, "maj")])
        )
        music = MusicAnnotation(
            duration_s=4.0,
            tempo_bpm=60.0 + 17 * (i % 3),
            key=Key(2 * (i // 3 % 3), "major"),
            metre=f"{3 + i // 9 % 2}/4",
            chords=chords,
        )
        items.append((f"t{i}", sound("low", "high"), {"annotation": music}))
    return data_set(folder, *items)


def test_fine_grained_tells_what_detects_from_what_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = pool_of_music(tmp_path)
    truths = [clip.annotation for clip in data.clips if clip.annotation]

    def rank(texts: Sequence[str]) -> np.ndarray:
        asked = [parse(text).constraints for text in texts]
        return np.array([[sum(holds(c, t) is True for c in own) for t in truths] for own in asked], np.float64)

    settings = dataclasses.replace(FEW, k=2, wording="plain")
    monkeypatch.setattr(tasks, "_BLIND", ())  # those rows are tested where the command is
    hears = run_task("finegrained", tiny_model(), data, settings=dataclasses.replace(settings, rank=rank))
    deaf = run_task("finegrained", tiny_model(), data, settings=settings)
    assert hears.details["lift"]["joint"] == pytest.approx(1.0) and deaf.details["lift"]["joint"] < 0.5
    assert hears.metrics["tempo fall"].value == pytest.approx(hears.details["attainable fall"]["tempo"])
    assert hears.details["detected"]["tempo"] and not any(deaf.details["detected"].values())
    assert compare(deaf, hears)["CS@2 metre"].real and hears.pool == deaf.pool
    assert run_task("finegrained", tiny_model(), data, settings=dataclasses.replace(settings, seed=1)).pool != deaf.pool
    with pytest.raises(InputError, match="the music is not annotated"):
        run_task("finegrained", tiny_model(), data_set(tmp_path, ("x", sound("low"), {})), settings=FEW)


def test_a_pool_never_shrinks_unnoticed(captioned: DataSet) -> None:
    silent = dataclasses.replace(captioned, clips=(*captioned.clips, Clip(id="gone", captions=("x",))))
    with pytest.raises(InputError, match=r"1 of 6 clips have no audio\. Expected in the folder: .*--with-audio"):
        run_task("retrieval", tiny_model(), silent)
    with pytest.raises(UnknownName, match="retrieval"):
        run_task("retreival", tiny_model(), captioned)
    with pytest.raises(InputError, match="no audio to encode"):
        encode_files([], tiny_model())
    assert set(TASKS) == {
        "retrieval",
        "saturation",
        "perturbation",
        "zeroshot",
        "tagging",
        "sed",
        "grounding",
        "finegrained",
    }


def test_mir_reports_pair_tracks_by_name() -> None:
    truth = {
        n: MusicAnnotation(duration_s=9.0, tempo_bpm=b, key=Key(0, "major")) for n, b in (("a", 90.0), ("b", 120.0))
    }
    half = {**truth, "b": MusicAnnotation(duration_s=9.0, tempo_bpm=60.0)}
    report = run_mir(truth, dict(reversed(half.items())), system="x 1.0", data="rendered")
    assert (report.metrics["tempo_acc1"].value, report.metrics["tempo_acc2"].value) == (0.5, 1.0)
    assert report.per_query["key_weighted"] == (1.0, 0.0)
    better = run_mir(truth, truth, system="y 1.0", data="rendered")
    assert compare(report, better)["tempo_acc1"].difference.value == 0.5
    with pytest.raises(InputError, match="1 tracks are on one side only"):
        run_mir(truth, {"a": truth["a"]}, system="x", data="rendered")


def report_of(values: list[float], **changes: object) -> Report:
    base = Report(
        task="retrieval",
        model="m",
        space="s",
        data="d",
        split="t",
        revision="r",
        pool="p",
        num_queries=len(values),
        num_items=9,
        seed=0,
        per_query={"T2A R@1": tuple(values)},
        statistics={"T2A R@1": "mean"},
        metrics={"T2A R@1": Interval(value=float(np.mean(values)), low=0.0, high=1.0, num=len(values))},
    )
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


def test_comparison_needs_one_pool_and_finds_what_is_real() -> None:
    rng = np.random.default_rng(0)
    a = (rng.random(300) < 0.3).astype(float)
    b = np.maximum(a, rng.random(300) < 0.2)
    difference = compare(report_of(a.tolist()), report_of(b.tolist(), model="n"))["T2A R@1"]
    assert difference.real and difference.difference.value == pytest.approx(b.mean() - a.mean())
    for name in ("pool", "task", "revision", "split"):
        with pytest.raises(InputError, match=f"cannot be compared: {name}"):
            compare(report_of([1.0]), report_of([1.0], **{name: "other"}))
    with pytest.raises(InputError, match="no metric with one value per query"):
        compare(report_of([1.0]), report_of([1.0], per_query={}))


def test_a_report_never_holds_a_number_for_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="0 queries"):
        report_of([1.0], num_queries=0)
    with pytest.raises(InputError, match="0 metrics"):
        report_of([1.0], metrics={})
    with pytest.raises(InputError, match="not a finite number"):
        report_of([1.0], metrics={"x": Interval(value=math.nan, low=0, high=1, num=1)})
    for text in ("", "[]", '{"schema": "other/1"}', '{"schema": "solfa.report/1", "task": 3}'):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(InputError, match=r"not a solfa report|schema 'other/1'"):
            read_report(tmp_path / "x.json")


def test_published_rows_are_whole_and_have_sources() -> None:
    rows = published()
    assert len(rows) > 60 and all(p.source and p.metrics for p in rows)
    assert all(0 <= v <= 100 for p in rows for v in p.metrics.values())
    assert {p.data for p in rows} <= set(sources())
    (figma,) = [p for p in rows if (p.model, p.data, p.task) == ("FIGMA", "fmacaps", "retrieval")]
    assert figma.metrics["T2A R@10"] == 37.6
    (tuned,) = [p for p in rows if p.model.endswith("FGMCaps") and p.data == "musicbench"]
    assert "T2A R@20" not in tuned.metrics


def test_mteb_model_encodes_both_sides() -> None:
    wrapped = interop.MtebModel(tiny_model())
    text = wrapped.encode([{"text": ["low", "high"]}, {"text": ["noisy"]}], task_metadata=None)
    audio = wrapped.encode([{"audio": [{"array": sound(n), "sampling_rate": RATE} for n in ("low", "high", "noisy")]}])
    stereo = wrapped.encode([{"audio": [{"array": np.stack([sound("low")] * 2), "sampling_rate": RATE}]}])
    np.testing.assert_allclose(stereo[0], audio[0], atol=1e-6)
    assert wrapped.similarity(text, audio).argmax(axis=1).tolist() == [0, 1, 2]
    np.testing.assert_allclose(
        wrapped.similarity_pairwise(text, audio), np.diag(wrapped.similarity(text, audio)), atol=1e-6
    )
    with pytest.raises(InputError, match="text or audio"):
        wrapped.encode([{"image": []}])
    with pytest.raises(InputError, match="nothing to encode"):
        wrapped.encode([])
