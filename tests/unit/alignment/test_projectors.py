"""Projectors: published sizes, masks, configurations."""

from __future__ import annotations

from dataclasses import fields

import pytest

from solfa.core.errors import InputError

torch = pytest.importorskip("torch")
from solfa.alignment.joint import JointConfig, JointProjector, Tower, TowerConfig  # noqa: E402
from solfa.alignment.projectors import (  # noqa: E402
    BiGruConfig,
    MlpConfig,
    Projector,
    TransformerConfig,
    to_json,
)


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_published_numbers_of_parameters():
    tower = TowerConfig(whole=TransformerConfig(in_dim=1024), shared=True)
    with torch.device("meta"):
        assert count(JointProjector(JointConfig(audio=tower, text=tower))) == 22_060_032
        assert count(Projector(MlpConfig(in_dim=768))) == 1_837_056
        frames = TransformerConfig(in_dim=768, out_dim=None, feed_forward=4096, activation="relu")
        assert count(Projector(frames)) == 25_979_904


SMALL = [
    TransformerConfig(in_dim=6, width=8, num_heads=2, feed_forward=16, out_dim=4),
    TransformerConfig(in_dim=8, width=8, num_heads=2, feed_forward=16, out_dim=None, norm_first=True),
    TransformerConfig(in_dim=6, width=8, num_heads=2, feed_forward=16, out_dim=5, kept=2),
    MlpConfig(in_dim=6, hidden=8, out_dim=4),
    MlpConfig(in_dim=6, hidden=None, out_dim=4),
    BiGruConfig(in_dim=6, hidden=4),
]


@pytest.mark.parametrize("config", SMALL)
def test_padding_never_reaches_a_real_row(config):
    torch.manual_seed(0)
    projector = Projector(config).eval()
    assert set(to_json(config)) - {"kind"} <= {field.name for field in fields(config)}
    states = torch.randn(3, 7, config.in_dim)
    mask = torch.arange(7) < torch.tensor([7, 3, 0])[:, None]
    out = projector(states, mask)
    assert out.shape == (3, 7, projector.out_dim) and out.dtype == torch.float32
    lengths = out.norm(dim=-1)
    torch.testing.assert_close(lengths[mask], torch.ones(10))
    assert not out[~mask].any() and torch.isfinite(out).all()
    other = states.masked_fill(~mask[..., None], 9.0)
    torch.testing.assert_close(projector(other, mask), out, atol=1e-6, rtol=0)
    torch.testing.assert_close(projector(states[1:2, :3])[0], out[1, :3], atol=1e-6, rtol=0)


def test_a_layer_is_torchs_own():
    config = TransformerConfig(in_dim=8, width=8, num_heads=2, feed_forward=16, out_dim=None, activation="relu")
    ours = Projector(config).eval().body.layers[0]
    own = torch.nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True).eval()
    own.load_state_dict(
        {
            "self_attn.in_proj_weight": ours.qkv.weight,
            "self_attn.in_proj_bias": ours.qkv.bias,
            "self_attn.out_proj.weight": ours.out.weight,
            "self_attn.out_proj.bias": ours.out.bias,
            **{
                f"{theirs}.{kind}": getattr(getattr(ours, mine), kind)
                for mine, theirs in (
                    ("up", "linear1"),
                    ("down", "linear2"),
                    ("norm_attention", "norm1"),
                    ("norm_feed", "norm2"),
                )
                for kind in ("weight", "bias")
            },
        }
    )
    x = torch.randn(2, 5, 8, requires_grad=True)  # with a gradient, or torch takes its fast path
    torch.testing.assert_close(ours(x, None), own(x), atol=1e-6, rtol=0)


def test_configurations_that_cannot_be():
    with pytest.raises(InputError, match="heads"):
        Projector(TransformerConfig(in_dim=8, width=10, num_heads=4))
    gapped = torch.tensor([[True, False, True]])
    with pytest.raises(InputError, match="gaps"):
        Projector(BiGruConfig(in_dim=2, hidden=2))(torch.zeros(1, 3, 2), gapped)
    mlp, wide = MlpConfig(in_dim=3, out_dim=4), MlpConfig(in_dim=3, out_dim=5)
    with pytest.raises(InputError, match="dimensions"):
        JointProjector(JointConfig(audio=TowerConfig(whole=mlp, shared=True), text=TowerConfig(whole=wide)))
    with pytest.raises(InputError, match="view of frames"):
        JointProjector(JointConfig(audio=TowerConfig(whole=mlp), text=TowerConfig(whole=mlp)))
    config = JointConfig(audio=TowerConfig(whole=mlp, rows=SMALL[0]), text=TowerConfig(whole=mlp))
    assert config.to_json()["audio"]["shared"] is config.audio.shared


