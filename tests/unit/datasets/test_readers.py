"""Every reader on a small sample in the exact published layout, and on what can be wrong with one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from solfa.core.annotation import MusicAnnotation
from solfa.core.clip import Phrase
from solfa.core.errors import InputError, UnknownName
from solfa.datasets.readers import Inside, laid_out, load, sources
from solfa.evaluation.events import truth_of
from solfa.evaluation.openvocab import grounding_pairs


def spoken(*phrases: tuple[Any, ...]) -> tuple[Phrase, ...]:
    """Phrases of (text, span, span ...)."""
    return tuple(Phrase(text=text, spans_s=tuple(spans_s)) for text, *spans_s in phrases)


MUSICCAPS = """\
ytid,start_s,end_s,audioset_positive_labels,aspect_list,caption,author_id,\
is_balanced_subset,is_audioset_eval
-0Gj8-vB1q4,30,40,"/m/0140xf,/m/02cjck","['low quality', 'strings']","A recording, says ""so"".",4,False,True
-0SdAVK79lg,30,40,/m/0155w,"['guitar song']","This song features an electric guitar.",0,False,False
"""
SONG_DESCRIBER = """caption_id,track_id,caption,is_valid_subset,familiarity,artist_id,album_id,path,duration
1,1004034,"A song about love, with a guitar.",True,0,1,2,34/1004034.mp3,211.0
2,1004034,Another one.,True,1,1,2,34/1004034.mp3,211.0
3,14,Not validated.,False,1,9,2,14/14.mp3,100.5
"""
BENCH = (
    json.dumps(
        {
            "dataset": "MusicBench",
            "location": "data/-0SdAVK79lg.wav",
            "main_caption": "Rock. The key is A minor.",
            "alt_caption": "Rock.",
            "prompt_aug": "",
            "prompt_ch": "",
            "prompt_bt": "",
            "prompt_bpm": "",
            "prompt_key": "",
            "beats": [[0.5], [1.0]],
            "bpm": 120.0,
            "chords": ["Am"],
            "chords_time": [0.0],
            "key": ["A", "minor"],
            "keyprob": [0.7],
            "is_audioset_eval_mcaps": True,
        }
    )
    + "\n"
)
CLOTHO = """file_name,caption_1,caption_2,caption_3,caption_4,caption_5
Rain.wav,It rains,Rain falls,"Rain, much of it",Water,Drops
"""
ESC50 = """filename,fold,target,category,esc10,src_file,take
1-100032-A-0.wav,1,0,dog,True,100032,A
2-100038-A-14.wav,2,14,chirping_birds,False,100038,A
"""
US8K = """slice_file_name,fsID,start,end,salience,fold,classID,class
100032-3-0-0.wav,100032,0.0,0.317551,1,5,3,dog_bark
"""
MAGNA = (
    '"clip_id"\t"no voice"\t"guitar"\t"mp3_path"\n'
    '"2"\t"1"\t"0"\t"f/american_bach_soloists-j_s__bach_solo_cantatas-01-bwv54__i_aria-30-59.mp3"\n'
    '"6"\t"1"\t"1"\t"0/other-album-01-song-0-29.mp3"\n'
)
JAMENDO = (
    "TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS\n"
    "track_0000948\tartist_000087\talbum_000149\t48/948.mp3\t212.7\tgenre---rock\tinstrument---guitar\n"
    "track_0000949\tartist_000087\talbum_000149\t49/949.mp3\t100.0\tgenre---pop\n"
)
DESED = (
    "filename\tonset\toffset\tevent_label\n"
    "Y00pbt6aJV8Y.wav\t0.000\t10.000\tFrying\nY00pbt6aJV8Y.wav\t1.5\t2.5\tDog\nY00pbt6aJV8Y.wav\t2.0\t3.0\tDog\n"
    "Yempty.wav\t\t\t\n"
)
DURATIONS = "filename\tduration\nY00pbt6aJV8Y.wav\t9.98\nYempty.wav\t10.0\n"
STRONG = (
    "segment_id\tstart_time_seconds\tend_time_seconds\tlabel\n"
    "b0RFKhbpFJA_30000\t0.000\t10.000\t/m/03m9d0z\nb0RFKhbpFJA_30000\t4.753\t5.720\t/m/05zppz\n"
)
GROUNDING = json.dumps(
    [
        {
            "audiocap_id": 1,
            "audio_id": "Yabc.wav",
            "tokens": "a dog barks and rain falls",
            "phrases": [
                {"phrase": "a dog barks", "start_index": 0, "end_index": 2, "segments": [[0.42, 1.3], [2.05, 2.6]]},
                {"phrase": "rain falls", "start_index": 4, "end_index": 5, "segments": [[0, 0]]},
            ],
        }
    ]
)

TEMPO = {"namespace": "tempo", "data": [{"time": 0.0, "duration": 9.5, "value": 110.0, "confidence": 1.0}]}
JAMS = json.dumps({"annotations": [TEMPO], "file_metadata": {"duration": 9.5}})

# For every set: metadata files, an audio file, split, number of clips, and what the first clip must hold.
CASES: dict[str, tuple[dict[str, str], str, str, int, dict[str, object]]] = {
    "musiccaps": (
        {"musiccaps-public.csv": MUSICCAPS},
        "audio/[-0Gj8-vB1q4]-[30-40].wav",
        "eval",
        1,
        {
            "id": "-0Gj8-vB1q4",
            "captions": ('A recording, says "so".',),
            "start_s": 30.0,
            "labels": ("low quality", "strings"),
            "duration_s": 10.0,
        },
    ),
    "song_describer": (
        {"song_describer.csv": SONG_DESCRIBER},
        "audio/34/1004034.2min.mp3",
        "valid",
        1,
        {"id": "1004034", "captions": ("A song about love, with a guitar.", "Another one."), "group": "1"},
    ),
    "musicbench": (
        {"MusicBench_test_B.json": BENCH},
        "data/-0SdAVK79lg.wav",
        "test_B",
        1,
        {"captions": ("Rock. The key is A minor.",)},
    ),
    "fmacaps": (
        {"FMACaps_B.json": BENCH},
        "audiodata/-0SdAVK79lg.wav",
        "B",
        1,
        {"captions": ("Rock. The key is A minor.",)},
    ),
    "audiocaps": (
        {
            "dataset/test.csv": "audiocap_id,youtube_id,start_time,caption\n1,rqfQRErjfk8,170,A crowd\n"
            '2,rqfQRErjfk8,170,"People, cheering"\n'
        },
        "audio/YrqfQRErjfk8.wav",
        "test",
        1,
        {"id": "rqfQRErjfk8", "captions": ("A crowd", "People, cheering"), "start_s": 170.0, "duration_s": 10.0},
    ),
    "clotho": (
        {"clotho_captions_evaluation.csv": CLOTHO},
        "evaluation/Rain.wav",
        "evaluation",
        1,
        {"captions": ("It rains", "Rain falls", "Rain, much of it", "Water", "Drops")},
    ),
    "esc50": ({"meta/esc50.csv": ESC50}, "audio/1-100032-A-0.wav", "all", 2, {"labels": ("dog",), "group": "100032"}),
    "urbansound8k": (
        {"metadata/UrbanSound8K.csv": US8K},
        "audio/fold5/100032-3-0-0.wav",
        "all",
        1,
        {"labels": ("dog_bark",), "duration_s": 0.317551},
    ),
    "vggsound": (
        {"vggsound.csv": '---g-f_I2yQ,1,"people marching",test\n--0PQM4-hqg,30,waterfall,train\n'},
        "audio/---g-f_I2yQ_000001.wav",
        "test",
        1,
        {"id": "---g-f_I2yQ_000001", "start_s": 1.0, "duration_s": 10.0, "labels": ("people marching",)},
    ),
    "gtzan": (
        {"test_filtered.txt": "blues/blues.00012.wav\n"},
        "genres/blues/blues.00012.wav",
        "test",
        1,
        {"id": "blues.00012", "labels": ("blues",)},
    ),
    "magnatagatune": (
        {"annotations_final.csv": MAGNA},
        "f/american_bach_soloists-j_s__bach_solo_cantatas-01-bwv54__i_aria-30-59.mp3",
        "test",
        1,
        {
            "id": "2",
            "labels": ("no voice",),
            "group": "f/american_bach_soloists-j_s__bach_solo_cantatas-01-bwv54__i_aria",
        },
    ),
    "mtg_jamendo": (
        {"data/splits/split-0/autotagging-test.tsv": JAMENDO},
        "audio/48/948.low.mp3",
        "test",
        2,
        {"labels": ("genre---rock", "instrument---guitar"), "group": "artist_000087", "duration_s": 212.7},
    ),
    "desed": (
        {
            "metadata/validation/validation.tsv": DESED,
            "metadata/validation/validation_durations.tsv": DURATIONS,
        },
        "audio/validation/validation/Y00pbt6aJV8Y.wav",
        "validation",
        2,
        {"phrases": spoken(("Frying", (0.0, 10.0)), ("Dog", (1.5, 3.0))), "duration_s": 9.98},
    ),
    "audioset_strong": (
        {
            "audioset_eval_strong.tsv": STRONG,
            "mid_to_display_name.tsv": "/m/03m9d0z\tWind\n/m/05zppz\tMale speech, man speaking\n",
        },
        "audio/Yb0RFKhbpFJA.wav",
        "eval",
        1,
        {"start_s": 30.0, "phrases": spoken(("Wind", (0.0, 10.0)), ("Male speech, man speaking", (4.753, 5.72)))},
    ),
    "urbansed": (
        {"annotations/test/soundscape_test_bimodal0.txt": "1.5\t3.0\tdog_bark\n2.0\t4.0\tsiren\n"},
        "audio/test/soundscape_test_bimodal0.wav",
        "test",
        1,
        {"id": "soundscape_test_bimodal0", "phrases": spoken(("dog_bark", (1.5, 3.0)), ("siren", (2.0, 4.0)))},
    ),
    "audiogrounding": (
        {"test.json": GROUNDING},
        "audio/test/Yabc.wav",
        "test",
        1,
        {
            "id": "1 Yabc.wav",
            "phrases": spoken(("a dog barks", (0.42, 1.3), (2.05, 2.6)), ("rain falls",)),
        },
    ),
    "jams": (
        {"a/x.jams": JAMS, "a/y.jams": JAMS},
        "a/x.wav",
        "all",
        2,
        {"id": "a/x", "annotation": MusicAnnotation(duration_s=9.5, tempo_bpm=110.0), "duration_s": 9.5},
    ),
}
PARQUET = {"fgmcaps", "lp_musiccaps"}


def lay_out(root: Path, files: dict[str, str], audio: str = "") -> None:
    for name, text in {**files, **({audio: "RIFF"} if audio else {})}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def test_every_data_set_has_a_sample() -> None:
    assert set(CASES) | PARQUET == set(sources()) and len(sources()) == 19


@pytest.mark.parametrize("name", CASES)
def test_published_layout(name: str, tmp_path: Path) -> None:
    files, audio, split, num, expected = CASES[name]
    lay_out(tmp_path, files, audio)
    data = load(name, tmp_path, split)
    assert len(data.clips) == num
    assert {field: getattr(data.clips[0], field) for field in expected} == expected
    assert data.clips[0].audio == tmp_path / audio
    assert [i.id for i in data.with_audio().clips] == [data.clips[0].id]
    if num > 1:
        assert data.clips[1].audio is None
    first = next(iter(files))
    (tmp_path / first).write_text((tmp_path / first).read_text() + "\n")
    if name != "gtzan":
        assert load(name, tmp_path, split).revision != data.revision


@pytest.mark.parametrize("name", sorted(sources()))
def test_a_missing_file_says_where_to_get_what(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load(name, tmp_path)
    message = str(caught.value)
    assert sources()[name].where in message and sources()[name].licence in message and str(tmp_path) in message


@pytest.mark.parametrize("name", sorted(PARQUET))
def test_parquet_layouts(name: str, tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    (tmp_path / "data").mkdir()
    rows = {
        "fgmcaps": [{"id": "x1", "caption": "A piece in F major.", "audio": {"bytes": b"RIFF", "path": "x1.wav"}}],
        "lp_musiccaps": [
            {
                "track_id": "TR1",
                "title": "t",
                "artist_name": "a",
                "release": "r",
                "year": 1999,
                "tag": ["rock", "live"],
                "caption_writing": "W",
                "caption_summary": "S",
                "caption_paraphrase": "P",
                "caption_attribute_prediction": "A",
                "path": "1/2/3.mp3",
            }
        ],
    }[name]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "data" / "test-00000-of-00001.parquet")
    (item,) = load(name, tmp_path).clips
    if name == "fgmcaps":
        for split, file in (("val", "validation"), ("train", "train")):
            parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "data" / f"{file}-00000-of-00001.parquet")
            assert [i.id for i in load(name, tmp_path, split).clips] == ["x1"]
        assert (item.id, item.captions) == ("x1", ("A piece in F major.",)) and isinstance(item.audio, Inside)
        (path,) = [clip.audio for clip in laid_out(load(name, tmp_path), tmp_path).clips]
        assert isinstance(path, Path) and path.parent == tmp_path and path.read_bytes() == b"RIFF"
        rows[0] |= {"id": "x2", "audio": {"bytes": b"", "path": "x2.wav"}}
        parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "data" / "test-00001-of-00002.parquet")
        with pytest.raises(InputError, match="row 1 holds no sound"):
            laid_out(load(name, tmp_path), tmp_path)
    else:
        assert (item.captions, item.labels, item.group) == (("W", "S", "P", "A"), ("rock", "live"), "a")


def test_labels_of_magnatagatune_are_its_tags_whatever_folder_a_clip_is_in(tmp_path: Path) -> None:
    (tmp_path / "annotations_final.csv").write_text(MAGNA.replace("0/other", "1/other"))
    (clip,) = load("magnatagatune", tmp_path, "train").clips
    assert clip.labels == ("no voice", "guitar")


def test_musicbench_can_be_cut_to_the_audioset_evaluation_clips(tmp_path: Path) -> None:
    other = BENCH.replace("-0SdAVK79lg", "other").replace("true", "false")
    lay_out(tmp_path, {"MusicBench_test_B.json": BENCH + other})
    assert len(load("musicbench", tmp_path).clips) == 2
    assert [i.id for i in load("musicbench", tmp_path, "test_B_eval").clips] == ["data/-0SdAVK79lg.wav"]


def test_copies_in_musicbench_are_of_their_recording(tmp_path: Path) -> None:
    """Locations as in the authors' files: ``data/YTID.wav``, ``data_aug2/YTID_N.wav``; an id may hold ``_``."""
    row = json.loads(BENCH)
    recordings = {"-0SdAVK79lg": 4, "a_b-c_d_e_f": 3, "__________1": 2}
    places = [f"{n}" for n in recordings] + [
        f"{n}_{copy}" for n, copies in recordings.items() for copy in range(1, copies)
    ]
    rows = [{**row, "location": f"data{'' if len(n) == 11 else '_aug2'}/{n}.wav"} for n in places]
    rows += [{**rows[0], "main_caption": "The same sound, said again."}, rows[0]]
    lay_out(tmp_path, {"MusicBench_train.json": "".join(json.dumps(r) + "\n" for r in rows)})
    items = load("musicbench", tmp_path, "train").clips
    assert len(items) == len(places)  # a location that comes again is another caption
    assert items[0].captions == ("Rock. The key is A minor.", "The same sound, said again.")
    assert {group: sum(i.group == group for i in items) for group in recordings} == recordings
    (tmp_path / "MusicBench_test_A.json").write_text(
        "".join(json.dumps({**row, "location": f"data/{n}.wav"}) + "\n" for n in ("song", "song_1", "song_1_2", "x_y"))
    )
    assert [i.group for i in load("musicbench", tmp_path, "test_A").clips] == ["song", "song", "song", "x_y"]


