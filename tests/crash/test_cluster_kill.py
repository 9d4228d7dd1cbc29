"""benchmarks/cluster_kill.py: three raylets, real processes, real SIGKILL."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "cluster_kill.py"


@pytest.mark.slow
def test_thirty_kills_of_workers_actors_nodes_and_drivers_lose_nothing() -> None:
    run = subprocess.run([sys.executable, str(SCRIPT), "--kills", "30", "--files", "300", "--delay-s", "0.5"],
                         capture_output=True, text=True, check=False, timeout=900)  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.startswith("30 kills") and run.stdout.strip().endswith("0 wrong []")