def test_by_row_the_pooled_vector_is_the_mean_of_rows_that_do_not_see_each_other():
    torch.manual_seed(0)
    layer = SMALL[2]
    by_row, apart = (TowerConfig(whole=layer, shared=True, by_row=flag) for flag in (True, False))
    model = JointProjector(JointConfig(audio=by_row, text=TowerConfig(whole=layer))).eval()
    states, mask = torch.randn(3, 7, 6), torch.arange(7) < torch.tensor([7, 3, 1])[:, None]
    rows = model.audio.rows(states, mask)
    torch.testing.assert_close(rows[0, 2:3], model.audio.rows(states[:1, 2:3], None)[0], atol=1e-6, rtol=0)
    assert not rows[~mask].any()
    pooled = model.audio.of_sound(torch.zeros(3, 6), states, mask)
    mean = torch.stack([row[own].mean(dim=0) for row, own in zip(rows, mask, strict=True)])
    torch.testing.assert_close(pooled, torch.nn.functional.normalize(mean, dim=-1))
    other = Tower(apart)
    other.load_state_dict(model.audio.state_dict())
    assert not torch.allclose(other.eval().rows(states[:1], None), rows[:1])  # attention over the sequence
    torch.testing.assert_close(other.of_sound(states[:, 0], states, mask), other.pooled(states[:, 0]))
    assert model.config.to_json()["audio"]["by_row"] and "by_row" not in model.config.to_json()["text"]
    with pytest.raises(InputError, match="shared=True"):
        Tower(TowerConfig(whole=layer, by_row=True))
    with pytest.raises(InputError, match="audio tower"):
        JointProjector(JointConfig(audio=by_row, text=by_row))


def test_what_is_kept_of_a_state_is_in_its_vector_at_a_learnt_length():
    torch.manual_seed(0)
    projector = Projector(TransformerConfig(in_dim=6, width=8, num_heads=2, feed_forward=16, out_dim=5, kept=2)).eval()
    states = torch.randn(4, 1, 6)
    states[3, :, :2] = 0
    out = projector(states)
    share = projector.share.detach().sigmoid()
    torch.testing.assert_close(out[:3, :, :2], share.sqrt() * torch.nn.functional.normalize(states[:3, :, :2], dim=-1))
    assert not out[3, 0, :2].any() and torch.isclose(out[3].norm(), torch.tensor(1.0))  # the rest is all of it
    out[:3].pow(2)[..., :2].sum().backward()
    assert projector.share.grad is not None and projector.share.grad > 0
    with pytest.raises(InputError, match="kept"):
        Projector(TransformerConfig(in_dim=6, width=8, num_heads=2, out_dim=5, kept=5))
    assert "kept" not in to_json(TransformerConfig(in_dim=6))


def test_with_a_gate_the_length_of_what_is_kept_depends_on_the_state():
    torch.manual_seed(0)
    sizes = {"in_dim": 6, "width": 8, "num_heads": 2, "feed_forward": 16, "out_dim": 5, "kept": 2}
    projector = Projector(TransformerConfig(**sizes, gated=True)).eval()
    states = torch.randn(4, 1, 6)

    def shares() -> torch.Tensor:
        return projector(states)[..., :2].pow(2).sum(dim=-1)

    torch.testing.assert_close(shares(), projector.share.sigmoid().expand(4, 1))  # at first all are alike
    shares()[0].sum().backward()
    assert projector.gate is not None and projector.gate.weight.grad.abs().sum() > 0
    with torch.no_grad():
        projector.gate.weight[0, 5] = 3.0
    order = shares().squeeze().argsort()
    assert torch.equal(order, states[:, 0, 5].argsort())
    assert "gated" not in to_json(TransformerConfig(in_dim=6))
