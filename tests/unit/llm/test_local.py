"""A model on this machine: llama.cpp runs a llama of two random layers, whose answers only a schema makes sense of."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from solfa.core.errors import InputError, MissingExtra, MissingWeights, UnknownName, WeightsError
from solfa.llm import Budget, Endpoint, ModelClient, local
from solfa.weights.manifest import manifest

HI = [{"role": "user", "content": "hi"}]
SCHEMA = {"type": "object", "properties": {"mood": {"enum": ["sad", "happy"]}}, "required": ["mood"],
          "additionalProperties": False}  # fmt: skip


def tiny(path: Path) -> Path:
    """A GGUF file whose vocabulary is the bytes."""
    width, hidden, rng = 32, 64, np.random.default_rng(0)
    tokens = [b"<unk>", b"<s>", b"</s>", *(b"<0x%02X>" % i for i in range(256))]
    kinds = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL, *[gguf.TokenType.BYTE] * 256]
    file = gguf.GGUFWriter(path, "llama")
    file.add_context_length(8192)
    file.add_embedding_length(width)
    file.add_block_count(2)
    file.add_feed_forward_length(hidden)
    file.add_head_count(2)
    file.add_head_count_kv(2)
    file.add_rope_dimension_count(width // 2)
    file.add_layer_norm_rms_eps(1e-5)
    file.add_vocab_size(len(tokens))
    file.add_tokenizer_model("llama")
    file.add_token_list(tokens)
    file.add_token_scores([0.0] * len(tokens))
    file.add_token_types(kinds)
    file.add_bos_token_id(1)
    file.add_eos_token_id(2)
    file.add_chat_template("{% for m in messages %}{{ m['content'] }}{% endfor %}: ")
    shapes = {"token_embd": (len(tokens), width), "output": (len(tokens), width)}
    for i in range(2):
        shapes |= {f"blk.{i}.attn_{n}": (width, width) for n in ("q", "k", "v", "output")}
        shapes |= {f"blk.{i}.ffn_gate": (hidden, width), f"blk.{i}.ffn_up": (hidden, width),
                   f"blk.{i}.ffn_down": (width, hidden)}  # fmt: skip
        for norm in ("attn_norm", "ffn_norm"):
            file.add_tensor(f"blk.{i}.{norm}.weight", np.ones(width, np.float32))
    file.add_tensor("output_norm.weight", np.ones(width, np.float32))
    for name, shape in shapes.items():
        file.add_tensor(f"{name}.weight", (rng.normal(size=shape) * 0.1).astype(np.float32))
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()
    return path


def client(model: Path | str, folder: Path, **limits: int) -> ModelClient:
    endpoint = Endpoint(url="local", model=str(model), most_tokens=100, first_wait_s=0.01)
    return ModelClient(endpoint, folder / "answers", Budget(**limits))


def test_a_model_on_this_machine_answers_as_an_endpoint_does(tmp_path: Path) -> None:
    model = tiny(tmp_path / "tiny.gguf")
    asked = client(model, tmp_path)
    answer = asked.ask(HI, SCHEMA)
    assert answer is not None and answer["mood"] in ("sad", "happy")
    assert asked.usage.requests == 1 and asked.usage.prompt_tokens > 0 and asked.usage.uncounted == 0
    again = client(model, tmp_path)
    assert again.ask(HI, SCHEMA) == answer and (again.usage.requests, again.usage.kept) == (0, 1)
    with pytest.raises(InputError, match="context"):
        asked.text([{"role": "user", "content": "long " * 4000}])


def test_another_file_at_the_same_place_is_another_model(tmp_path: Path) -> None:
    model = tiny(tmp_path / "tiny.gguf")
    client(model, tmp_path).text(HI)
    local.model_file.cache_clear()
    model.write_bytes(model.read_bytes()[:-4] + b"\0\0\0\1")
    other = client(model, tmp_path)
    other.text(HI)
    assert other.usage.kept == 0


def test_what_cannot_be_run_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOLFA_HOME", str(tmp_path / "home"))
    (bad := tmp_path / "bad.gguf").write_bytes(b"GGUF but no more")
    faults = {
        bad: WeightsError,
        tmp_path / "none.gguf": InputError,
        "clap": UnknownName,
        "smollm2-135m": MissingWeights,
    }
    for model, error in faults.items():
        with pytest.raises(error):
            client(model, tmp_path).text(HI)
    monkeypatch.setattr(local, "need", lambda *a: (_ for _ in ()).throw(MissingExtra("a model", "pip install")))
    with pytest.raises(MissingExtra):
        client(bad, tmp_path).text(HI)


def test_the_languages_models_of_the_manifest_are_pinned() -> None:
    entries: list[Any] = [entry for entry in manifest().values() if entry.kind == local.KIND]
    assert entries and all(len(entry.sha256) == 64 and entry.pypi is not None for entry in entries)
