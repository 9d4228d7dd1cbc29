"""The examples in the docstrings of the caption pipeline are true."""

import doctest
import importlib
import pkgutil

import pytest

import solfa.datagen.captions

MODULES = [m.name for m in pkgutil.walk_packages(solfa.datagen.captions.__path__, "solfa.datagen.captions.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
