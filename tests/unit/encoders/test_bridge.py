"""The bridge: one space for words and sound, the same vector whatever stands beside it, every word counted."""

import tomllib
from importlib.resources import files

import numpy as np
import pytest

from fakes.synth import song, tone
from solfa.analysis.tagging import labels
from solfa.core.types import Audio
from solfa.encoders import bridge_space
from solfa.encoders.bridge import load
from solfa.encoders.bridge_text import BridgeText, pieces
from solfa.encoders.selftest import check


def _text(*texts: str) -> np.ndarray:
    return load().text.encode(texts).global_BD


def test_the_model_is_alive_and_its_towers_share_a_space() -> None:
    model = load()
    check(model)
    assert model.space == model.text.spec.space and model.audio.spec.dim == 512
    assert model.audio.spec.hop_s == 3.0 and model.space.startswith("bridge/2/512/")


def test_the_space_is_named_by_values_and_collections_on_disk_keep_their_name(monkeypatch: pytest.MonkeyPatch) -> None:
    name, concepts = bridge_space.space(), files("solfa.analysis").joinpath("concepts.toml").read_text("utf-8")
    assert name == "bridge/2/512/cf06f8a71b27"  # another name makes every collection and trained model on disk useless
    other = {
        "# a comment\n" + concepts.replace(" = ", "  =  "): True,
        concepts.replace('"probe:brass"', '"2 probe:brass"'): True,  # the probe is no axis
        concepts.replace('piano = ["yamnet:Piano"', 'piano = ["0.5 yamnet:Piano"'): False,
        concepts.replace('harp = ["yamnet:Harp", "mtt:harp"]\n', ""): False,
    }
    assert concepts not in other and len(other) == 4
    for text, same in other.items():
        monkeypatch.setattr(bridge_space, "table_of", lambda *_, text=text: tomllib.loads(text))
        assert (bridge_space.space.__wrapped__() == name) == same


def test_the_text_tower_shows_its_tokens() -> None:
    text = BridgeText(load().text.spec)
    assert text.tokenizer.encode("warm Rhodes", add_special_tokens=False).tokens == ["warm", "rhodes"]
    assert len(text.tokenizer.encode("la " * 600, add_special_tokens=False).ids) == 600  # not cut


def test_sound_does_not_depend_on_the_batch() -> None:
    audio = load().audio
    short = Audio(tone(60, 2.0), 22050)
    long = song(bars=5).audio
    both = audio.encode([short, long])
    assert both.frames_BTD.shape == (2, both.mask_BT[1].sum(), 512) and both.mask_BT[0].sum() == 1
    fresh = Audio(short.samples.copy(), 22050)
    assert np.allclose(audio.encode([fresh]).global_BD[0], both.global_BD[0], atol=1e-6)
    assert np.allclose(np.linalg.norm(both.frames_BTD[both.mask_BT], axis=1), 1, atol=1e-5)


def test_text_has_no_timbre_and_sound_has_both() -> None:
    tags = len(bridge_space.axes())
    named = tags + bridge_space.SOUND_DIM
    assert tags == 250 and not _text("warm Rhodes")[:, named:].any()
    sound = load().audio.encode([song(bars=2).audio]).global_BD[0]
    assert 0.2 < float(sound[tags:] @ sound[tags:]) < 0.8


@pytest.mark.parametrize(
    ("text", "axis"),
    [
        ("Rhodes", ("yamnet", "Electric piano")),
        ("violin", ("yamnet", "Violin, fiddle")),
        ("haunted castle at midnight", ("yamnet", "Scary music")),
        ("roller rink", ("yamnet", "Disco")),
        ("pixel dungeon boss", ("yamnet", "Video game music")),
        ("songs from the 1980s", ("msd", "80s")),
    ],
)
def test_words_point_at_outputs(text: str, axis: tuple[str, str]) -> None:
    weights = _text(text)[0]
    nearest = np.argsort(-weights)[:5]
    assert bridge_space.axes().index(axis) in nearest