def test_the_first_version_of_audiogrounding(tmp_path: Path) -> None:
    """Columns and values as in ``data/test.json`` of the authors' repository."""
    said = "a mature male talking and some animals"
    columns = {
        "audiocap_id": {"12848": 3452, "12849": 3452, "12876": 106376},
        "filename": {"12848": "0NGSrwioYjA_30.000_40.000.wav", "12849": "0NGSrwioYjA_30.000_40.000.wav",
                     "12876": "40cuHrYfaqA_0.000_5.000.wav"},
        "caption": {"12848": said, "12849": said, "12876": "dogs barking"},
        "tokens": {"12848": said.split(), "12849": said.split(), "12876": ["dogs", "barking"]},
        "soundtag": {"12848": "is a mature male talking", "12849": "some animals", "12876": "dogs barking"},
        "start_word": {"12848": 1, "12849": 7, "12876": 0},
        "timestamps": {"12848": [[0.5, 2.0], [1.5, 3.0]], "12849": [[0, 0]], "12876": [[0.00001, 5.0]]},
    }  # fmt: skip
    audio = "audio/test/40cuHrYfaqA_0.000_5.000.wav"
    lay_out(tmp_path, {"data/test.json": json.dumps(columns)}, audio)
    first, second = load("audiogrounding", tmp_path).clips
    assert first.phrases == spoken(("is a mature male talking", (0.5, 3.0)), ("some animals",))
    assert first.id == "3452 0NGSrwioYjA_30.000_40.000.wav" and first.duration_s == 10.0 and first.audio is None
    assert first.captions == (said,)
    assert second.duration_s == 5.0 and second.audio == tmp_path / audio


