import re
from dataclasses import replace

import pytest

from solfa.analysis.extras import bars
from solfa.core.claims import find_claims
from solfa.core.theory import Key
from solfa.core.types import Analysis, ChordSegment, Curve, Estimate, Span, TagTrack
from solfa.datagen.captions import caption
from solfa.datagen.captions.attributes import attributes_of
from solfa.datagen.captions.checks import CaptionRules, broken_rules, read
from solfa.datagen.captions.sources import concepts_in


def analyzed(concept: str, kind: str, confidence: float, *spans: tuple[float, float]) -> TagTrack:
    return TagTrack(concept=concept, kind=kind, confidence=confidence, share=0.5,
                    spans=tuple(Span(start_s=a, end_s=b, confidence=confidence) for a, b in spans))  # fmt: skip


def analysis(**changes: object) -> Analysis:
    chords = [(0, 2, "A:min"), (2, 4, "F:maj"), (4, 6, "F:maj"), (6, 10, "N"), (10, 15, "C:maj"), (15, 20, "G:7/3")]
    whole = Analysis(
        duration_s=20.0,
        tempo_bpm=Estimate(value=120.0, confidence=0.9, unit="BPM"),
        metre=Estimate(value="3/4", confidence=0.8),
        beats_s=tuple(i * 0.5 for i in range(40)),
        downbeats_s=(),
        key=Estimate(value="A minor", confidence=0.7),
        chords=tuple(ChordSegment(start_s=a, end_s=b, label=c, confidence=0.95) for a, b, c in chords),
        loudness_lufs=Estimate(value=-14.0, confidence=1.0),
        energy=Curve(hop_s=1.0, values=()),
        voice=analyzed("voice", "voice", 0.05),
        instruments=(
            analyzed("guitar", "instrument", 0.95, (0, 20)), analyzed("electric_guitar", "instrument", 0.93, (0, 20)),
            analyzed("drums", "instrument", 0.92, (6, 20)), analyzed("flute", "instrument", 0.5, (0, 20)),
        ),
        genres=(analyzed("jazz", "genre", 0.9), analyzed("pop", "genre", 0.4)),
        moods=(analyzed("sad", "mood", 0.3),),
    )  # fmt: skip
    return replace(whole, **changes)  # type: ignore[arg-type]


def test_what_is_sure_is_told_for_each_clip_and_nothing_else() -> None:
    first, phrases = attributes_of(analysis(), end_s=10.0)
    assert first == {
        "tempo_bpm": 120.0, "tempo_marking": "allegro", "some_chords": ["A:min", "F:maj"],
        "instruments": ["electric_guitar", "drums"], "voice": False,
        "unsure": {"metre": "3/4", "beats_per_bar": 3, "key": "A minor"},
    }  # fmt: skip
    assert [(p.text, p.spans_s) for p in phrases] == [("drums", ((6.0, 10.0),))]
    second, phrases = attributes_of(analysis(), start_s=10.0, end_s=20.0)
    assert second["chords"] == ["C:maj", "G:7"] and phrases == ()  # without the inversion


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"key": Estimate(value=None, confidence=0.0)}, {"unsure"}),
        ({"tempo_bpm": Estimate(value=120.0, confidence=0.2)}, {"tempo_bpm", "tempo_marking"}),
        ({"beats_s": tuple(i * 0.75 for i in range(26))}, {"tempo_bpm", "tempo_marking"}),
        ({"chords": (ChordSegment(start_s=0, end_s=10, label="A:min", confidence=0.3),)}, {"some_chords"}),
        ({"chords": ()}, {"some_chords"}),
        ({"instruments": ()}, {"instruments", "voice"}),
        ({"voice": analyzed("voice", "voice", 0.3)}, {"voice"}),
    ],
)
def test_what_is_not_sure_is_missing(changes: dict[str, object], missing: set[str]) -> None:
    whole = {"metre": Estimate(value=None, confidence=0.0)}
    known, _ = attributes_of(analysis(**whole, **changes), end_s=10.0)
    assert set(attributes_of(analysis(**whole), end_s=10.0)[0]) - set(known) == missing


def test_metadata_goes_before_what_was_measured_and_a_tagger_is_believed_only_on_request() -> None:
    assert "genre" not in attributes_of(analysis())[0]
    assert attributes_of(analysis(), guesses=True)[0]["genre"] == ["jazz"]
    known, _ = attributes_of(analysis(), metadata={"genre": ["bossa_nova"]}, precision=0.6, guesses=True)
    assert known["genre"] == ["bossa_nova"] and known["key"] == "A minor"
    sung, _ = attributes_of(analysis(voice=analyzed("voice", "voice", 0.95, (0, 5))), start_s=10.0, end_s=20.0)
    assert "voice" not in sung  # detected in the track, not in this clip
    choir, _ = attributes_of(analysis(), metadata={"instruments": ["choir", "piano"]})
    assert choir["instruments"] == ["choir", "piano"] and "voice" not in choir  # not denied where the source names one


