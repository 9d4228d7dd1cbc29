"""The page in Chromium, on a server as a user starts it, over songs whose truth is known and whose tags are hostile."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fakes.files import write_audio
from fakes.synth import song

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ATTACK = "<img src=x onerror=\"document.title='taken over'\">"
SONGS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "loop.flac": ({"chords": "A:min F:maj C:maj G:maj", "tempo_bpm": 120.0, "bars": 14},
                  {"title": "Loop in A minor", "artist": "Ann <b>Bold</b>"}),
    "waltz.flac": ({"chords": "D:maj G:maj A:7 D:maj", "tempo_bpm": 90.0, "beats_per_bar": 3, "bars": 14},
                   {"title": f"Waltz {ATTACK}", "artist": ATTACK, "album": f"</script>{ATTACK}"}),
    "fast.flac": ({"chords": "E:min C:maj G:maj D:maj", "tempo_bpm": 150.0, "bars": 16}, {"title": "Fast one"}),
    "slow.flac": ({"chords": "C:maj G:maj A:min F:maj", "tempo_bpm": 80.0, "bars": 10}, {}),
}  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)


@dataclass
class Site:
    """A running server: its address, the folder that it serves, and what tags of a song hold that would be harmful."""

    url: str
    folder: Path
    attack: str = ATTACK


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """Starts ``solfa serve`` with arguments and variables, and gives its address."""
    running = []

    def start(*arguments: str | Path, **variables: str) -> str:
        home = tmp_path_factory.mktemp("home")
        command = [sys.executable, "-m", "solfa", "serve", *map(str, arguments), "--port", "0"]
        log = home / "log"  # no pipe: nobody would read on
        with log.open("w") as out:
            server = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, cwd=home,
                                      env={**os.environ, "HF_HUB_OFFLINE": "1", **variables})  # fmt: skip
        running.append(server)
        while server.poll() is None:
            if found := re.search(r"serving on (http\S+?)/?[\s;]", log.read_text()):
                return found[1]
            time.sleep(0.1)
        raise AssertionError(f"the server ended: {log.read_text()}")

    yield start
    for server in running:
        server.terminate()
        server.wait(timeout=30)


@pytest.fixture(scope="session")
def site(serve: Callable[..., str], needs_models: None, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A server over the songs, all of them indexed."""
    import mutagen

    pytest.importorskip("fastapi", reason="pip install 'solfa[serve]'")
    folder = tmp_path_factory.mktemp("songs")
    collection = tmp_path_factory.mktemp("kept") / "collection"
    for name, (options, tags) in SONGS.items():
        made = song(seed=1, **options)
        write_audio(folder / name, made.audio.samples, made.audio.sample_rate_hz)
        file = mutagen.File(folder / name)
        file.update(tags)
        file.save()
    (folder / "<img src=x onerror=alert(1)>.mp3").write_bytes(b"this is not music")
    index = [sys.executable, "-m", "solfa", "index", str(folder), "--collection", str(collection), "--workers", "1"]
    assert subprocess.run(index, capture_output=True, check=False).returncode == 3
    return Site(serve(folder, "--collection", collection), folder)


@pytest.fixture(scope="module")  # its event loop would be in the way of later tests
def browser() -> Iterator[Any]:
    """Chromium of the system."""
    if CHROMIUM is None:
        pytest.skip("no Chromium: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    sound = ["--autoplay-policy=no-user-gesture-required", "--mute-audio"]
    with (
        playwright.sync_playwright() as running,
        running.chromium.launch(executable_path=CHROMIUM, args=sound) as found,
    ):
        yield found


def is_fault(line: Any) -> bool:
    """Whether a line of the console says more than that the server answered with an error."""
    return line.type in ("error", "warning") and not line.text.startswith("Failed to load resource")


@pytest.fixture
def page(browser: Any, site: Site, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A page of a new visitor; fails if the console has said anything, as it does of scripts that the policy stops.

    Parameters are options of the context, such as ``{"color_scheme": "dark"}``.
    """
    options = {"viewport": {"width": 1280, "height": 900}, "base_url": site.url, **getattr(request, "param", {})}
    context = browser.new_context(**options)
    made, said = context.new_page(), []
    made.set_default_timeout(20_000)
    made.on("console", lambda line: said.append(line.text) if is_fault(line) else None)
    made.on("pageerror", lambda error: said.append(str(error)))
    yield made
    context.close()
    assert said == []