def test_every_word_counts_to_the_last() -> None:
    long = "calm piano, " * 150
    with_end, without = _text(long + "bagpipes", long)
    assert 0.9 < float(with_end @ without) < 0.99999
    bagpipes = bridge_space.axes().index(("yamnet", "Bagpipes"))
    assert with_end[bagpipes] > without[bagpipes]


def test_pieces_hold_every_word() -> None:
    text = "Mid-tempo groovy hustle. Perfect for (the) roller-rink and 1 2 3 4 5 6 7 8 9 with strings"
    assert [w for p in pieces(text) for w in p.split()] == [
        w.strip("().") for w in text.split() if w not in ("and", "with")
    ]
    assert all(1 <= len(p.split()) <= 5 for p in pieces(text))


@pytest.mark.parametrize("text", ["", "?!", "日本の音楽", "\udc80", "x" * 5000, "a\x00b"])
def test_hostile_text_is_a_vector(text: str) -> None:
    features = load().text.encode([text])
    assert np.isfinite(features.global_BD).all()
    assert np.allclose(np.linalg.norm(features.global_BD, axis=1), 1, atol=1e-5)


def test_one_string_is_a_mistake() -> None:
    with pytest.raises(TypeError):
        BridgeText(load().text.spec).encode("piano")


def test_prompts_and_fit_belong_together() -> None:
    table = tomllib.loads(files("solfa.encoders").joinpath("bridge_prompts.toml").read_text(encoding="utf-8"))
    for net, rows in table.items():
        assert set(rows) <= set(labels()[net])
    fit = bridge_space.fit()
    axes = bridge_space.axes()
    expected = sum(
        len(
            {
                *([] if len(name) == 3 and name[:2].isdigit() else [name.split(" (")[0].lower()]),
                *table[net].get(name, []),
            }
        )
        for net, name in axes
    )
    assert len(fit.prompt_PM) == expected and set(fit.prompt_axis_P.astype(int)) == set(range(len(axes)))
    assert fit.timbre_axes_EK.shape == (1424, 384 - len(axes)) and (fit.tag_scale_A > 0).all()


def test_music_lies_as_it_would_without_sounds_and_texts_reach_them() -> None:
    model = load()
    names, tags = bridge_space.sounds(), len(bridge_space.axes())
    music = model.audio.encode([song(bars=4).audio]).global_BD[0]
    assert np.linalg.norm(music[tags : tags + bridge_space.SOUND_DIM]) < 0.2
    fold = bridge_space.fit().sound_fold_SF
    texts = {
        "dog barking": "dog_bark",
        "heavy rain": "rain",
        "an audience applauding": "applause",
        "chainsaw": "chainsaw",
    }
    for vector, sound in zip(model.text.encode(list(texts)).global_BD, texts.values(), strict=True):
        likeness = fold @ vector[tags : tags + bridge_space.SOUND_DIM]
        assert names.index(sound) in np.argsort(-likeness)[:5], sound


def test_probabilities_were_fitted_to_this_space() -> None:
    with files("solfa.encoders").joinpath("bridge_match.npz").open("rb") as stream:
        assert str(np.load(stream)["space"]) == load().space, "run tools/fit_match.py"
    match = load().match
    assert match is not None and match.sounds_SD.shape[1] == match.texts_XD.shape[1] == load().audio.spec.dim


@pytest.mark.parametrize("text", ["asdfghjkl", "Satie", "грустная музыка", "悲しいピアノ", "musique triste", "BWV 565"])
def test_what_nobody_says_of_sound_is_unfamiliar(text: str) -> None:
    assert load().text.familiarity(text) == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("text", ["dreamy", "spooky cave", "dog barking", "whimsical", "a song for late night driving"])
def test_what_people_say_of_sound_is_familiar(text: str) -> None:
    assert load().text.familiarity(text) > 0.1  # type: ignore[attr-defined]