def test_a_kit_has_one_name_however_many_of_its_parts_are_detected() -> None:
    parts = ("drums", "snare_drum", "bass_drum", "hi_hat", "cymbal", "percussion", "drum_machine")
    many = analysis(instruments=tuple(analyzed(p, "instrument", 0.97, (0, 20)) for p in parts))
    assert attributes_of(many, precision=0.6)[0]["instruments"] == ["drums"]
    said, _ = attributes_of(analysis(), metadata={"instruments": ["hi_hat", "drums", "snare_drum", "piano"]})
    assert said["instruments"] == ["drums", "piano"]


def test_extractors_without_places_or_chords_give_what_they_have() -> None:
    rows = [(i * 0.5, i % 4 + 1) for i in range(24)]
    import numpy as np

    fields = bars(np.array(rows, np.float64))
    other = analysis(
        **{**fields, "downbeats_s": ()}, chords=(), key=Estimate(value=None, confidence=0.0), instruments=(), genres=()
    )
    known, phrases = attributes_of(other, end_s=10.0, precision=0.7)
    assert known == {"tempo_bpm": 120.0, "tempo_marking": "allegro", "metre": "4/4", "beats_per_bar": 4}
    assert phrases == () and bars(np.zeros((0, 2)))["tempo_bpm"].value is None


def test_labels_of_sources_become_concepts() -> None:
    assert concepts_in(["genre---drumnbass", "mood/theme---happy", "instrument---electricguitar"], ["mood"]) == [
        "happy"
    ]
    assert concepts_in(["Hip-Hop/Rap", "no drums", "\x00\x1b", ""], ["genre", "instrument"])[:1] == ["hip_hop"]


def test_a_hedged_value_is_told_with_a_hedge_and_is_no_claim() -> None:
    known = {"unsure": {"key": "F major", "tempo_bpm": 110.0, "metre": "4/4"}, "some_chords": ["C:maj", "D:min"]}
    texts = [caption(known, seed=i, style=style)[0] for i in range(40) for style in ("prose", "tags", "catalogue")]
    assert all(find_claims(text) == {} and read(text, known).false == () for text in texts)
    hedged = [t for t in texts if re.search(r"F maj|110|4/4", t)]
    assert len(hedged) > 60 and all(re.search(r"(?i)prob|perhaps|seem|likely|maybe", t) for t in hedged)
    assert read("A piece in F major.", known).false == ("key",)  # not hedged
    assert read("Perhaps in G major.", known).false == ("key",)


@pytest.mark.parametrize(("key", "wrong"), [("D# minor", "Gb"), ("Eb major", "G#"), ("E major", "Ab"), (None, "Gb")])
def test_keys_and_chords_of_a_caption_have_one_spelling(key: str | None, wrong: str) -> None:
    known = {"chords": ["F#:maj", "G#:min", "B:maj", "C#:maj"], **({"key": str(Key.parse(key))} if key else {})}
    for seed in range(60):
        (text,) = caption(known, seed=seed, style="figma")
        named = set(re.findall(r"\b[A-G](?:[#b]| sharp| flat)", text))
        assert not (any(n[1:] in ("#", " sharp") for n in named) and any(n[1:] in ("b", " flat") for n in named)), text


KNOWN = {"key": "F major", "genre": ["jazz"], "mood": ["catchy"]}


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ("A catchy jazz piece in F major.", ()),
        ("   ", ("empty",)),
        ("catchy jazz in F major " + "la " * 300, ("too_long",)),
        ("A catchy jazz\x07 piece in F major.", ("control_characters",)),
        ("A catchy jazz piece in F major, как песня.", ("wrong_script",)),
        ("A catchy **jazz** piece in F major.", ("markup",)),
        ("A catchy jazz piece. In F major.", ("sentences",)),
        ("A stunning catchy jazz piece in F major.", ("subjective",)),
        ("A catchy jazz piece in G major.", ("false",)),
        ("A jazz piece in F major.", ("missing",)),
        ("A jazz piece at 90 BPM.", ("false", "missing")),
    ],
)
def test_every_rule_has_a_text_that_breaks_it_alone(text: str, rules: tuple[str, ...]) -> None:
    assert broken_rules(text, KNOWN, CaptionRules(one_sentence=True, objective=True)) == rules


def test_figma_captions_break_no_rule() -> None:
    known, phrases = attributes_of(analysis(), end_s=10.0)
    for seed in range(30):
        (text,) = caption(known, phrases, seed=seed, style="figma")
        assert broken_rules(text, known, CaptionRules(one_sentence=True, objective=True)) == (), text
