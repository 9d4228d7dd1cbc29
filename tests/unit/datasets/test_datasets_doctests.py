"""The examples in the docstrings of this room and of ``core`` are true, and importing it loads no heavy package."""

import doctest
import importlib
import pkgutil
import subprocess
import sys

import pytest

import solfa.core
import solfa.datasets

MODULES = [m.name for room in (solfa.core, solfa.datasets)
           for m in pkgutil.walk_packages(room.__path__, f"{room.__name__}.")]  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_importing_the_room_loads_no_heavy_package() -> None:
    code = "import sys\n" + "\n".join(f"import {m}" for m in MODULES)
    code += "\nprint([m for m in ('torch', 'pyarrow', 'mirdata', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
