"""Schedule, guidance, samplers, inversion: identities, and the same answers as the scheduler of diffusers."""

from dataclasses import replace

import numpy as np
import pytest

from solfa.core.errors import InputError
from solfa.diffusion.guidance import DenoiserSpec, guided
from solfa.diffusion.inversion import edit, fit_length, invert
from solfa.diffusion.samplers import sample, solve
from solfa.diffusion.schedule import Schedule

SCHEDULE = Schedule()
T, D, E = 8, 6, 4
RNG = np.random.default_rng(0)
POS, NEG = RNG.standard_normal((3, E)).astype(np.float32), RNG.standard_normal((2, E)).astype(np.float32)
SPEC = DenoiserSpec(
    space="fake/1", audio="fake", text="fake", text_space="words", length=T, dim=D, text_dim=E, hop_s=1.0,
    mean_D=np.full(D, 0.5, np.float32), scale=2.0, null_LE=np.zeros((1, E), np.float32),
)  # fmt: skip


class Gaussian:
    """The exact denoiser of latents that are normal around a mean that the text names; ``spread`` 0 is constant."""

    def __init__(self, spread: float = 0.5, kind: str = "sample", spec: DenoiserSpec = SPEC) -> None:
        self.spread, self.spec, self.calls = spread, replace(spec, prediction=kind), 0

    def __call__(self, z_BTD, t_B, text_BLE, mask_BL):
        self.calls += 1
        count = np.maximum(mask_BL.sum(axis=1), 1)[:, None]
        mean = np.tile(((text_BLE * mask_BL[..., None]).sum(axis=1) / count)[:, None, :2], D // 2)
        signal, noise = SCHEDULE.scales(t_B, z_BTD)
        gain = signal * self.spread**2 / (signal**2 * self.spread**2 + noise**2)
        x0 = mean + gain * (z_BTD - signal * mean)
        return SCHEDULE.target(self.spec.prediction, x0, (z_BTD - signal * x0) / noise, t_B).astype(z_BTD.dtype)


def test_schedule():
    assert (np.diff(SCHEDULE.abar) < 0).all() and 0 < SCHEDULE.abar[-1] < 2e-4 and SCHEDULE.abar[0] > 0.998
    z0, eps = RNG.standard_normal((2, 2000, 3, 2))
    for t in (0, 500, 999):
        assert SCHEDULE.add_noise(z0, eps, t).var() == pytest.approx(1, abs=0.05)
    t_B = RNG.integers(0, 1000, 2000)
    np.testing.assert_allclose(SCHEDULE.add_noise(z0, eps, t_B)[7], SCHEDULE.add_noise(z0[7], eps[7], int(t_B[7])))
    for bad in ({"beta_start": 0.0}, {"beta_end": 1.0}, {"beta_start": 0.5, "beta_end": 0.1}, {"num_levels": 1}):
        with pytest.raises(InputError, match="beta_start"):
            Schedule(**bad)
    for steps in (0, 1001):
        with pytest.raises(InputError, match="expected 1 to 1000"):
            SCHEDULE.levels(steps)
    for steps in (1, 7, 333, 1000):
        levels = SCHEDULE.levels(steps)
        assert len(set(levels)) == steps and min(levels) >= 0 and max(levels) < 1000


@pytest.mark.parametrize("kind", ["sample", "epsilon", "v"])
def test_predictions_convert(kind):
    z0, eps = RNG.standard_normal((2, 5, T, D))
    t = np.array([0, 1, 400, 800, 999])
    z = SCHEDULE.add_noise(z0, eps, t)
    made = SCHEDULE.target(kind, z0, eps, t)
    np.testing.assert_allclose(SCHEDULE.to_x0(kind, made, z, t), z0, atol=1e-9)
    np.testing.assert_allclose(SCHEDULE.to_eps(kind, made, z, t), eps, atol=1e-9)


def test_torch_and_numpy_agree():
    torch = pytest.importorskip("torch")
    z0, eps = RNG.standard_normal((2, 4, T, D)).astype(np.float32)
    t = np.array([0, 10, 500, 999])
    z, z_torch = (
        SCHEDULE.add_noise(z0, eps, t),
        SCHEDULE.add_noise(torch.tensor(z0), torch.tensor(eps), torch.tensor(t)),
    )
    np.testing.assert_allclose(z, z_torch.numpy(), atol=1e-6)
    assert z.dtype == np.float32 and z_torch.dtype == torch.float32
    for solver in ("ddim", "dpm++"):
        made = solve(lambda z, t: 0.5 * z, z0, 6, SCHEDULE, "sample", solver)
        other = solve(lambda z, t: 0.5 * z, torch.tensor(z0), 6, SCHEDULE, "sample", solver)
        np.testing.assert_allclose(made, other.numpy(), atol=1e-5)


@pytest.mark.parametrize("kind", ["sample", "epsilon", "v"])
def test_ddim_is_that_of_diffusers(kind):
    torch, diffusers = pytest.importorskip("torch"), pytest.importorskip("diffusers")
    numbers = {"num_train_timesteps": 1000, "beta_start": 0.0015, "beta_end": 0.0195, "beta_schedule": "scaled_linear"}
    given = {**numbers, "clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1}
    kinds = {"sample": "sample", "epsilon": "epsilon", "v": "v_prediction"}
    theirs = diffusers.DDIMScheduler(**given, prediction_type=kinds[kind])
    network = Gaussian(kind=kind)
    tokens, mask = POS[None], np.ones((1, len(POS)), bool)

    def predict(z, t):
        return network(z, np.array([t]), tokens, mask)

    start = RNG.standard_normal((1, T, D))
    for steps in (5, 30, 50):
        theirs.set_timesteps(steps)
        assert theirs.timesteps.tolist() == SCHEDULE.levels(steps)
        z = torch.tensor(start)
        for t in theirs.timesteps:
            z = theirs.step(torch.tensor(predict(z.numpy(), int(t))), t, z).prev_sample
        np.testing.assert_allclose(solve(predict, start, steps, SCHEDULE, kind, "ddim"), z.numpy(), atol=1e-4)
    back = diffusers.DDIMInverseScheduler(**given, prediction_type=kinds[kind])
    back.set_timesteps(20)
    z = torch.tensor(start)
    for t in back.timesteps[:8]:
        z = back.step(torch.tensor(predict(z.numpy(), int(t))), t, z).prev_sample
    made = invert(network, (2 * start + 0.5), POS, steps=20, strength=0.4)
    np.testing.assert_allclose(made, z.numpy(), atol=1e-4)


@pytest.mark.parametrize("solver", ["ddim", "dpm++"])
@pytest.mark.parametrize("kind", ["sample", "epsilon", "v"])
def test_sampling_reaches_the_distribution(solver, kind):
    # The exact denoiser of a Gaussian: its mean and spread come out, and few steps of dpm++ do what many of DDIM do.
    network, mean = Gaussian(spread=0.3, kind=kind), POS.mean(axis=0)[:2]
    found = (sample(network, POS, scale=1, steps=50, samples=200, solver=solver) - 0.5) / 2
    np.testing.assert_allclose(found.mean(axis=(0, 1))[:2], mean, atol=0.03)
    assert found.std(axis=(0, 1)) == pytest.approx(0.3, abs=0.05)
    fine = sample(network, POS, scale=1, steps=1000, samples=4, solver="ddim")
    error = {n: np.abs(sample(network, POS, scale=1, steps=n, samples=4, solver=solver) - fine).max() for n in (5, 50)}
    assert error[50] < error[5] / 2 and error[50] < 0.25


def test_dpm_needs_fewer_steps_than_ddim():
    network = Gaussian(spread=0.3)
    fine = sample(network, POS, scale=1, steps=1000, samples=4, solver="ddim")
    ddim, dpm = (
        np.abs(sample(network, POS, scale=1, steps=10, samples=4, solver=s) - fine).max() for s in ("ddim", "dpm++")
    )
    assert dpm < ddim / 2


def test_guidance_identities():
    network, z = Gaussian(), RNG.standard_normal((2, T, D)).astype(np.float32)

    def f(text):
        return guided(network, text, scale=1)(z, 300)

    for scale in (0.0, 0.5, 3.0):
        np.testing.assert_allclose(
            guided(network, POS, NEG, scale)(z, 300), f(NEG) + scale * (f(POS) - f(NEG)), atol=1e-5
        )
        np.testing.assert_array_equal(
            guided(network, POS, SPEC.null_LE, scale)(z, 300), guided(network, POS, None, scale)(z, 300)
        )
        np.testing.assert_array_equal(guided(network, POS, POS, scale)(z, 300), f(POS))
    np.testing.assert_array_equal(guided(network, POS, NEG, 1)(z, 300), f(POS))
    np.testing.assert_array_equal(guided(network, POS, NEG, 0)(z, 300), f(NEG))
    calls = network.calls
    guided(network, POS, NEG, 3)(z, 300)
    assert network.calls == calls + 1  # both branches in one pass


def test_samples_are_their_seed():
    network = Gaussian()
    five, two = (sample(network, POS, samples=n, seed=3) for n in (5, 2))
    assert five.shape == (5, T, D) and five.dtype == np.float32
    np.testing.assert_array_equal(five[:2], two)
    assert np.abs(five[0] - five[1]).max() > 0.01
    assert np.abs(sample(network, POS, seed=4)[0] - five[0]).max() > 0.01
    baseline = Gaussian(spec=replace(SPEC, generates=False))
    sample(baseline, POS, scale=1)
    assert baseline.calls == 1


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"scale": -1}, "guidance"), ({"scale": 21}, "guidance"), ({"scale": float("nan")}, "guidance"),
        ({"steps": 0}, "steps"), ({"steps": 2000}, "steps"), ({"samples": 0}, "samples"), ({"seed": -1}, "seed"),
        ({"samples": 1000}, "samples"), ({"solver": "euler"}, "solver"),
        ({"negative": POS[:0]}, "token"), ({"negative": POS[:, 1:]}, "token"),
    ],
)  # fmt: skip
def test_bad_requests_are_named(given, says):
    with pytest.raises(InputError, match=says):
        sample(Gaussian(), POS, **given)


