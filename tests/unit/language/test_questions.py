"""`solfa ask` by rule and by a model: places, certainty, and what is not known."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from solfa.analysis.protocol import empty
from solfa.core.errors import InputError
from solfa.core.types import Alternative, Analysis, ChordSegment, Curve, Estimate, Span, TagTrack
from solfa.language.questions import Reply, ask, ask_model, choose
from solfa.llm import Endpoint, ModelClient

LOOP = ("D:min", "Bb:maj", "F:maj", "C:maj")


def tag(concept: str, kind: str, sure: float, *spans: tuple[float, float]) -> TagTrack:
    return TagTrack(concept=concept, kind=kind, confidence=sure, share=sum(b - a for a, b in spans) / 200,
                    spans=tuple(Span(start_s=a, end_s=b, confidence=sure) for a, b in spans))  # fmt: skip


@pytest.fixture
def song() -> Analysis:
    """Piano throughout, drums from 0:42 to 3:00, a voice from 1:00 to 2:30; no guitar; louder from 2:00 to 2:30."""
    parts = {
        "key": Estimate(value="D minor", confidence=0.94),
        "metre": Estimate(value="4/4", confidence=0.92),
        "tempo_bpm": Estimate(value=92.0, confidence=0.96, unit="BPM"),
        "loudness_lufs": Estimate(value=-16.0, confidence=1.0, unit="LUFS"),
        "beats_s": tuple(i * 60 / 92 for i in range(300)),
        "downbeats_s": tuple(i * 240 / 92 for i in range(75)),
        "chords": tuple(
            ChordSegment(start_s=i * 2.5, end_s=i * 2.5 + 2.5, label=LOOP[i % 4], confidence=0.9) for i in range(80)
        ),
        "energy": Curve(hop_s=1.0, values=(0.5,) * 120 + (0.9,) * 30 + (0.4,) * 50),
        "voice": tag("voice", "voice", 0.97, (60, 150)),
        "instruments": (
            tag("piano", "instrument", 0.96, (0, 200)),
            tag("drums", "instrument", 0.75, (42, 180)),
            tag("guitar", "instrument", 0.03),
            tag("electric_piano", "instrument", 0.02),
        ),
        "moods": (tag("sad", "mood", 0.84, (0, 200)), tag("happy", "mood", 0.04)),
    }
    return Analysis(**{**empty(), "duration_s": 200.0, **parts})


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("When do the drums enter?", "Drums: from 0:42 (probably)."),
        ("Could you tell me when the drums stop?", "Drums: until 3:00 (probably)."),
        ("How long does the singer sing?", "Vocals: for 1:30 of 3:20, 1:00 to 2:30 (surely)."),
        ("Is there a guitar?", "No, guitar: none found (surely)."),
        ("when does the guitar come in", "No, guitar: none found (surely)."),
        ("Is there a paino?", "Yes, piano: present, 0:00 to 3:20 (surely)."),  # a typing error
        ("Is it in F major?", "No, F major: D minor (surely)."),
        ("What key is it in at 1:20?", "D minor (surely)."),
        ("Is it major or minor?", "Key: D minor (surely)."),
        ("What's the BPM?", "Tempo: 92.0 BPM (surely)."),
        ("Does the tempo change?", "Tempo does not change: 92.0 from 0:00 (surely)."),
        ("Which chords are played in the first 10 seconds?", "Chords, 0:00 to 0:10: Dm - Bb - F - C (surely)."),
        ("What plays at 0:20?", "Instruments, 0:15 to 0:25: piano (surely)."),
        ("Which instrument comes in first?", "Instruments, 0:00 to 3:20: piano at 0:00 (surely)."),
        ("Where is the loudest place?", "Loudest: 2:00 to 2:03 (surely)."),
        ("How loud is it at the end?", "softer than the rest"),
        ("How long until the drums enter?", "Drums: from 0:42 (probably)."),
        ("When do the drums enter and stop?", "Drums: 0:42 to 3:00 (probably)."),
        ("How many times do the drums come in?", "Drums: 1 time, 0:42 to 3:00 (probably)."),
        ("Is it longer than three minutes?", "Yes, at least 3:00: 3:20 (surely)."),
        ("Are there any key changes?", "Key does not change: D minor from 0:00"),
        ("Do vocals appear in the second half?", "Yes, vocals in 50-100 % of the track: present"),
        ("Isn't there a piano?", "Yes, piano: present, 0:00 to 3:20 (surely)."),
        ("When does the piece end?", "Length: 3:20 (surely)."),
        ("What mood does it have?", "The mood is probably sad."),
        ("Is the ending sad?", "Yes, sad in 85-100 % of the track"),
        ("Is the second half in D minor?", "Yes, D minor, whole track: D minor (surely)."),
        ("When does it get louder?", "Louder at 2:00 (surely)."),
        ("How long do the drums last?", "Drums: for 2:18 of 3:20, 0:42 to 3:00 (probably)."),
        ("How long does the song last?", "Length: 3:20 (surely)."),
        ("Is it slower than 100?", "Yes, at most 100 BPM"),
        ("Is there a piano from start to end?", "Yes, piano: for 3:20 of 3:20, 0:00 to 3:20 (surely)."),
        ("Do the drums play all the time?", "No, drums: for 2:18 of 3:20, 0:42 to 3:00 (probably)."),
        ("When does it get softer?", "Softer at 2:31 (surely)."),
        ("What is the last chord?", "Last chord: C (surely)."),
        ("Which chord is used most often?", "Most common chords: Dm (25%)"),
        ("How many different chords are there?", "4 chords: Dm, Bb, F, C (probably)."),
        ("What's the tempo of the last 30 seconds?", "Tempo, 2:50 to 3:20: 92.0 BPM (probably)."),
        ("Who sings, a woman or a man?", "male vocals"),
        ("Is it slow?", "No, 40-76 BPM: 92.0 BPM (surely)."),
        ("Is it instrumental?", "No, vocals: present, 1:00 to 2:30 (surely)."),
        ("No guitar at all?", "Yes, no guitar: none found (surely)."),
        ("What's happening around 0:20?", "Instruments, 0:15 to 0:25: piano (surely)."),
        ("How sure are you about the key?", "Key: D minor (surely)."),
        ("Which instruments drop out?", "Instruments, 0:00 to 3:20: vocals at 2:30 (surely)."),
        ("How does it end?", "Instruments, 2:50 to 3:20: piano, drums (probably)."),
        ("Describe the song, please", "It lasts 3:20. The mood is probably sad."),
        ("Would you call it sad?", "Yes, sad: present, 0:00 to 3:20 (probably)."),
        ("Which instrument plays the longest?", "Instruments, 0:00 to 3:20: piano (surely)."),
        ("Is the music sad and fast?", "Yes, sad: present, 0:00 to 3:20 (probably). No, 120-200 BPM: 92.0"),
        ("Are the vocals in the second half?", "Yes, vocals in 50-100 % of the track: present"),
    ],
)  # fmt: skip
def test_answers_have_a_place_and_a_certainty(song: Analysis, question: str, said: str) -> None:
    answer = ask(song, question)
    if question.startswith("Which instrument"):
        song = replace(song, instruments=song.instruments[:1])
        answer = ask(song, question)
    assert answer.status == "answered" and said in answer.text
    assert all(0 <= c.start_s <= c.end_s <= 200 and c.maker == "measured" for c in answer.claims)


@pytest.mark.parametrize(
    ("question", "status", "said"),
    [
        ("What are the lyrics about?", "not measured", "the words of the song"),
        ("When does the chorus start?", "not measured", "which part is the chorus"),
        ("Is there a theremin?", "not measured", "theremin"),  # not looked for
        ("What genre is it?", "not measured", "none is sure enough"),
        ("What key is it in at 9:00?", "not measured", "the track ends at 3:20"),
        ("Wann setzt das Schlagzeug ein?", "not understood", "'wann', 'setzt'"),
        ("ピアノはありますか", "not understood", "English"),
        ("When do the elephants enter?", "not understood", "'elephants'"),
        ("Is the drummer's hat red?", "not understood", "'hat', 'red'"),
        ("?", "not understood", "English"),
        ("17", "not understood", "English"),
        # What is like a question that can be answered, and is another one.
        ("How loud is the piano?", "not measured", "loudness of piano by itself"),
        ("What chords does the guitar play?", "not measured", "chords of guitar by itself"),
        ("How many singers are there?", "not measured", "how many there are"),
        ("Is the piano out of tune?", "not measured", "melody"),
        ("Is the piano louder than the drums?", "not understood", "'than"),
        ("Do the drums enter before the voice?", "not understood", "'before'"),
        ("When is there no singing?", "not understood", "'no'"),
        ("Which is louder, the start or the end?", "not understood", "English"),
        ("Is there anything besides piano?", "not understood", "'besides'"),
        ("Is it good for studying?", "not measured", "study"),
        ("Is it good?", "not measured", "whether it is good"),
        ("Are the drums loud?", "not measured", "what drums is like by itself"),
        ("Is the piano in A minor?", "not measured", "what piano is like by itself"),
        ("Is a woman playing the drums?", "not understood", "'woman'"),
        ("What plays at 99:99?", "not understood", "'99'"),
        ("What plays at 120 bpm?", "not understood", "'120'"),
        ("What is the loudest instrument?", "not measured", "loudness of instruments by itself"),
        ("Where are the drums loudest?", "not measured", "loudness of drums by itself"),
        ("Do the drums get louder?", "not measured", "what drums is like by itself"),
        ("Is the second half faster?", "not understood", "'faster'"),
        ("Do the drums enter first?", "not understood", "'do the drums enter first'"),
        ("Does it have more than two chords?", "not understood", "'more than two'"),
        ("Does it have only one instrument?", "not understood", "'only one'"),
        ("What is the tempo, and is there a piano?", "not understood", "'and is'"),
    ],
)
def test_what_is_not_known_is_said(song: Analysis, question: str, status: str, said: str) -> None:
    answer = ask(song, question)
    assert answer.status == status and said in answer.text
    assert not any(c.value != "not measured" for c in answer.claims)


def test_silence_one_second_and_nothing_measured_are_answered_plainly() -> None:
    silence = Analysis(duration_s=1.0, **empty())
    for question in ("what key is it in?", "how fast is it?", "where is the loudest place?", "does the key change?"):
        assert ask(silence, question).status == "not measured", question
    assert ask(silence, "how long is it?").text == "Length: 0:01 (surely)."
    assert ask(silence, "when do the drums enter?").text == "Not measured: there is no sound in it."
    assert ask(silence, "what are the chords?").claims[0].value == ""


def test_an_unsure_value_names_the_others(song: Analysis) -> None:
    unsure = Estimate(value="E minor", confidence=0.3, alternatives=(Alternative(value="G major", confidence=0.2),))
    assert ask(replace(song, key=unsure), "which key?").text == "Key: E minor or G major (perhaps)."


def test_chords_are_spelled_as_in_the_key(song: Analysis) -> None:
    chords = (ChordSegment(start_s=0.0, end_s=80.0, label="Ab:min", confidence=0.9),)
    for key, name in (("E major", "G#m"), ("Db major", "Abm"), ("Eb minor", "Abm")):
        asked = replace(song, key=Estimate(value=key, confidence=0.9), chords=chords)
        for question in ("what are the chords?", "what is the first chord?", "what is the most common chord?"):
            assert name in ask(asked, question).text, (key, question)


@pytest.mark.parametrize("question", ["", "  ", "why " * 500])
def test_a_question_of_no_sensible_length_is_refused(song: Analysis, question: str) -> None:
    with pytest.raises(InputError):
        ask(song, question)


def test_options_are_chosen_by_what_was_measured(song: Analysis) -> None:
    options = ("C major", "92 BPM", "D minor", "120 BPM")
    assert choose(song, "What is the key of the piece?", options) == 2
    assert choose(song, "How fast is it?", options) == 1
    assert choose(song, "When do the drums enter?", ("0:08", "0:42", "4/4", "violin")) == 1
    assert choose(song, "When do the drums enter?", ("0:08", "2:42", "4/4", "violin")) is None
    assert choose(song, "Which instrument plays?", ("guitar", "4/4", "piano", "D minor")) == 2
    assert choose(song, "Which instrument plays?", ("4/4", "D minor")) is None
    assert choose(song, "Is there a piano?", ("No", "Yes")) == 1
    assert choose(song, "What is the singer's name?", options) is None
    assert choose(None, "What is the key of the piece?", options) == 0  # what the texts give away


def by_model(analysis: Analysis, llm_server: Any, folder: Path, answer: Any) -> Reply:
    text = answer if isinstance(answer, str) else json.dumps(answer)
    body = json.dumps({"choices": [{"message": {"content": text}}]}).encode()
    with llm_server(lambda request, n: (200, body)) as fake:
        return ask_model(analysis, "what key?", ModelClient(Endpoint(url=fake.url, model="m", retries=0), folder))


def test_a_models_word_is_marked_and_its_quotes_are_checked(song: Analysis, llm_server: Any, tmp_path: Path) -> None:
    good = {"answer": "It is in D minor.", "quotes": ['"key": "D minor"'], "known": "yes"}
    found = by_model(song, llm_server, tmp_path / "a", good)
    assert found.status == "answered" and found.text == "In the words of m: It is in D minor."
    assert found.claims[0].maker == "m" and found.claims[0].confidence == 0
    none = {"answer": "The data does not say who sings.", "quotes": [], "known": "no"}
    assert by_model(song, llm_server, tmp_path / "b", none).status == "not measured"
    for bad, why in (
        ({**good, "quotes": ['"key": "F major"']}, "not in the data"),
        ({**good, "quotes": []}, "no quote"),
        ({"answer": "D minor"}, "must be"),
        ("I think it is lovely.", "no JSON object"),
    ):
        found = by_model(song, llm_server, tmp_path / why, bad)
        assert found.status == "not understood" and why in found.text and not found.claims


@pytest.mark.parametrize("question", ["Is the singer female?", "Is the vocalist a woman?", "Is it a woman who sings?"])
def test_who_sings_is_no_question_whether_somebody_does(song: Analysis, question: str) -> None:
    voices = (tag("female_voice", "voice", 0.02), tag("male_voice", "voice", 0.95, (60, 150)))
    answer = ask(replace(song, instruments=(*song.instruments, *voices)), question)
    assert answer.text == "No, female vocals: none found (surely)."
