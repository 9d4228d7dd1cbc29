"""SpecAugment of tuned bodies: drawn with the batch, bounded, the same in chunks and after a resume, off in use."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small import BANK, RATE, Read
from test_trainer import curve
from tiny_recipes import tiny, torch

from solfa.core.errors import InputError
from solfa.core.types import Audio, EncoderSpec
from solfa.datasets.shards import Dataset
from solfa.encoders import windowed as masks
from solfa.encoders.windowed import Grid, WindowedBackbone
from solfa.training.batches import prepare
from solfa.training.trainer import Trainer


class Spectral(torch.nn.Module):
    """A linear map of the frames of a spectrogram of 16 bands, 40 frames a second; shows what it saw."""

    def __init__(self):
        super().__init__()
        self.stripes, self.map = masks.Stripes(time=1, frequency=2), torch.nn.Linear(16, 16)
        self.seen = []

    def forward(self, windows, lengths):
        power = torch.fft.rfft(windows.unflatten(1, (-1, 100))).abs()[..., 1:49].unflatten(-1, (16, 3)).sum(-1)
        striped = self.stripes(torch.log(power + 1e-3) + 2)
        self.seen.append((striped == 0).detach())
        return None, self.map(striped)


@pytest.fixture
def data(folder, tmp_path):
    def make():
        torch.manual_seed(0)
        file = tmp_path / "model.safetensors"
        file.touch()
        spec = EncoderSpec(name="spectral", space="spectral/1", dim=16, licence="CC0", commercial_use=True,
                           sample_rate_hz=RATE, hop_s=0.025)  # fmt: skip
        grid = Grid(sample_rate_hz=RATE, window_s=1.0, step_s=1.0, hop_s=0.025)
        body = WindowedBackbone(Spectral(), spec, torch.device("cpu"), grid, file)
        given = {"audio": body, "text": Read()}
        return prepare(Dataset.open(folder), tmp_path / "features", tune=("audio",), bank=BANK, phrases=True, **given)

    return make


def recipe(given, **changes):
    values = {"crop_s": 1.0, "tune": ("audio",), "time_masks": 2, "mel_masks": 2, "time_mask_frames": 9}
    return tiny("figma", given, **{**values, "mel_mask_bands": 4, **changes})


def test_stripes_are_bounded_and_anywhere():
    drawn = masks.draw(300, (2, 1), (9, 4), np.random.default_rng(0))
    assert drawn.shape == (300, 3, 3) and (drawn[:, :, 0] == [0, 0, 1]).all()
    assert set(np.unique(drawn[:, :2, 1])) == set(range(9)) and set(np.unique(drawn[:, 2, 1])) == set(range(4))
    module = masks.Stripes(time=2, frequency=1)
    assert (module(torch.ones(300, 16, 40, 1)) == 1).all()
    module.stripes_WM3 = torch.from_numpy(drawn)
    gone = (module(torch.ones(300, 16, 40, 1)) == 0)[..., 0]
    frames, bands = gone.all(dim=1).sum(1), gone.all(dim=2).sum(1)
    assert frames.max() <= 16 and frames.min() == 0 and bands.max() <= 3  # two of 8 at most, one of 3
    assert (gone == (gone.all(dim=1)[:, None] | gone.all(dim=2)[..., None])).all()  # nothing but stripes
    assert gone.any(dim=(0, 1)).all() and gone.any(dim=(0, 2)).all()  # everywhere, ends too
    assert not (module(torch.ones(300, 2, 3, 1)) == 0).all(dim=(1, 2)).all()  # short sound keeps something


def test_a_run_masks_its_steps_alone_and_resumes_to_the_bit(data, tmp_path):
    given = data()
    trainer = Trainer(recipe(given, chunk_size=8, dropout=0.0), given, tmp_path / "run")
    seen = trainer.tuned["audio"].network.body.seen
    batch = next(iter(trainer.loader))
    seen.clear()
    trainer.step(batch)
    first, again = torch.cat(seen[:16]), torch.cat(seen[16:])  # window by window, then with gradients in two chunks
    assert len(seen) == 18 and torch.equal(first, again) and first.any()
    assert len({mask.numpy().tobytes() for mask in first}) > 8  # each clip has its own
    seen.clear()
    sound = Audio(batch.sounds[0].samples, RATE)
    states = trainer.tuned["audio"].states([sound])
    assert not seen[0].any() and np.array_equal(states.states_BTD, trainer.tuned["audio"].states([sound]).states_BTD)

    settings = recipe(given, checkpoint_every=2, epochs=1)
    Trainer(settings, given, tmp_path / "whole").run()

    class Stop(Exception):
        pass

    def stop(progress):
        if progress.step == 3:
            raise Stop

    with pytest.raises(Stop):
        Trainer(settings, data(), tmp_path / "again").run(report=stop)
    Trainer(settings, data(), tmp_path / "again").run(resume=True)
    assert curve(tmp_path / "again") == curve(tmp_path / "whole")
    plain = replace(settings, time_masks=0, mel_masks=0)
    Trainer(plain, data(), tmp_path / "plain").run()
    assert curve(tmp_path / "plain")[0]["loss"] != curve(tmp_path / "whole")[0]["loss"]


def test_masks_without_a_tuned_spectrogram_are_refused(data, tmp_path):
    given = data()
    given.tuned["audio"].network.body.stripes = torch.nn.Identity()
    with pytest.raises(InputError, match="for a tuned audio backbone of spectrograms"):
        Trainer(recipe(given), given, tmp_path / "run")
