"""The interface against its own description: schemathesis asks what OpenAPI allows, and what it does not."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from given_server import HereSandbox
from hypothesis import HealthCheck, given, settings

from solfa.serve.app import create_app
from solfa.serve.engine import ServeSettings
from solfa.serve.security import Access

# Words have a grammar that OpenAPI cannot describe, and bytes may be no sound: 400 and 415 answer what fits the schema.
CONFIG = schemathesis.Config.from_dict({"checks": {"positive_data_acceptance": {
    "expected-statuses": ["2xx", "304", "400", "404", "409", "415"]}}})  # fmt: skip
PATHS = create_app(ServeSettings(collection=Path("nowhere")), Access({})).openapi()["paths"]
OPERATIONS = [(path, method) for path, methods in PATHS.items() for method in methods]


@pytest.fixture
def description(own: ServeSettings) -> Iterator[Any]:
    """What an application says of itself, over a collection that may be changed."""
    app = create_app(ServeSettings(**{**own.__dict__, "names": ("testserver",)}), Access({}))
    engine = app.state.engine
    engine.start()
    engine._run.join()
    engine._sandbox = HereSandbox()
    yield schemathesis.openapi.from_asgi("/api/v1/openapi.json", app, config=CONFIG)
    engine.stop()


@pytest.mark.slow
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_the_interface_does_what_it_says(description: Any, path: str, method: str) -> None:
    takes_something = "parameters" in PATHS[path][method] or path.endswith(("playlists", "feedback", "index"))
    for mode in schemathesis.GenerationMode if takes_something else [schemathesis.GenerationMode.POSITIVE]:

        @settings(max_examples=40, deadline=None, derandomize=True, database=None, suppress_health_check=[*HealthCheck])
        @given(case=description[path][method].as_strategy(generation_mode=mode))
        def asked(case: schemathesis.Case) -> None:
            case.call_and_validate()

        asked()
