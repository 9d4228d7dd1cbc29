import io
import os
import shutil
from collections.abc import Callable, Generator, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from fakes.files import write_audio
from fakes.synth import song
from fakes.tiny import tiny_model
from solfa.analysis.registry import extractors
from solfa.audio import ContentHash, stretches
from solfa.collection import Collection
from solfa.core.clip import Clip
from solfa.core.errors import InputError, SolfaError, UnknownName
from solfa.core.types import Analysis, Curve, Estimate, Span, TagTrack
from solfa.datagen.captions.checks import claims_agree
from solfa.datagen.captions.pipeline import Settings, caption_tracks
from solfa.datagen.captions.sources import folder_tracks, published_tracks, tracks_in
from solfa.datagen.captions.stages import WriteCaptions, windows
from solfa.datagen.summary import defects
from solfa.datasets.shards import Dataset
from solfa.jobs import Done, Failed, SerialExecutor
from solfa.llm import Endpoint, ModelClient

FAST = Settings(
    seconds=5.0, extractors=("solfa-rhythm", "solfa-harmony"), shares=(0.5, 0.25, 0.25), style="figma", per_clip=2,
    clips_per_shard=2,
)  # fmt: skip
PROGRESSIONS = (
    "A:min F:maj C:maj G:maj",
    "D:maj F#:min G:maj E:min",
    "E:min C:maj G:maj D:maj",
    "C:maj A:min F:maj G:maj",
)


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four songs, a copy of one as MP3, one twice under two names, and three files that are no music."""
    folder = tmp_path_factory.mktemp("music")
    for i, chords in enumerate(PROGRESSIONS):
        made = song(chords, tempo_bpm=90.0 + 20 * i, bars=8 if i != 3 else 6, seed=i)
        write_audio(folder / f"song-{i}.wav", made.audio.samples, made.audio.sample_rate_hz)
        if i == 1:
            write_audio(folder / "other title.mp3", made.audio.samples, made.audio.sample_rate_hz)
    shutil.copy(folder / "song-0.wav", folder / "song-0 again.wav")
    (folder / "broken.wav").write_bytes(b"RIFF not music")
    write_audio(folder / "blip.wav", np.ones(3000, np.float32) * 0.1, 22050)
    write_audio(folder / "silent.wav", np.zeros(22050 * 8, np.float32), 22050)
    return folder


@pytest.fixture(scope="module")
def made(music: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return caption_tracks(folder_tracks(music), tmp_path_factory.mktemp("out") / "set", FAST)


def test_a_folder_becomes_captioned_clips_without_leaks(made: Dataset) -> None:
    assert list(defects(made)) == []
    records = [r for split in ("train", "val", "test") for r in made.split(split)]
    assert len(records) >= 12 and {len(r.captions) for r in records} <= {1, 2}
    for record in records:
        assert record.attributes["caption_styles"] == ["figma"] * len(record.captions)
        assert all(claims_agree(text, record.attributes, complete=True) for text in record.captions)
        assert made.audio(record).duration_s == pytest.approx(record.duration_s) == pytest.approx(5.0)
    by_track: dict[str, set[str]] = {}
    for record in records:
        by_track.setdefault(record.track, set()).add(record.split)
    # Five sounds in four families: the MP3 goes where its original goes.
    assert len(by_track) == 5 and all(len(splits) == 1 for splits in by_track.values())
    assert made.manifest["config"]["families"] == 4 and {r.split for r in records} == {"train", "val", "test"}


def content_of(path: str) -> str:
    content = ContentHash()
    for _ in stretches(path, content=content):
        pass
    return content.hex


def test_planted_copies_and_albums_of_a_plain_folder_stay_together(tmp_path: Path) -> None:
    folder = tmp_path / "music"
    places = [
        "data/a.wav", "data_aug2/a_1.wav", "data_aug2/a_2.wav", "Nina/Live/01 b.wav", "Nina/Home/CD 2/02 c.wav",
        "Max - Album/d.wav", "Zed/e.wav", "Zed/f.wav", "g.wav", "h.wav", "i.wav", "j.wav",
    ]  # fmt: skip
    for i, place in enumerate(places):  # all different music: only names link them
        chords = " ".join(np.random.default_rng(i).permutation(PROGRESSIONS[i % 4].split()))
        made = song(chords, tempo_bpm=80.0 + 7 * i, bars=4, seed=i)
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        write_audio(folder / place, made.audio.samples, made.audio.sample_rate_hz)
    (folder / "index.csv").write_text("file,artist,title\ng.wav,Max,One\nh.wav,Zoe,Two\ni.wav,ZOE ft. Max,Three\n")
    tracks = {t.id: t for t in folder_tracks(folder)}
    artist = {name: t.artist for name, t in tracks.items()}
    assert artist["Nina/Live/01 b.wav"] == artist["Nina/Home/CD 2/02 c.wav"] == "Nina"
    assert artist["g.wav"] == artist["Max - Album/d.wav"] == "Max" and artist["data/a.wav"] == artist["j.wav"] == ""
    for seed in range(3):
        if seed:  # what was analyzed does not depend on the seed
            (tmp_path / f"set-{seed - 1}.stages").rename(tmp_path / f"set-{seed}.stages")
        made_set = caption_tracks(list(tracks.values()), tmp_path / f"set-{seed}", replace(FAST, seed=seed, per_clip=1))
        split = {r.track: r.split for s in ("train", "val", "test") for r in made_set.split(s)}
        by_name = {name: split.get(content_of(str(t.audio))) for name, t in tracks.items()}
        for group in (places[:3], places[3:5], [places[5], "g.wav"], places[6:8], ["h.wav", "i.wav"]):
            assert len({by_name[name] for name in group} - {None}) == 1, group
        assert {"train", "val", "test"} <= set(by_name.values())


def test_clips_for_text_to_music_have_one_rate_and_length_and_no_voice(tmp_path: Path) -> None:
    made = song(PROGRESSIONS[0], tempo_bpm=90.0, bars=8, seed=0).audio
    left = np.stack([made.samples, 0.5 * made.samples], axis=1)
    (tmp_path / "music").mkdir()
    write_audio(tmp_path / "music" / "stereo.wav", left, made.sample_rate_hz)
    write_audio(tmp_path / "music" / "mono.wav", np.roll(made.samples, 9000), made.sample_rate_hz)
    write_audio(tmp_path / "music" / "short.wav", made.samples[: 4 * made.sample_rate_hz], made.sample_rate_hz)
    exact = replace(FAST, sample_rate_hz=44100, most_voice=0.5, shares=(1.0, 0.0, 0.0), per_clip=1)
    assert made.sample_rate_hz != 44100
    found = caption_tracks(folder_tracks(tmp_path / "music"), tmp_path / "set", exact)
    assert list(defects(found)) == [] and {f["item"] for f in found.manifest["failures"]} == {"short.wav"}
    shapes = set()
    for clip in found.split("train"):
        data, rate_hz = soundfile.read(io.BytesIO(found.shard_of(clip.id).sound(clip)), always_2d=True)
        assert (len(data), rate_hz, clip.duration_s) == (5 * 44100, 44100, 5.0)
        assert clip.attributes["from_s"] % 5 == 0 and clip.attributes["voice_confidence"] <= 0.5
        shapes.add(data.shape[1])
        if data.shape[1] == 2:
            assert np.allclose(data[:, 1], 0.5 * data[:, 0], atol=2e-4) and np.std(data) > 0.01
    assert shapes == {1, 2}


def test_a_clip_in_which_the_voice_is_sure_is_left_out_and_counted() -> None:
    spans = (Span(start_s=12.0, end_s=14.0, confidence=0.8), Span(start_s=14.0, end_s=16.0, confidence=0.4))
    voice = TagTrack(concept="voice", kind="voice", confidence=0.9, spans=spans)
    settings = Settings(seconds=5.0, most_voice=0.5)
    none: Any = Estimate(value=None, confidence=0.0)
    analysis = Analysis(
        duration_s=20.0, tempo_bpm=none, metre=none, beats_s=(), downbeats_s=(), key=none, chords=(),
        loudness_lufs=none, energy=Curve(hop_s=1.0, values=()), voice=voice, instruments=(), genres=(), moods=(),
    )  # fmt: skip
    clips = settings.cut(Clip(id="a", audio=Path("a.wav")), "0" * 40, analysis)
    assert [c.attributes["voice_confidence"] for c in clips] == [0.0, 0.0, 0.8, 0.4]
    refused = WriteCaptions(settings, Path()).refused
    assert refused({"key": "D minor", "voice_confidence": 0.8}, 1.0) == ["vocals"]
    assert refused({"from_s": 0.0, "voice_confidence": 0.1}, 1.0) == ["nothing_known"]
    with pytest.raises(InputError, match="8000-192000 Hz"):
        Settings(sample_rate_hz=44)


def test_an_index_that_is_no_table_is_refused(tmp_path: Path, music: Path) -> None:
    shutil.copy(music / "song-0.wav", tmp_path)
    (tmp_path / "index.csv").write_bytes(b"file,artist\n\xff\xfe\x00,x\n")
    with pytest.raises(InputError, match=r"index.csv, line 2: not UTF-8.*rename it"):
        folder_tracks(tmp_path)


def test_bad_files_are_listed_and_rules_counted(made: Dataset) -> None:
    reasons = {f["item"]: f["reason"] for f in made.manifest["failures"]}
    assert set(reasons) == {"broken.wav", "blip.wav"} and "too short" in reasons["blip.wav"]
    config = made.manifest["config"]
    assert config["equal_sound"] == 1 and config["tracks"] == 9 and config["failed"] == 2
    assert config["own_confidence"] == {}  # the shipped table is of the tools of today
    assert config["rules"]["nothing_known"] >= 1  # silence
    assert config["rules"]["clips_heard"] >= config["rules"]["clips_kept"] > 0


class Killed(Exception):
    pass


class StopsAfter(SerialExecutor):
    """Ends the run, as a kill would, after some items; counts what it did."""

    def __init__(self, most: int) -> None:
        self.most, self.done = most, 0

    def map(self, fn: Callable[[Any], Any], items: Iterable[Any]) -> Generator[Done[Any, Any] | Failed[Any]]:
        for result in super().map(fn, items):
            if self.done == self.most:
                raise Killed
            self.done += 1
            yield result


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(music: Path, made: Dataset, tmp_path: Path) -> None:
    out, tracks = tmp_path / "set", folder_tracks(music)
    work = []
    for most in (3, 4, 5, 99):
        executor = StopsAfter(most)
        try:
            finished = caption_tracks(tracks, out, FAST, executor=executor)
        except Killed:
            assert not (out / "dataset.json").exists()
        work.append(executor.done)
    assert finished.revision == made.revision
    assert work == [3, 4, 5, 7 + 5 + len(made.shards)]  # nothing is analyzed twice; texts are written again, once
    again = StopsAfter(99)
    assert caption_tracks(tracks, out, FAST, executor=again).revision == made.revision and again.done == 7


def test_where_the_music_lies_changes_nothing(music: Path, tmp_path: Path) -> None:
    revisions = set()
    for place in ("a", "b"):
        folder = tmp_path / place / "music"
        folder.mkdir(parents=True)
        shutil.copy(music / "song-0.wav", folder)
        made = caption_tracks(folder_tracks(folder), tmp_path / place / "set", replace(FAST, shares=(1.0, 0.0, 0.0)))
        revisions.add(made.revision)
    assert len(revisions) == 1


def test_other_captions_do_not_analyze_again(music: Path, tmp_path: Path) -> None:
    tracks = [t for t in folder_tracks(music) if t.id in ("song-1.wav", "song-2.wav")]
    caption_tracks(tracks, tmp_path / "set", FAST)
    executor = StopsAfter(99)
    other = replace(FAST, style=None, per_clip=3, seed=1)
    (tmp_path / "set.stages").rename(tmp_path / "second.stages")
    found = caption_tracks(tracks, tmp_path / "second", other, executor=executor)
    assert executor.done == 2 + len(found.shards)  # two tracks written about, none analyzed or compared
    assert len({s for r in found.split("train") for s in r.attributes["caption_styles"]}) > 1


def test_an_endpoint_that_is_not_there_stops_the_run_and_it_goes_on_later(
    music: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = Endpoint(url="http://127.0.0.1:9/v1", model="m", retries=0, first_wait_s=0.0)
    tracks = [t for t in folder_tracks(music) if t.id in ("song-0.wav", "song-1.wav")]
    settings = replace(FAST, endpoint=endpoint, style=None, per_clip=1)
    with pytest.raises(SolfaError, match="cannot be reached"):
        caption_tracks(tracks, tmp_path / "set", settings)
    monkeypatch.setattr(ModelClient, "_sent", lambda *_: "no idea")
    with pytest.raises(InputError, match=r"no clips left.*malformed"):
        caption_tracks(tracks, tmp_path / "rejected", settings)
    asked = replace(settings, grammar_on_failure=True)
    found = caption_tracks(tracks, tmp_path / "set", asked)
    rules = found.manifest["config"]["rules"]
    assert rules["malformed"] == rules["clips_kept"] > 0
    assert {s for r in found.split("train") for s in r.attributes["caption_styles"]} == {"figma"}


@pytest.mark.parametrize("attributes", [{"some_chords": ["A:min"]}, {"unsure": {"key": "A minor"}}])
def test_a_clip_of_which_nothing_would_be_told_for_sure_is_left_out(attributes: dict[str, Any], tmp_path: Path) -> None:
    asked = replace(FAST, endpoint=Endpoint(url="http://127.0.0.1:9/v1", model="m"), style=None)
    for settings, words in ((asked, {"some_chords"}), (replace(FAST, style="german"), set[str]())):
        refused = WriteCaptions(settings, tmp_path).refused(attributes, 0.9)
        assert refused == ([] if words & set(attributes) else ["nothing_known"])


def test_a_published_set_is_read_with_its_labels(music: Path, tmp_path: Path) -> None:
    (tmp_path / "audio").mkdir()
    header = (
        "ytid,start_s,end_s,audioset_positive_labels,aspect_list,caption,author_id,is_balanced_subset,is_audioset_eval"
    )
    rows = [f"x{i},0,10,/m/1,\"['happy', 'folk', 'slow tempo']\",A song.,1,False,True" for i in range(2)]
    (tmp_path / "musiccaps-public.csv").write_text("\n".join([header, *rows]) + "\n")
    for i in range(2):
        shutil.copy(music / f"song-{i}.wav", tmp_path / "audio" / f"x{i}.wav")
    tracks = published_tracks("musiccaps", tmp_path)
    assert [t.id for t in tracks] == ["x0", "x1"] and tracks[0].attributes["genre"] == ["folk"]
    found = caption_tracks(tracks, tmp_path / "set", replace(FAST, shares=(1.0, 0.0, 0.0)))
    assert all(r.attributes["genre"] == ["folk"] and r.source == "musiccaps" for r in found.split("train"))


def test_settings_and_places_that_cannot_be_are_refused(tmp_path: Path, music: Path) -> None:
    with pytest.raises(InputError, match="expected 1-120 s"):
        Settings(seconds=0.5)
    with pytest.raises(UnknownName, match="caption style"):
        Settings(style="haiku")
    with pytest.raises(UnknownName, match=r"attribute.*tempo_bpm"):
        Settings(required=("key", "tempo"))
    with pytest.raises(InputError, match="no audio found"):
        folder_tracks(tmp_path / "nowhere")
    silent = [t for t in folder_tracks(music) if t.id == "silent.wav"]
    with pytest.raises(InputError, match=r"no clips left of 1 tracks.*nothing_known 1"):
        caption_tracks(silent, tmp_path / "set", FAST)


def test_the_current_folder_can_be_the_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("music", "out"):
        (tmp_path / name).mkdir()
    (tmp_path / "music" / "broken.wav").write_bytes(b"RIFF not music")
    monkeypatch.chdir(tmp_path / "out")
    with pytest.raises(InputError, match="no clips left of 1 tracks"):
        caption_tracks(folder_tracks(tmp_path / "music"), Path(), FAST)
    assert (tmp_path / "out.stages").is_dir()


def test_windows_are_even() -> None:
    assert windows(100.0, 10.0, 3) == [0.0, 40.0, 90.0] and windows(3.0, 10.0, 3) == [0.0]


@pytest.mark.skipif(os.name != "posix", reason="names that are no text")
def test_names_that_are_no_text_and_indexed_collections_are_read(music: Path, tmp_path: Path) -> None:
    folder = tmp_path / "music"
    folder.mkdir()
    shutil.copy(music / "song-0.wav", folder / os.fsdecode(b"song \xff.wav"))
    (folder / os.fsdecode(b"bad \xfe.wav")).write_bytes(b"RIFF")
    settings = replace(FAST, shares=(1.0, 0.0, 0.0))
    by_name = caption_tracks(folder_tracks(folder), tmp_path / "set", settings)
    assert by_name.manifest["failures"][0]["item"] == "bad \N{REPLACEMENT CHARACTER}.wav"
    with Collection.open(tmp_path / "collection", create=True) as collection:
        collection.add([folder], model=tiny_model, extractors=lambda: extractors(FAST.extractors))
    place = tmp_path / "collection"
    indexed = caption_tracks(tracks_in(place), tmp_path / "indexed", settings, collection=place)
    assert [r.captions for r in indexed.split("train")] == [r.captions for r in by_name.split("train")]
