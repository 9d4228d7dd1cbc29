import numpy as np
import pytest
from nltk.translate.bleu_score import sentence_bleu

from solfa.core.errors import InputError
from solfa.evaluation.diversity import distinct, diversity, self_bleu


@pytest.mark.filterwarnings("ignore::UserWarning")  # nltk's, of texts without a common 4-gram
def test_self_bleu_is_the_mean_bleu_against_the_others() -> None:
    rng = np.random.default_rng(0)
    texts = [[f"w{n}" for n in rng.zipf(1.5, int(rng.integers(3, 30))) % 40] for _ in range(25)]
    expected = [sentence_bleu([*texts[:i], *texts[i + 1 :]], t) for i, t in enumerate(texts)]
    assert self_bleu(texts) == pytest.approx(np.mean(expected), abs=1e-6)


def test_equal_texts_are_not_diverse_and_different_ones_are() -> None:
    same, other = [["a", "b", "c", "d", "e"]] * 4, [[f"{i}{c}" for c in "abcde"] for i in range(4)]
    assert self_bleu(same) == pytest.approx(1.0) and self_bleu(other) == 0.0
    assert distinct(same, 2) == 0.25 and distinct(other, 2) == 1.0 and distinct([["a"]], 2) == 0.0
    drawn = diversity(["A sad song.", "A song that is sad.", "Drums!"] * 20, sample=10)
    assert drawn.texts == 10 and 0 < drawn.distinct[0] < drawn.distinct[1] < 1
    with pytest.raises(InputError, match="at least two"):
        self_bleu([["a"]])
