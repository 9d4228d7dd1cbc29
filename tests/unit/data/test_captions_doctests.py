"""The examples in the docstrings of the caption pipeline are true."""

import doctest
import importlib
import pkgutil

import pytest

import solfa.data.captions

MODULES = [m.name for m in pkgutil.walk_packages(solfa.data.captions.__path__, "solfa.data.captions.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
