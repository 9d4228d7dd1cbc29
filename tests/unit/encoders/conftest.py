"""Tiny networks of the real architectures, made here, saved and loaded like real ones."""

import pytest


@pytest.fixture(scope="session")
def bpe_folder(tmp_path_factory):
    """A folder with a byte-level tokenizer of RoBERTa's kind."""
    pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(["a warm piano and a loud guitar over slow drums"], trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    folder = tmp_path_factory.mktemp("bpe")
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    ).save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    """No test reads or writes the user's models and notes."""
    monkeypatch.setenv("SOLFA_HOME", str(tmp_path / "home"))


@pytest.fixture
def stripes_count():
    """See that stripes of a tuned body change its states, and that it has none in use."""

    def check(body, sound):
        torch = pytest.importorskip("torch")
        from solfa.encoders.windowed import FREQUENCY, TIME

        before = body.states([sound]).states_BTD
        given = body.prepare([sound])
        for axis in (TIME, FREQUENCY):
            with torch.no_grad():
                _, none, _ = body.network(given | {"stripes": torch.tensor([[[axis, 0, 0.4]]])})
                _, some, mask = body.network(given | {"stripes": torch.tensor([[[axis, 7, 0.4]]])})
            assert mask.any() and torch.isfinite(some).all() and (none - some).abs().max() > 1e-6
            assert abs(none.numpy() - before).max() < 1e-5
        assert len(body.network.striped) == 1 and (body.states([sound]).states_BTD == before).all()

    return check


@pytest.fixture
def rebuild(tmp_path):
    """Writes a body as a model's folder has one that was tuned, and loads it from there alone."""

    def make(body, kind="audio", **options):
        from solfa.encoders.registry import load_backbone
        from solfa.encoders.trained import fill_tuned
        from solfa.training.model_file import save_tuned

        torch = pytest.importorskip("torch")
        with torch.no_grad():
            for parameter in body.network.parameters():
                parameter.mul_(1.01)
        folder = tmp_path / f"{body.spec.name}_body"
        said = save_tuned(body, folder)
        name = f"{body.spec.name}:{folder / said['file']}"
        other = load_backbone(name, kind, allow_noncommercial=True, **options)
        assert other.spec.space == body.spec.space
        fill_tuned(other, folder)
        return other

    return make