def test_inversion_leads_back():
    start = sample(Gaussian(), POS, samples=2)
    constant = edit(Gaussian(spread=0), start, POS, POS, scale=1, strength=1)
    # A denoiser that always says the same keeps the noise that it finds: exactly back, but for rounding.
    np.testing.assert_allclose(constant, start, atol=2e-4)
    network = Gaussian(spread=0.5)
    errors = [
        np.abs(edit(network, start, POS, POS, scale=1, steps=n, strength=0.5) - start).max() for n in (10, 40, 160)
    ]
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


def test_strength_is_how_far_an_edit_goes():
    network = Gaussian(spread=0.5)
    start, other = sample(network, POS, samples=2, scale=1), sample(network, NEG, samples=64, scale=1).mean(axis=(0, 1))
    found = [edit(network, start, POS, NEG, strength=s, scale=1) for s in (0.0, 0.3, 0.6, 1.0)]
    np.testing.assert_array_equal(found[0], start)
    moved = [float(np.linalg.norm(each - start)) for each in found]
    assert moved == sorted(moved) and moved[1] > 0
    left = [float(np.linalg.norm(each.mean(axis=(0, 1)) - other)) for each in found]
    assert left == sorted(left, reverse=True)
    for strength in (-0.1, 1.1, float("nan")):
        with pytest.raises(InputError, match="strength"):
            edit(network, start, POS, NEG, strength=strength)
    for bad in (start[0], start[:, :-1], np.full_like(start, np.nan)):
        with pytest.raises(InputError, match="latents of shape"):
            edit(network, bad, POS, NEG)
    with pytest.raises(InputError, match="regression baseline"):
        edit(Gaussian(spec=replace(SPEC, generates=False)), start, POS, NEG)


def test_latents_of_any_length():
    rows = np.arange(5, dtype=np.float32)[:, None]
    assert fit_length(rows, 12)[:, 0].tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]
    assert fit_length(rows, 3)[:, 0].tolist() == [0, 2, 4]
    with pytest.raises(InputError, match="too short"):
        fit_length(rows[:0], 3)
