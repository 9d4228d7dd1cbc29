"""The words alone: states without those of [CLS], [SEP], <s> and </s>, for every kind of tokenizer."""

import numpy as np
import pytest

from solfa.core.errors import InputError
from solfa.core.registry import parse, with_source
from solfa.encoders.registry import load_backbone

CORPUS = ["a warm piano and a loud guitar over slow drums"]
LONG = "a loud guitar over slow drums, " * 9 + "and a warm piano"
SIZES = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
SIZES |= {"intermediate_size": 48, "max_position_embeddings": 130}


def word_pieces():
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    made.train_from_iterator(CORPUS, trainers.WordPieceTrainer(special_tokens=special, show_progress=False))
    pair = [("[CLS]", 2), ("[SEP]", 3)]
    made.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=pair)
    return made


def unigram(special, template, added):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

    made = Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=120, special_tokens=special, unk_token="<unk>", show_progress=False)
    made.train_from_iterator(CORPUS, trainer)
    made.post_processor = processors.TemplateProcessing(single=template, special_tokens=added)
    return made


FAMILIES = {  # name: tokenizer, network, how many special tokens a piece has
    "minilm-torch": (word_pieces, lambda t: t.BertModel(t.BertConfig(**SIZES)), 2),
    "roberta": (None, lambda t: t.RobertaModel(t.RobertaConfig(**SIZES)), 2),
    "e5": (
        lambda: unigram(["<s>", "<pad>", "</s>", "<unk>"], "<s> $A </s>", [("<s>", 0), ("</s>", 2)]),
        lambda t: t.XLMRobertaModel(t.XLMRobertaConfig(**SIZES)),
        2,
    ),
    "t5": (
        lambda: unigram(["<pad>", "</s>", "<unk>"], "$A </s>", [("</s>", 1)]),
        lambda t: t.T5EncoderModel(t.T5Config(vocab_size=300, d_model=32, d_kv=16, d_ff=48, num_layers=1, num_heads=2)),
        1,
    ),
}


@pytest.fixture(scope="module", params=FAMILIES)
def saved(request, bpe_folder, tmp_path_factory):
    transformers, torch = pytest.importorskip("transformers"), pytest.importorskip("torch")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    tokenizer, network, added = FAMILIES[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    text = (bpe_folder / "tokenizer.json").read_text("utf-8") if tokenizer is None else tokenizer().to_str()
    (folder / "tokenizer.json").write_text(text, "utf-8")
    network(transformers).eval().save_pretrained(folder)
    return request.param, folder, added


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_words_are_the_states_between_the_special_tokens(saved, pooling):
    name, folder, added = saved
    whole, words = (
        load_backbone(f"{name}:{folder}?max_tokens=30&pooling={pooling}&special_tokens={said}", "text")
        for said in ("true", "false")
    )
    texts = ["a warm piano", "", "piano </s> [SEP]", LONG]
    every, some = whole.states(texts), words.states(texts)
    np.testing.assert_array_equal(some.pooled_BD, every.pooled_BD)  # of all tokens either way
    pieces = [len(whole.tokens(text)) for text in texts]
    gone = (every.mask_BT.sum(axis=1) - some.mask_BT.sum(axis=1)).tolist()
    assert pieces[:2] == [1, 1] and pieces[3] > 2
    assert [gone[i] for i in (0, 1, 3)] == [added * pieces[i] for i in (0, 1, 3)] and gone[2] >= added
    first, last = added - 1, -1  # T5 has nothing before the words
    alone = every.states_BTD[0][every.mask_BT[0]]
    np.testing.assert_array_equal(some.states_BTD[0][some.mask_BT[0]], alone[first:last])
    assert words.lengths(texts) == some.mask_BT.sum(axis=1).tolist() and not some.mask_BT[1].any()
    assert some.pooled_BD[1].any()  # a text of no words still has a vector
    words._items = 4  # as on a GPU
    np.testing.assert_allclose(words.states(texts).states_BTD, some.states_BTD, atol=2e-5)
    assert (
        words.spec.space
        != whole.spec.space
        == load_backbone(f"{name}:{folder}", "text", max_tokens=30, pooling=pooling).spec.space
    )


def test_minilm_leaves_them_out_of_each_window():
    whole, words = load_backbone("minilm", "text"), load_backbone("minilm?special_tokens=false", "text")
    texts = ["a warm piano", "", "slow drums, " * 120]
    every, some = whole.states(texts), words.states(texts)
    np.testing.assert_array_equal(some.pooled_BD, every.pooled_BD)
    count = [len(words.tokenizer.encode(text, add_special_tokens=False).ids) for text in texts]
    assert some.mask_BT.sum(axis=1).tolist() == count and count[2] > 256
    np.testing.assert_array_equal(some.states_BTD[0, : count[0]], every.states_BTD[0, 1 : 1 + count[0]])
    np.testing.assert_array_equal(some.states_BTD[2, 254], every.states_BTD[2, 257])  # first of the second window
    assert words.spec.space != whole.spec.space


def test_a_name_carries_options_of_their_type():
    assert parse("e5:/a?b/c?max_tokens=7&prefix=what is this? ") == (
        "e5", "/a?b/c", {"max_tokens": "7", "prefix": "what is this? "},
    )  # fmt: skip
    assert with_source("e5:/old?cut=true&max_tokens=7", "/new") == "e5:/new?cut=true&max_tokens=7"
    with pytest.raises(InputError, match="takes special_tokens as bool, got 'no'"):
        load_backbone("minilm?special_tokens=no", "text")
    with pytest.raises(InputError, match=r"takes no option words\. It takes: special_tokens"):
        load_backbone("minilm?words=true", "text")
    pytest.importorskip("transformers")
    for wrong in ({"max_tokens": 3.5}, {"max_tokens": True}, {"prefix": 3}):
        with pytest.raises(InputError, match="text backbone 'e5' takes"):
            load_backbone("e5", "text", **wrong)
    with pytest.raises(InputError, match="takes no option hub"):  # a name does not give other weights a known licence
        load_backbone("e5?hub=somebody/else", "text")