def test_audioset_strong_with_the_classes_of_both_splits(tmp_path: Path) -> None:
    header = STRONG.splitlines()[0]
    train = f"{header}\nxyz_0\t1.0\t2.0\t/m/05zppz\nxyz_0\t1.0\t2.0\t/m/only_train\n"
    other = "wind_0\t1.0\t2.0\t/m/03m9d0z\n"
    names = "/m/03m9d0z\tWind\n/m/05zppz\tMale speech, man speaking\n/m/only_train\tBuzz\n"
    files = {"audioset_eval_strong.tsv": STRONG + other, "mid_to_display_name.tsv": names}
    lay_out(tmp_path, files)
    assert len(load("audioset_strong", tmp_path, "eval").clips[0].phrases) == 2
    with pytest.raises(InputError, match=r"audioset_train_strong\.tsv is missing"):
        load("audioset_strong", tmp_path, "eval_common")
    lay_out(tmp_path, {"audioset_train_strong.tsv": train})
    speech, wind = load("audioset_strong", tmp_path, "eval_common").clips
    assert [p.text for p in speech.phrases] == ["Male speech, man speaking"]
    assert wind.phrases == ()  # it stays, as a clip in which nothing may be found


def test_captions_truth_and_grounding_pairs(tmp_path: Path) -> None:
    for name in ("song_describer", "desed", "audiogrounding"):
        lay_out(tmp_path / name, CASES[name][0])
    assert load("song_describer", tmp_path / "song_describer", "all").captions()[1] == [0, 0, 1]
    truth = truth_of(load("desed", tmp_path / "desed"))
    assert truth["Yempty.wav"].events == () and truth["Y00pbt6aJV8Y.wav"].duration_s == 9.98
    (pair,) = grounding_pairs(load("audiogrounding", tmp_path / "audiogrounding").clips).values()  # of what is present
    assert pair.phrase == "a dog barks"
    assert [(event.start_s, event.end_s) for event in pair.truth.events] == [(0.42, 1.3), (2.05, 2.6)]
    with pytest.raises(InputError, match="have no caption"):
        load("desed", tmp_path / "desed").captions()
    with pytest.raises(InputError, match="duration of clip"):
        truth_of(load("song_describer", tmp_path / "song_describer"))
    with pytest.raises(InputError, match=r"no audio of 1 clips.*Zenodo"):
        load("song_describer", tmp_path / "song_describer").with_audio()


