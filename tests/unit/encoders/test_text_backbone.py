"""Text bodies on tiny weights of the real architectures, against the library's own states."""

import shutil

import numpy as np
import pytest

from solfa.core.errors import InputError, WeightsError
from solfa.encoders.registry import load_backbone

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

torch.set_num_threads(1)  # tiny networks; more threads only wait for each other
TEXTS = ["a warm piano", "drums", "", "a loud guitar over slow drums, " * 9 + "and a warm piano"]
SIZES = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
SIZES |= {"intermediate_size": 48, "max_position_embeddings": 130}
NETWORKS = {
    "minilm-torch": lambda: transformers.BertModel(transformers.BertConfig(**SIZES)),
    "roberta": lambda: transformers.RobertaModel(transformers.RobertaConfig(**SIZES)),
    "e5": lambda: transformers.XLMRobertaModel(transformers.XLMRobertaConfig(**SIZES)),
    "t5": lambda: transformers.T5Model(
        transformers.T5Config(vocab_size=300, d_model=32, d_kv=16, d_ff=48, num_layers=2, num_heads=2)
    ),
}


@pytest.fixture(scope="module", params=NETWORKS)
def saved(request, bpe_folder, tmp_path_factory):
    """Name of the body, folder, and the library's own encoder."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp(request.param)
    shutil.copytree(bpe_folder, folder, dirs_exist_ok=True)
    network = NETWORKS[request.param]().eval()
    network.save_pretrained(folder)
    return request.param, folder, getattr(network, "encoder", network) if request.param == "t5" else network


def library(encoder, ids):
    with torch.no_grad():
        return encoder(input_ids=torch.tensor([ids])).last_hidden_state[0].numpy()


def ids_of(folder, text):
    return transformers.AutoTokenizer.from_pretrained(folder)(text)["input_ids"]


def test_states_are_the_librarys(saved):
    name, folder, encoder = saved
    body = load_backbone(f"{name}:{folder}", "text", max_tokens=100, pooling="mean")
    states = body.states(TEXTS[:3])
    for i, text in enumerate(TEXTS[:3]):
        expected = library(encoder, ids_of(folder, text))
        real = states.states_BTD[i][states.mask_BT[i]]
        np.testing.assert_allclose(real, expected, atol=2e-5)
        np.testing.assert_allclose(states.pooled_BD[i], expected.mean(axis=0), atol=2e-5)
    assert not states.states_BTD[~states.mask_BT].any()
    first = load_backbone(f"{name}:{folder}", "text", max_tokens=100, pooling="cls").states(TEXTS[:1])
    np.testing.assert_allclose(first.pooled_BD[0], states.states_BTD[0, 0], atol=1e-6)


def test_a_long_text_is_read_in_pieces_to_its_end_or_cut_off(saved):
    name, folder, encoder = saved
    whole = ids_of(folder, TEXTS[3])
    assert len(whole) > 60
    body = load_backbone(f"{name}:{folder}", "text", max_tokens=30)
    states = body.states([TEXTS[3]])
    pieces = body.tokens(TEXTS[3])
    assert len(pieces) > 2 and max(map(len, pieces)) <= 30
    inner = [token for piece in pieces for token in piece if token not in (0, 2)]
    words = transformers.AutoTokenizer.from_pretrained(folder).decode(inner)
    assert words.replace("Ġ", "").replace(" ", "") == TEXTS[3].replace(" ", "")
    expected = [library(encoder, piece) for piece in pieces]
    np.testing.assert_allclose(states.states_BTD[0], np.concatenate(expected), atol=2e-5)
    cut = load_backbone(f"{name}:{folder}", "text", max_tokens=30, cut=True)
    np.testing.assert_allclose(
        cut.states([TEXTS[3]]).states_BTD[0], library(encoder, [*whole[:29], whole[-1]]), atol=2e-5
    )
    assert cut.spec.space != body.spec.space


def test_the_batch_changes_no_bit_and_padding_little(saved):
    name, folder, _ = saved
    body = load_backbone(f"{name}:{folder}", "text", max_tokens=30, pooling="cls")
    together = body.states(TEXTS)
    body._items = 4  # as on a GPU: padded to the longest
    padded = body.states(TEXTS)
    np.testing.assert_array_equal(padded.mask_BT, together.mask_BT)
    np.testing.assert_allclose(padded.states_BTD, together.states_BTD, atol=2e-5)
    np.testing.assert_allclose(padded.pooled_BD, together.pooled_BD, atol=2e-5)
    body._items = 1
    for i, text in enumerate(TEXTS):
        alone = body.states([text])
        np.testing.assert_array_equal(alone.states_BTD[0], together.states_BTD[i][together.mask_BT[i]])
        np.testing.assert_array_equal(alone.pooled_BD[0], together.pooled_BD[i])
    assert body.states([]).states_BTD.shape == (0, 0, 32)


def test_a_trainer_can_tune_it(saved):
    name, folder, _ = saved
    body = load_backbone(f"{name}:{folder}", "text", max_tokens=30)
    before = body.states(["a warm piano"]).pooled_BD
    body.network.train()
    optimizer = torch.optim.SGD(body.network.parameters(), lr=0.1)
    pooled, states, mask = body.network(body.prepare(TEXTS))
    (pooled.square().mean() + states[mask].square().mean()).backward()
    assert all(p.grad is not None for p in body.network.parameters() if p.requires_grad)
    optimizer.step()
    after = body.states(["a warm piano"]).pooled_BD
    assert np.abs(after - before).max() > 1e-4
    assert body.network.training  # given back as it was
    np.testing.assert_array_equal(after, body.states(["a warm piano"]).pooled_BD)  # without dropout


def test_a_prefix_is_read_too_and_is_part_of_the_space(bpe_folder, tmp_path):
    folder = shutil.copytree(bpe_folder, tmp_path / "e5")
    NETWORKS["e5"]().save_pretrained(folder)
    plain, prefixed = (load_backbone(f"e5:{folder}", "text", prefix=prefix) for prefix in ("", "query: "))
    assert plain.spec.space != prefixed.spec.space
    np.testing.assert_array_equal(prefixed.states(["drums"]).states_BTD, plain.states(["query: drums"]).states_BTD)
    assert plain.spec.licence == "of the given file, not known to solfa" and not plain.spec.commercial_use
    assert (plain.spec.dim, plain.spec.hop_s, plain.spec.sample_rate_hz) == (32, 0.0, 0)


def test_surrogates_are_read(bpe_folder, tmp_path):
    folder = shutil.copytree(bpe_folder, tmp_path / "e5")
    NETWORKS["e5"]().save_pretrained(folder)
    assert load_backbone(f"e5:{folder}", "text").states(["half \ud800 a pair"]).mask_BT.any()


def test_what_a_user_can_get_wrong(bpe_folder, tmp_path):
    folder = shutil.copytree(bpe_folder, tmp_path / "e5")
    NETWORKS["e5"]().save_pretrained(folder)
    with pytest.raises(InputError, match="reads 128 tokens at most, got max_tokens 129"):
        load_backbone(f"e5:{folder}", "text", max_tokens=129)
    with pytest.raises(InputError, match="pooling is 'cls' or 'mean'"):
        load_backbone(f"e5:{folder}", "text", pooling="max")
    with pytest.raises(InputError, match=r"hf download intfloat/multilingual-e5-large-instruct"):
        load_backbone("e5", "text")
    with pytest.raises(InputError, match="cuda:99"):
        load_backbone(f"e5:{folder}", "text", device="cuda:99")
    with pytest.raises(WeightsError, match=r"config\.json cannot be read"):
        load_backbone(f"e5:{bpe_folder}", "text")
    with pytest.raises(TypeError, match="got one string"):
        load_backbone(f"e5:{folder}", "text").states("drums")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(WeightsError, match=r"no tokenizer\.json"):
        load_backbone(f"e5:{folder}", "text")


def test_a_checkpoint_that_lacks_a_layer_is_refused(bpe_folder, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(bpe_folder, tmp_path / "roberta")
    NETWORKS["roberta"]().save_pretrained(folder)
    state = load_file(folder / "model.safetensors")
    del state["encoder.layer.1.output.dense.weight"]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"lacks weights.*encoder\.layer\.1\.output\.dense\.weight"):
        load_backbone(f"roberta:{folder}", "text")


def test_a_copy_of_a_text_tower_has_its_own_weights() -> None:
    """Training tunes a copy: what is called must be what is trained."""
    from copy import deepcopy

    import torch

    from solfa.encoders.text_backbone import TextTower

    tower = TextTower(lambda own, ids, real: own.words(ids).mean(dim=1), words=torch.nn.Embedding(5, 3))
    given = {"ids": torch.tensor([[1, 2]]), "real": torch.ones(1, 2, dtype=torch.long)}
    copy = deepcopy(tower)
    with torch.no_grad():
        copy.get_submodule("words").weight.add_(1.0)
    assert not torch.allclose(tower.of_pieces(given)[0], copy.of_pieces(given)[0])
