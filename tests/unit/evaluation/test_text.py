"""Caption and judge scores against pycocoevalcap, nltk and scikit-learn's own output, and by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from solfa.core.errors import InputError, WeightsError
from solfa.evaluation import judges, text

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "captions.json").read_text())
CANDIDATES = [c.split() for c, _ in GOLDEN["texts"]]
REFERENCES = [[r.split() for r in rs] for _, rs in GOLDEN["texts"]]


def test_equal_to_the_reference_packages() -> None:
    np.testing.assert_allclose(text.bleu(CANDIDATES, REFERENCES), GOLDEN["bleu"], rtol=1e-7)
    np.testing.assert_allclose(text.rouge_l(CANDIDATES, REFERENCES), GOLDEN["rouge"], atol=1e-12)
    np.testing.assert_allclose(text.cider(CANDIDATES, REFERENCES), GOLDEN["cider"], atol=1e-12)
    pytest.importorskip("nltk")
    np.testing.assert_allclose(text.meteor(CANDIDATES, REFERENCES), GOLDEN["meteor"], atol=1e-12)


def test_treebank_tokens_and_the_cider_of_them_equal_the_reference() -> None:
    pytest.importorskip("nltk")
    golden = json.loads((Path(__file__).parents[2] / "golden" / "ptb.json").read_text())
    for told, tokens in golden["tokens"]:
        assert text.ptb_words(told) == tokens, told
    plain = [told for told, _ in golden["tokens"]][:8]
    ours = text.cider([text.ptb_words(t) for t in plain[::2]], [[text.ptb_words(t)] for t in plain[1::2]])
    np.testing.assert_allclose(ours, golden["cider"], atol=1e-12)
    split = text.cider([text.words(t) for t in plain[::2]], [[text.words(t)] for t in plain[1::2]])
    assert abs(split.mean() / ours.mean() - 1) > 0.02  # another tokenizer is another number


def test_bert_score_reads_a_folder_and_never_the_hub(tmp_path: Path) -> None:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    pytest.importorskip("bert_score")
    torch.manual_seed(0)
    names = "a slow fast piano song with drums and bass in f minor"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *names.split()]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    config = transformers.BertConfig(vocab_size=len(words), hidden_size=32, num_hidden_layers=3, num_attention_heads=4,
                                     intermediate_size=37)  # fmt: skip
    transformers.BertModel(config).save_pretrained(tmp_path)
    transformers.BertTokenizerFast(str(tmp_path / "vocab.txt"), model_max_length=128).save_pretrained(tmp_path)
    said = ["a slow piano song", "bass in f minor with drums"]
    known = [["a fast piano song in f minor", "a slow piano song"], ["piano"]]
    found = text.bert_score(said, known, tmp_path, layer=2)
    assert found[0] == pytest.approx(1, abs=1e-5) and 0 < found[1] < 0.999
    with pytest.raises(InputError, match="num_layers should be between 0 and 3"):
        text.bert_score(said, known, tmp_path, layer=4)
    for candidates, references in (([], []), (said, known[:1]), (said, [known[0], []])):
        with pytest.raises(InputError, match="none may be empty"):
            text.bert_score(candidates, references, tmp_path, layer=2)
    with pytest.raises(WeightsError, match=r"config\.json cannot be read"):
        text.bert_score(said, known, tmp_path / "nothing", layer=2)
    (tmp_path / "t5").mkdir()
    (tmp_path / "t5" / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(InputError, match="Rename the folder"):
        text.bert_score(said, known, tmp_path / "t5", layer=2)
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="is not a Hugging Face model"):
        text.bert_score(said, known, tmp_path, layer=2)


def _split(*texts: str) -> list[list[str]]:
    return [t.split() for t in texts]


def test_published_cases() -> None:
    # Papineni et al. 2002, examples 1 and 2: clipped unigram precision 2/7; 17/18 and 8/14.
    mats = [_split("the cat is on the mat", "there is a cat on the mat")]
    assert text.bleu([["the"] * 7], mats, max_n=1)[0] == pytest.approx(2 / 7)
    references = [
        _split(
            "it is a guide to action that ensures that the military will forever heed party commands",
            "it is the guiding principle which guarantees the military forces always being under the command "
            "of the party",
            "it is the practical guide for the army always to heed the directions of the party",
        )
    ]
    first = _split("it is a guide to action which ensures that the military always obeys the commands of the party")
    second = _split("it is to insure the troops forever hearing the activity guidebook that party direct")
    assert text.bleu(first, references, max_n=1)[0] == pytest.approx(17 / 18)
    assert text.bleu(second, references, max_n=1)[0] == pytest.approx(8 / 14 * math.exp(1 - 16 / 14))
    # Lin 2004, section 3.1: two sentences with the same bigrams, told apart by their longest common subsequence.
    police = [_split("police killed the gunman")]
    assert text.rouge_l(_split("police kill the gunman"), police, beta=1)[0] == pytest.approx(3 / 4)
    assert text.rouge_l(_split("the gunman kill police"), police, beta=1)[0] == pytest.approx(2 / 4)


def test_a_caption_equal_to_its_reference_is_the_best_there_is() -> None:
    own = [[c] for c in CANDIDATES[:2]]
    assert text.bleu(CANDIDATES[:2], own) == (1, 1, 1, 1)
    assert text.rouge_l(CANDIDATES[:2], own).tolist() == [1, 1]
    np.testing.assert_allclose(text.cider(CANDIDATES[:2], own), 10)
    np.testing.assert_allclose(text.cider(CANDIDATES[:2], own, clipped=False), 10)
    assert text.cider(CANDIDATES[:1], own[:1]).tolist() == [0]  # one item has no document frequencies
    repeated = [["a"] * 3 + ["b"]]
    both = ([*repeated, ["c", "d"]], [[["a", "b"]], [["c", "d"]]])
    assert text.cider(*both)[0] < text.cider(*both, clipped=False)[0]


def test_synonyms_and_stems_count_in_meteor() -> None:
    pytest.importorskip("nltk")
    reference = [[["a", "fast", "song"]]]
    plain = text.meteor([["a", "quick", "song"]], reference)[0]
    with_synonyms = text.meteor([["a", "quick", "song"]], reference, synonyms=lambda w: {"quick": ["fast"]}.get(w, []))
    assert plain < with_synonyms[0] == text.meteor([["a", "fast", "song"]], reference)[0]
    assert text.meteor([["a", "fast", "songs"]], reference)[0] == with_synonyms[0]


def test_vocabulary_and_novelty() -> None:
    got = text.vocabulary([["a", "b"], ["a", "b"], ["a", "c", "d"]], [["a", "b"], ["x", "y", "z"]])
    assert got == {"size": 4, "diversity": 0.8, "novelty": 0.5}


def test_clap_score_is_the_paired_cosine() -> None:
    vectors = np.eye(4, dtype=np.float32) * 3
    assert text.clap_score(vectors, vectors).tolist() == [1, 1, 1, 1]
    assert text.clap_score(vectors, vectors[[1, 0, 2, 3]]).tolist() == [0, 0, 1, 1]
    assert text.spider([1.0, 0.0], [0.5, 0.5]).tolist() == [0.75, 0.25]


def test_order_consistency_finds_a_judge_that_likes_the_first() -> None:
    fair = judges.order_consistency(["first", "second", "tie"], ["second", "first", "tie"])
    assert fair.rate.value == 1 and fair.first_bias == 0 and fair.winners == ("first", "second", "tie")
    biased = judges.order_consistency(["first"] * 4, ["first", "first", "first", "second"])
    assert biased.rate.value == 0.25 and biased.first_bias == 1 and biased.winners == ("tie", "tie", "tie", "first")


def test_kappa_equals_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    a = rng.integers(4, size=60)
    b = np.where(rng.random(60) < 0.6, a, rng.integers(4, size=60))
    ours = judges.cohen_kappa(a.tolist(), b.tolist())
    assert ours == pytest.approx(metrics.cohen_kappa_score(a, b), abs=1e-12)
    assert judges.cohen_kappa(["x", "y"], ["x", "y"]) == 1 and judges.cohen_kappa(["x", "y"], ["y", "x"]) == -1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: text.bleu([], []), "0 candidates"),
        (lambda: text.bleu([["a"]], [[]]), "no reference"),
        (lambda: text.rouge_l([[]], [[["a"]]]), "has no word"),
        (lambda: text.cider([["a"]], [[["a"]], [["b"]]]), "1 candidates for 2"),
        (lambda: text.spider([1.0], []), "1 CIDEr"),
        (lambda: text.tuple_f1([], []), "no tuples"),
        (lambda: text.vocabulary([["a"]], [[]]), "nothing to compare"),
        (lambda: text.clap_score(np.ones((2, 3)), np.ones((3, 3))), "paired"),
        (lambda: judges.order_consistency([], []), "empty set"),
        (lambda: judges.order_consistency(["A"], ["B"]), "first, second or tie"),  # type: ignore[list-item]
        (lambda: judges.cohen_kappa(["a"], ["a"]), "0 / 0"),
        (lambda: judges.cohen_kappa(["a"], []), "1 and 0 labels"),
    ],
)
def test_bad_input_is_refused_with_its_condition(call: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()  # type: ignore[operator]
