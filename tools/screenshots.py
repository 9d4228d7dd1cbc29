"""Takes the pictures of docs/serve.md: the page in Chromium on a running server.

    solfa demo                                   # fetches the music; or any folder of your own
    solfa serve FOLDER --collection COLLECTION & # wait until it has indexed
    python tools/screenshots.py http://127.0.0.1:4333 [--out docs/plots] [--chromium /usr/bin/chromium]

Needs playwright (pip) and a Chromium (apt-get install chromium); the text is set in Inter where it is installed.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

QUERY = "#/?q=mid-tempo electronic, synthesizer, no vocals, minor key"
WIDE, PHONE = {"width": 1440, "height": 900}, {"width": 360, "height": 740}

SHOTS = (("search", WIDE, "light"), ("search-dark", WIDE, "dark"), ("track", WIDE, "light"), ("map", WIDE, "dark"),
         ("phone", PHONE, "light"))  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="address of the server")
    parser.add_argument("--out", type=Path, default=Path("docs/plots"))
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    options = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=options.chromium, args=["--autoplay-policy=no-user-gesture-required", "--mute-audio"]
        )
        for name, viewport, scheme in SHOTS:
            page = browser.new_context(viewport=viewport, color_scheme=scheme, base_url=options.url).new_page()
            TAKEN.get(name, found)(page)
            page.wait_for_load_state("networkidle")  # waveforms
            page.wait_for_timeout(500)
            page.screenshot(path=options.out / f"serve-{name}.png")
            page.context.close()


def found(page: Any) -> None:
    page.goto(f"/{QUERY}")
    page.locator(".hit .facts", has_text=re.compile("BPM|major|minor")).first.wait_for()


def playing(page: Any) -> None:
    found(page)
    page.locator(".hit .main").nth(1).click()
    page.locator("#player .time").wait_for()


def track(page: Any) -> None:
    found(page)
    page.locator(".hit h3 a").first.click()
    page.locator(".sections button").first.wait_for()


def plane(page: Any) -> None:
    page.goto("/#/map")
    page.locator("canvas").press("ArrowRight")
    page.locator(".card a").wait_for()


TAKEN = {"search-dark": playing, "track": track, "map": plane}

if __name__ == "__main__":
    main()
