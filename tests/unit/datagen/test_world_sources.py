"""Corpora in their authors' layout: read exactly, or refused with a reason."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from solfa.core.errors import InputError
from solfa.core.theory import Chord
from solfa.datagen.world.midi import read_midi
from solfa.datagen.world.sources import artist_of, read_song, songs

mido = pytest.importorskip("mido")

SALAMI = """# title: T
# artist: A
# metre: {metre}
# tonic: A

0.0\tsilence
0.1\tA, verse, | A:min | F:maj C:maj | G:7(#9) | . | x4
30.0\tB, chorus, | C:maj | G:maj/3 | A:min7 | F:maj6(9) | x3, (guitar)
60.0\tend
"""
XML = """<score-partwise><part id="P1"><measure number="1"><attributes><divisions>2</divisions><key><fifths>1</fifths>
</key><time><beats>3</beats><beat-type>4</beat-type></time></attributes>{bar}</measure>{bars}</part></score-partwise>"""
BAR = """<harmony><root><root-step>{root}</root-step></root><kind>{kind}</kind></harmony><note><pitch><step>B</step>
<octave>4</octave></pitch><duration>4</duration></note><note><rest/><duration>2</duration></note>"""


def billboard(folder: Path, text: str) -> Path:
    """A corpus of one song."""
    (folder / "0001").mkdir(parents=True)
    (folder / "0001" / "salami_chords.txt").write_text(text)
    return folder


def lead_sheet(folder: Path, last: str = "G") -> Path:
    """A lead sheet of 24 bars of G and D7 that ends on ``last``."""
    bars = [BAR.format(root=r, kind=k) for r, k in [("G", "major"), ("D", "dominant")] * 11 + [(last, "major")]]
    text = XML.format(bar=bars[0], bars="".join(f"<measure>{b}</measure>" for b in [*bars[1:], bars[-1]]))
    (folder / "A" / "S").mkdir(parents=True)
    with zipfile.ZipFile(folder / "A" / "S" / "S.mxl", "w") as archive:
        archive.writestr("META-INF/container.xml", "<x/>")
        archive.writestr("lead.xml", text)
    return folder


def midi(path: Path, metre: tuple[int, int] = (3, 4), key: str | None = "Em", later_bpm: int = 120) -> Path:
    """A file of quarters at 90 BPM, after four bars of 3/4 at another tempo; a piano and a kick."""
    file = mido.MidiFile(ticks_per_beat=96)
    head, play = mido.MidiTrack(), mido.MidiTrack()
    head.append(mido.MetaMessage("time_signature", numerator=metre[0], denominator=metre[1]))
    if key:
        head.append(mido.MetaMessage("key_signature", key=key))
    head.append(mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(90)))
    head.append(mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(later_bpm), time=96 * 12))
    for _ in range(120):
        for channel, note in ((0, 64), (9, 36)):
            play.append(mido.Message("note_on", channel=channel, note=note, velocity=90))
        for i, (channel, note) in enumerate(((0, 64), (9, 36))):
            play.append(mido.Message("note_off", channel=channel, note=note, time=96 if i == 0 else 0))
    file.tracks += [head, play]
    path.parent.mkdir(parents=True, exist_ok=True)
    file.save(path)
    return path


@pytest.mark.parametrize(("metre", "beats"), [("4/4", 4), ("6/8", 2), ("3/4", 3)])
def test_a_billboard_chart_is_played_in_its_metre_and_form(tmp_path: Path, metre: str, beats: int) -> None:
    folder = billboard(tmp_path, SALAMI.format(metre=metre))
    assert songs("billboard", folder) == ("0001/salami_chords.txt",)
    seen = set[tuple[int, str, str]]()
    for seed in range(12):
        score = read_song("billboard", folder, "0001/salami_chords.txt", 5.0, np.random.default_rng(seed))
        assert score.metres[0][2] == metre and score.about["source"] == "billboard"
        assert str(score.keys[0][2]).endswith("minor")
        tonic = score.keys[0][2].tonic
        for a, _, label in score.chords:
            assert (a * 2) % beats in (0, beats) or beats == 3
            seen.add((tonic, label, score.sections[0][2]))
    assert len({tonic for tonic, _, _ in seen}) > 4  # transposed
    assert {section for _, _, section in seen} == {"verse", "chorus"}


def test_unclear_charts_are_refused(tmp_path: Path) -> None:
    wrong = {
        "metre": SALAMI.format(metre="11/16"),
        "major and minor": SALAMI.format(metre="4/4").replace("A:min ", "A:5 ").replace("A:min7", "D:min7"),
        "known qualities|Known": SALAMI.format(metre="4/4").replace("F:maj ", "F:blue "),
        "not a note": SALAMI.format(metre="4/4").replace("tonic: A", "tonic: ?"),
        "bars|read": "# metre: 4/4\n",
    }
    for i, (reason, text) in enumerate(wrong.items()):
        folder = billboard(tmp_path / str(i), text)
        with pytest.raises(InputError, match=reason):
            read_song("billboard", folder, "0001/salami_chords.txt", 5.0, np.random.default_rng(0))


def test_a_lead_sheet_keeps_its_melody_and_chords(tmp_path: Path) -> None:
    folder = lead_sheet(tmp_path)
    for seed in range(6):
        score = read_song("openewld", folder, "A/S/S.mxl", 5.0, np.random.default_rng(seed))
        scale = score.keys[0][2]
        assert scale.mode == "major" and score.metres[0][2] == "3/4"
        for lead in (p for p in score.parts if p.role == "lead" and p.notes[0].length > 1.8):
            for note in lead.notes:
                assert (note.pitch - scale.tonic) % 12 == 4  # every B of G major
        roots = {chord.root for _, _, c in score.chords if (chord := Chord.parse(c)) is not None}
        assert roots == {scale.tonic, (scale.tonic + 7) % 12}


def test_a_lead_sheet_without_a_final_tonic_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a tonic"):
        read_song("openewld", lead_sheet(tmp_path, "C"), "A/S/S.mxl", 5.0, np.random.default_rng(0))


def test_a_zip_bomb_and_entities_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "b.mxl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("lead.xml", b" " * (17 << 20))
    with pytest.raises(InputError, match="16 MiB"):
        read_song("openewld", tmp_path, "b.mxl", 5.0, np.random.default_rng(0))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("lead.xml", '<!DOCTYPE a [<!ENTITY b "bbbb">]><a>&b;</a>')
    with pytest.raises(InputError, match="entities"):
        read_song("openewld", tmp_path, "b.mxl", 5.0, np.random.default_rng(0))
    for numbers in ("<divisions>0</divisions>", "<divisions>1</divisions><note><pitch><alter>1e999</alter></pitch>"
                    "<duration>1</duration></note>"):  # fmt: skip
        with zipfile.ZipFile(path, "w") as archive:
            signs = "<key><fifths>0</fifths></key><time><beats>4</beats><beat-type>4</beat-type></time>"
            archive.writestr("lead.xml", f"<a><part><measure><b>{signs}</b>{numbers}<note/></measure></part></a>")
        with pytest.raises(InputError, match="cannot be read"):
            read_song("openewld", tmp_path, "b.mxl", 5.0, np.random.default_rng(0))
    path.write_bytes(b"PK\3\4 broken")
    with pytest.raises(InputError, match="cannot be read"):
        read_song("openewld", tmp_path, "b.mxl", 5.0, np.random.default_rng(0))


def test_midi_is_read_with_its_tempo_map(tmp_path: Path) -> None:
    got = read_midi(midi(tmp_path / "a.mid"))
    assert np.allclose(got.beat_s[:13], np.arange(13) * 60 / 90)
    assert np.allclose(np.diff(got.beat_s[12:]), 0.5)
    assert got.metres[0][2] == "3/4" and str(got.keys[0][2]) == "E minor"
    piano, kick = got.parts
    assert (piano.drums, kick.drums) == (False, True) and piano.notes[1] == pytest.approx((1.0, 1.0, 64, 90))
    assert got.seconds(kick.notes[12].start) == pytest.approx(8.0)


def test_any_midi_becomes_a_score_without_chords(tmp_path: Path) -> None:
    midi(tmp_path / "x" / "a.mid")
    score = read_song("midi", tmp_path, songs("midi", tmp_path)[0], 5.0, np.random.default_rng(1))
    assert score.chords == () and {p.concept for p in score.parts} == {"piano", "drums"}
    assert score.keys[0][2].mode == "minor"


def test_played_drums_keep_tempo_and_metre(tmp_path: Path) -> None:
    name = "drummer1/s/1_funk_90_beat_3-4.mid"
    midi(tmp_path / name, later_bpm=90)
    (tmp_path / "info.csv").write_text(
        "beat_type,duration,time_signature,midi_filename\n"
        f"beat,60,3-4,{name}\nfill,60,4-4,f.mid\nbeat,3,4-4,short.mid\nbeat,60,6-8,six.mid\n"
    )
    assert songs("groove", tmp_path) == (name,)
    score = read_song("groove", tmp_path, name, 5.0, np.random.default_rng(1))
    (drums,) = (p for p in score.parts if p.role == "drums")
    assert score.metres[0][2] == "3/4" and 60 / np.diff(score.beat_s).mean() == pytest.approx(90)
    assert all(abs(n.start - round(n.start)) < 0.01 for n in drums.notes[:9])


def test_a_performance_keeps_its_times_chords_and_tunes(tmp_path: Path) -> None:
    folder = tmp_path / "007"
    file = mido.MidiFile(ticks_per_beat=96)
    for name, pitch in (("MELODY", 76), ("PIANO", 57)):
        track = mido.MidiTrack([mido.MetaMessage("track_name", name=name)])
        for _ in range(80):
            track += [mido.Message("note_on", note=pitch, velocity=80), mido.Message("note_off", note=pitch, time=96)]
        file.tracks.append(track)
    folder.mkdir()
    file.save(folder / "007.mid")
    beat_s = np.arange(80) * 0.5  # the MIDI file's own tempo
    (folder / "beat_midi.txt").write_text("".join(f"{t} 0 {int(i % 4 == 0)}\n" for i, t in enumerate(beat_s)))
    (folder / "key_audio.txt").write_text("0.0\t40.0\tA:min\n")
    chords = "".join(f"{t}\t{t + 2}\t{'A:min' if t % 4 == 0 else 'E:7'}\n" for t in range(0, 40, 2))
    (folder / "chord_midi.txt").write_text(chords)
    sung = list[bool]()
    for seed in range(8):
        score = read_song("pop909", tmp_path, "007/key_audio.txt", 5.0, np.random.default_rng(seed))
        assert np.allclose(np.diff(score.beat_s), 0.5) and score.metres[0][2] == "4/4"
        scale = score.keys[0][2]
        assert scale.mode == "minor" and score.tempo == "drifting"
        assert {chord.root for _, _, c in score.chords if (chord := Chord.parse(c))} == {scale.tonic, scale.degree(4)}
        leads = [p.notes for p in score.parts if p.role == "lead"]
        sung += [{(n.pitch - scale.tonic) % 12 for n in notes} == {7} and notes[1].start % 1 < 1e-6 for notes in leads]
    assert sum(sung) >= 6  # the melody is played nearly always


HEAD = b"MThd\0\0\0\6"
NINE_SHARPS = HEAD + b"\0\0\0\1\0\x60MTrk\0\0\0\x0a\0\xff\x59\x02\x09\x00\0\xff\x2f\0"


@pytest.mark.parametrize("data", [b"", HEAD, HEAD + b"\0\1\0\1\0\x60MTrk\0\0\0\4\xff\xff\xff\xff", NINE_SHARPS])
def test_broken_midi_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "b.mid").write_bytes(data)
    with pytest.raises(InputError):
        read_midi(tmp_path / "b.mid")


def test_a_file_of_endless_time_is_refused(tmp_path: Path) -> None:
    file = mido.MidiFile(ticks_per_beat=1)
    long = mido.MidiTrack([mido.Message("note_on", note=60), mido.Message("note_off", note=60, time=200_000_000)])
    file.tracks.append(long)
    file.save(tmp_path / "a.mid")
    with pytest.raises(InputError, match="beats"):
        read_midi(tmp_path / "a.mid")


def test_too_many_notes_in_all_tracks_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, most = midi(tmp_path / "a.mid"), 200
    assert all(len(part.notes) <= most for part in read_midi(path).parts)
    monkeypatch.setattr("solfa.datagen.world.midi._MAX_NOTES", most)
    with pytest.raises(InputError, match="more than 200 notes"):
        read_midi(path)


def test_other_metres_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="metre"):
        read_midi(midi(tmp_path / "a.mid", metre=(11, 16)))


def test_an_empty_corpus_is_refused(tmp_path: Path) -> None:
    for corpus in ("billboard", "openewld", "pop909", "groove", "midi"):
        with pytest.raises(InputError, match="no songs"):
            songs(corpus, tmp_path)
    (tmp_path / "info.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="Groove"):
        songs("groove", tmp_path / ".." / tmp_path.name)
    with pytest.raises(InputError, match="missing"):
        read_song("midi", tmp_path, "gone.mid", 5.0, np.random.default_rng(0))


def test_songs_of_one_artist_are_told_as_such(tmp_path: Path) -> None:
    billboard(tmp_path, SALAMI.format(metre="4/4"))
    assert artist_of("billboard", tmp_path, "0001/salami_chords.txt") == "A"
    assert artist_of("openewld", tmp_path, "Ann_Bee/Song/Song.mxl") == "Ann_Bee"
    assert artist_of("groove", tmp_path, "drummer1/session2/9_rock_90_beat_4-4.mid") == "drummer1/session2"
    assert artist_of("pop909", tmp_path, "001/key_audio.txt") == artist_of("midi", tmp_path, "a/b.mid") == ""