@pytest.mark.parametrize(
    ("name", "files", "message"),
    [
        ("musiccaps", {"musiccaps-public.csv": "a,b\n1,2\n"}, "not of the published shape"),
        (
            "musiccaps",
            {"musiccaps-public.csv": MUSICCAPS.replace("\"['guitar song']\"", "__import__('os')")},
            "not of the published shape|is empty",
        ),
        ("esc50", {"meta/esc50.csv": ESC50 + "x,y\n"}, "line 4: 2 cells, the header has 7"),
        ("esc50", {"meta/esc50.csv": ESC50.splitlines()[0]}, "is empty"),
        ("esc50", {"meta/esc50.csv": ESC50.replace("1-100032-A-0.wav", "../../../../etc/passwd")}, "is outside"),
        ("esc50", {"meta/esc50.csv": ESC50.replace("2-100038-A-14.wav", "1-100032-A-0.wav")}, "names a clip twice"),
        ("musicbench", {"MusicBench_test_B.json": "{not json"}, "not of the published shape"),
        ("musicbench", {"MusicBench_test_B.json": BENCH.replace("data/-0S", "/etc/-0S")}, "is outside"),
        ("musicbench", {"MusicBench_test_B.json": BENCH.replace("data/-0S", "a" * 5000)}, "not of the published shape"),
        ("musicbench", {"MusicBench_test_B.json": BENCH.replace('"data/-0SdAVK79lg.wav"', "3")}, "published shape"),
        ("audiogrounding", {"test.json": "[" * 100_000}, "not of the published shape"),
        ("vggsound", {"vggsound.csv": "id,x,label,test\n"}, "not of the published shape"),
        ("mtg_jamendo", {"data/splits/split-0/autotagging-test.tsv": "no header\n"}, "is empty"),
        (
            "audioset_strong",
            {"audioset_eval_strong.tsv": STRONG, "mid_to_display_name.tsv": "/m/1\tX\n"},
            "published shape",
        ),
    ],
)
def test_hostile_or_broken_metadata_is_refused(name: str, files: dict[str, str], message: str, tmp_path: Path) -> None:
    lay_out(tmp_path, files)
    with pytest.raises(InputError, match=message):
        load(name, tmp_path, "all" if name == "musiccaps" else None)


def test_unknown_names_and_splits_are_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="musiccaps"):
        load("musicaps", tmp_path)
    with pytest.raises(UnknownName, match="valid"):
        load("song_describer", tmp_path, "validation")
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "esc50.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="not UTF-8"):
        load("esc50", tmp_path)
