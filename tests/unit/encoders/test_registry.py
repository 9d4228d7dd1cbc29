"""Models by name: built-in and third-party ones through one door, licences and dead weights stopped at it."""

import sys
from dataclasses import replace
from importlib.metadata import EntryPoint, EntryPoints
from types import ModuleType

import pytest

from fakes.tiny import tiny_model
from solfa.core import registry as core_registry
from solfa.core.errors import InputError, UnknownName, WeightsError
from solfa.core.registry import ModelEntry
from solfa.core.types import ModelInfo
from solfa.encoders import registry
from solfa.encoders.registry import available, load_model

INFO = ModelInfo(
    name="toy", kind="joint model", licence="MIT", commercial_use=True, source="a test", description="a toy"
)


@pytest.fixture
def toy(monkeypatch):
    """An installed package ``toy_package`` whose entry point ``toy`` names ``ENTRY``; gives the module."""
    module = ModuleType("toy_package")
    module.seen = []

    def load(*, device="cpu", source=None):
        module.seen.append((device, source))
        return replace(tiny_model(), name="toy")

    module.load = load
    module.ENTRY = ModelEntry(info=INFO, loader="toy_package:load")
    monkeypatch.setitem(sys.modules, "toy_package", module)
    install(monkeypatch, EntryPoint("toy", "toy_package:ENTRY", core_registry.GROUP))
    return module


def install(monkeypatch, *points):
    monkeypatch.setattr(core_registry, "entry_points", lambda group: EntryPoints(points).select(group=group))


def test_the_built_in_models_come_first():
    names = [info.name for info in available()]
    assert names[:3] == ["solfa-1", "bridge", "clap"]
    assert {info.name: info.commercial_use for info in available()}["muq-mulan"] is False


def test_listing_imports_no_torch_and_no_model(monkeypatch):
    before = set(sys.modules)
    available()
    assert not {
        m for m in set(sys.modules) - before if m.startswith(("torch", "transformers", "solfa.encoders.published.clap"))
    }


def test_a_third_party_model_is_loaded_through_its_entry_point(toy):
    assert available()[-1] == INFO
    assert load_model("toy", device="cuda:1").name == "toy"
    assert load_model("toy:/some/place.pt").name == "toy"
    assert toy.seen == [("cuda:1", None), ("cpu", "/some/place.pt")]


def test_an_unknown_name_lists_what_there_is(toy):
    with pytest.raises(
        UnknownName, match=r"'clapp'.*Did you mean 'clap'.*bridge, clamp3, clap, m2d-clap, muq-mulan, solfa-1, toy"
    ):
        load_model("clapp")


def test_an_option_that_a_loader_does_not_take_is_refused(toy):
    with pytest.raises(InputError, match=r"takes no option depth\. It takes: device, source"):
        load_model("toy", depth=3)


def test_noncommercial_weights_must_be_allowed(toy):
    toy.ENTRY = ModelEntry(info=replace(INFO, licence="CC-BY-NC-4.0", commercial_use=False), loader="toy_package:load")
    with pytest.raises(InputError, match=r"CC-BY-NC-4\.0.*--allow-noncommercial"):
        load_model("toy")
    assert toy.seen == []
    assert load_model("toy", allow_noncommercial=True).name == "toy"


def test_muq_mulan_is_refused_before_anything_is_loaded():
    with pytest.raises(InputError, match="non-commercial"):
        load_model("muq-mulan")


def test_dead_weights_do_not_pass_the_door(toy, monkeypatch):
    def refuse(model):
        raise WeightsError(f"{model.name} is dead")

    monkeypatch.setattr(registry, "check_once", refuse)
    with pytest.raises(WeightsError, match="toy is dead"):
        load_model("toy")


def test_two_models_of_one_name_are_refused(toy, monkeypatch):
    toy.ENTRY = replace(toy.ENTRY, info=replace(INFO, name="clap"))
    install(monkeypatch, EntryPoint("clap", "toy_package:ENTRY", core_registry.GROUP))
    with pytest.raises(InputError, match="two packages offer the model 'clap'"):
        available()


def test_an_entry_point_of_another_kind_is_refused(toy):
    toy.ENTRY = object()
    with pytest.raises(WeightsError, match="not a solfa ModelEntry"):
        available()


def test_a_broken_package_is_named_and_stops_no_other_model(toy, monkeypatch):
    install(monkeypatch, EntryPoint("broken", "no_such_module:ENTRY", core_registry.GROUP))
    with pytest.raises(WeightsError, match=r"'broken'.*no_such_module"):
        available()
    with pytest.raises(InputError, match="non-commercial"):
        load_model("muq-mulan")
