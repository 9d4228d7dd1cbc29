"""MiniLM: every word counts, neighbours do not, and near meanings lie near."""

import numpy as np
import pytest

from solfa.encoders.minilm import DIM, WINDOW, MiniLM

TEXTS = ["warm Rhodes piano", "slow waltz in D minor with a solo violin over soft strings", "drums", "heavy metal",
         "bass", "choir", "slow rock", "la " * 600]  # fmt: skip


@pytest.fixture(scope="module")
def encoder():
    return MiniLM()


def test_vectors_are_float32_of_unit_length(encoder):
    vectors = encoder.encode(TEXTS)
    assert vectors.shape == (len(TEXTS), DIM) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)


def test_batch_order_and_size_change_no_bit(encoder):
    together = encoder.encode(TEXTS)
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(encoder.encode(TEXTS[::-1])[::-1], together)


def test_near_meanings_lie_nearer_than_far_ones(encoder):
    a, b, c = encoder.encode(["cheerful tune, a woman singing", "happy pop with female vocals", "dark ambient drone"])
    assert a @ b > 0.5 > 0.3 > a @ c


def test_the_last_words_of_a_long_text_count(encoder):
    long = "a warm Rhodes over a slow beat, " * 100
    assert len(encoder.tokenizer.encode(long).ids) > 2 * WINDOW
    plain, organ = encoder.encode([long, long + "and a loud church organ with choir " * 5])
    church = encoder.encode(["a loud church organ with choir"])[0]
    assert organ @ church > plain @ church + 0.02


def test_a_text_of_one_window_is_the_mean_over_its_tokens(encoder):
    ids = encoder.tokenizer.encode(TEXTS[1], add_special_tokens=False).ids
    mean = encoder._forward([ids])[0].mean(axis=0)
    np.testing.assert_allclose(encoder.encode([TEXTS[1]])[0], mean / np.linalg.norm(mean), atol=1e-6)


def test_a_window_is_never_longer_than_the_model_knows(encoder, monkeypatch):
    lengths = []
    forward = encoder._forward
    monkeypatch.setattr(encoder, "_forward", lambda part: lengths.extend(map(len, part)) or forward(part))
    count = len(encoder.tokenizer.encode("la " * 600, add_special_tokens=False).ids)
    encoder.encode(["la " * 600])
    assert sum(lengths) == count and max(lengths) == WINDOW - 2


def test_hostile_and_empty_texts_have_vectors(encoder):
    vectors = encoder.encode(["", " \t\n", "\ud800 piano", "\x00\x1b[2J", "🎹" * 50])
    assert np.isfinite(vectors).all()
    np.testing.assert_array_equal(vectors[0], vectors[1])
    assert encoder.encode([]).shape == (0, DIM)


def test_one_string_is_not_taken_for_a_batch(encoder):
    with pytest.raises(TypeError, match="sequence of texts"):
        encoder.encode("drums")


def test_the_vectors_are_those_of_the_original(encoder):
    """Against sentence-transformers/all-MiniLM-L6-v2 in fp32; int8 storage moves them a little."""
    a, b = encoder.encode(["This is an example sentence", "Each sentence is converted"])
    np.testing.assert_allclose(a[:6], [0.06766, 0.06350, 0.04871, 0.07930, 0.03745, 0.00265], atol=0.006)
    assert a @ b == pytest.approx(0.4046, abs=0.005)
