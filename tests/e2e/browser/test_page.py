"""What a person does on the page, in Chromium: with a mouse, by keys alone, on a phone; and that nothing is run."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote

import pytest

PHONE = {"viewport": {"width": 360, "height": 720}, "has_touch": True, "is_mobile": True}
DARK = {"color_scheme": "dark"}


def find(page: Any, text: str) -> Any:
    """Search for a text; returns the hits."""
    page.goto(f"/#/?q={quote(text)}")
    return hits(page)


def hits(page: Any) -> Any:
    """The hits, once the search that is running has been answered."""
    page.locator(".search:not([aria-busy])").wait_for(state="attached")
    page.locator(".hit, .trouble:not([hidden])").first.wait_for()
    return page.locator(".search .hit")


def asked(page: Any) -> dict[str, list[str]]:
    """What the address says is asked."""
    return parse_qs(page.evaluate("location.hash").partition("?")[2])


def seconds(clock: str) -> int:
    minutes, rest = clock.split(":")
    return 60 * int(minutes) + int(rest)


def playing_s(page: Any) -> int:
    return seconds(page.locator("#player .time").inner_text().partition(" ")[0])


def drag(page: Any, what: Any, start: float, end: float) -> None:
    """Drag over an element, between shares of its width."""
    what.scroll_into_view_if_needed()
    box = what.bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + start * box["width"], y)
    page.mouse.down()
    page.mouse.move(box["x"] + end * box["width"], y, steps=5)
    page.mouse.up()


# --- searching --------------------------------------------------------------------------------------------------------


def test_a_text_that_is_typed_finds_the_track_and_says_why(page: Any) -> None:
    page.goto("/")
    assert page.locator("h1").inner_text() == "Find music in words."
    page.get_by_role("textbox", name="Describe the music").fill("fast, around 150 bpm, E minor")
    page.get_by_role("button", name="Search", exact=True).click()
    first = hits(page).first
    assert first.locator("h3").inner_text() == "Fast one"
    told = first.locator(".evidence").inner_text()
    assert re.search(r"1(49|50)\.\d BPM\s+\d+\s%", told)
    assert "Fast one" in page.locator("#say").inner_text()
    assert asked(page) == {"q": ["fast, around 150 bpm, E minor"]}


def test_the_address_of_a_search_can_be_shared_and_back_goes_back(page: Any) -> None:
    find(page, "waltz in 3/4")
    find(page, "150 bpm")
    page.go_back()
    assert page.get_by_role("textbox", name="Describe the music").input_value() == "waltz in 3/4"
    assert hits(page).first.locator("h3").inner_text().startswith("Waltz")


def test_what_is_typed_takes_one_place_in_the_history(page: Any) -> None:
    page.goto("/")
    box = page.get_by_role("textbox", name="Describe the music")
    for text in ("waltz in 3/4", "around 150 bpm"):
        box.press("Control+A")
        box.press_sequentially(text, delay=60)
        typed = text[-5:].replace(" ", r"\+").replace("/", "%2F")
        page.wait_for_url(re.compile(f"{typed}$"))  # searched while it is typed
        box.press("Enter")
        hits(page)
    page.go_back()
    assert box.input_value() == "waltz in 3/4"
    page.go_back()
    assert box.input_value() == "" and page.locator(".hello").is_visible()


def test_a_sound_file_is_an_example(page: Any, site: Any) -> None:
    page.goto("/")
    page.locator("input[type=file]").set_input_files(site.folder / "fast.flac")
    page.locator(".chip", has_text="sounds like").get_by_text("fast.flac").wait_for(timeout=60_000)
    assert "Fast one" not in [one.inner_text() for one in hits(page).locator("h3").all()]  # never its own answer


def test_a_chip_is_edited(page: Any) -> None:
    find(page, "around 150 bpm, drums")
    page.locator(".chip", has_text="tempo").locator("button.value").click()
    page.keyboard.press("Control+A")
    page.keyboard.type("around 80 bpm")
    page.keyboard.press("Enter")
    page.wait_for_url("**80*")
    assert asked(page)["q"] == ["around 80 bpm, drums"]
    assert hits(page).first.locator("h3").inner_text() == "slow"
    assert page.get_by_role("textbox", name="Describe the music").input_value() == "around 80 bpm, drums"


def test_a_chip_is_negated_dropped_and_restored(page: Any) -> None:
    find(page, "around 150 bpm, vocals")
    chip = page.locator(".chip", has_text="voice")
    chip.get_by_role("button", name="Ask for no vocals").click()
    page.locator(".chip.negated", has_text="vocals").wait_for()
    assert asked(page) == {"q": ["around 150 bpm, vocals"], "not": ["vocals"], "drop": ["vocals"]}
    assert page.locator(".chip").count() == 2
    page.locator(".chip.negated").get_by_role("button", name="Ask for vocals").click()
    page.locator(".chip.negated").wait_for(state="detached")
    assert asked(page) == {"q": ["around 150 bpm, vocals"]}
    page.get_by_role("button", name="Drop around 150 bpm").click()
    page.locator(".chip.dropped").wait_for()
    assert asked(page)["drop"] == ["around 150 bpm"]
    page.get_by_role("button", name="Restore around 150 bpm").click()
    page.locator(".chip.dropped").wait_for(state="detached")
    assert "drop" not in asked(page)


def test_a_negation_of_the_text_is_taken_away(page: Any) -> None:
    find(page, "90 bpm, no vocals")
    page.locator(".chip.negated").get_by_role("button", name="Ask for vocals").click()
    page.locator(".chip.negated").wait_for(state="detached")
    assert asked(page) == {"q": ["90 bpm, vocals"]}


def test_what_is_not_understood_is_said_and_an_error_too(page: Any) -> None:
    find(page, "5000 bpm, drums")
    assert "not understood" in page.locator(".chip.unknown").inner_text()
    with page.expect_response(re.compile("/search")) as answer:
        page.goto("/#/?where=nonsense%3D1")
    assert answer.value.status == 400
    page.locator(".trouble").get_by_text("nonsense").wait_for()


def test_filters_hold_exactly(page: Any) -> None:
    find(page, "drums")
    page.get_by_role("textbox", name="Tempo, BPM, from").fill("140")
    page.keyboard.press("Tab")
    page.locator(".chip.exact").wait_for()
    assert asked(page)["where"] == ["tempo_bpm=140.."]
    assert [row.inner_text() for row in hits(page).locator("h3").all()] == ["Fast one"]
    page.get_by_role("button", name=re.compile("Take away the filter")).click()
    page.locator(".chip.exact").wait_for(state="detached")
    wheel = page.get_by_role("group", name="Circle of fifths")
    page.get_by_text("and compatible keys").click()
    wheel.get_by_role("button", name=re.compile("^A minor")).click()
    page.locator(".chip.exact").wait_for()
    [where] = asked(page)["where"]
    assert set(where.removeprefix("key=").split("|")) == {"A minor", "C major", "E minor", "D minor"}
    page.locator(".chip.exact").get_by_role("button").click()
    page.locator(".chip.exact").wait_for(state="detached")
    drag(page, page.locator(".histogram").first, 0.02, 0.3)
    page.locator(".chip.exact").wait_for()
    assert re.fullmatch(r"tempo_bpm=\d+(\.\d+)?\.\.\d+(\.\d+)?", asked(page)["where"][0])


def test_a_verdict_is_kept(page: Any) -> None:
    row = find(page, "around 150 bpm").first
    with page.expect_request(re.compile("/feedback$")) as sent:
        row.get_by_role("button", name="Good answer").click()
    assert sent.value.post_data_json["query"] == "around 150 bpm" and sent.value.response().ok
    row.locator("[aria-label='Good answer'][aria-pressed=true]").wait_for()
    page.goto("/#/?q=drums&for=a+workout")
    with page.expect_request(re.compile("/feedback$")) as sent:
        hits(page).first.get_by_role("button", name="Bad answer").click()
    assert sent.value.post_data_json["context"] == "a workout" and sent.value.response().ok


# --- playing ----------------------------------------------------------------------------------------------------------


def test_a_hit_is_played_at_the_place_that_matched_and_elsewhere(page: Any) -> None:
    row = find(page, "E minor, 150 bpm, drums").first
    start, _ = re.findall(r"\d+:\d\d", row.locator(".under .time").inner_text())[:2]
    row.get_by_role("button", name="Play Fast one", exact=True).click()
    page.locator("#player .time").wait_for()
    page.wait_for_timeout(800)
    assert seconds(start) <= playing_s(page) <= seconds(start) + 6
    box = row.get_by_role("slider").bounding_box()
    page.mouse.click(box["x"] + 0.75 * box["width"], box["y"] + 20)
    page.wait_for_timeout(800)
    length_s = seconds(re.findall(r"\d+:\d\d", page.locator("#player .time").inner_text())[1])
    assert 0.7 * length_s <= playing_s(page) <= 0.75 * length_s + 6
    page.get_by_role("button", name="Pause").click()
    stopped = playing_s(page)
    page.wait_for_timeout(1200)
    assert playing_s(page) == stopped


def test_at_its_end_a_hit_crosses_over_to_the_next(page: Any) -> None:
    rows = find(page, "drums, around 120 bpm")
    names = [row.inner_text() for row in rows.locator("h3").all()]
    box = rows.first.get_by_role("slider").bounding_box()
    page.mouse.click(box["x"] + 0.88 * box["width"], box["y"] + 20)
    page.locator("#player .what a", has_text=names[0]).wait_for()
    page.locator("#player .what a", has_text=names[1]).wait_for(timeout=15_000)
    assert "on" in rows.nth(1).get_attribute("class").split()


def test_more_like_a_part_that_is_dragged_over(page: Any) -> None:
    row = find(page, "around 120 bpm").first
    name = row.locator("h3").inner_text()
    drag(page, row.locator(".field"), 0.25, 0.6)
    row.get_by_role("button", name=re.compile("^More like 0:0[67]–0:1[67]")).click()
    page.locator(".chip", has_text="sounds like").get_by_text(name).wait_for()
    assert re.fullmatch(r"\d+@[67]\.\d\d-1[67]\.\d\d", asked(page)["like"][0])
    assert name not in [one.inner_text() for one in hits(page).locator("h3").all()]
    page.reload()
    page.locator(".chip", has_text="sounds like").get_by_text(re.compile(f"{name} 0:0[67]")).wait_for()


def test_a_playlist_is_put_together_and_saved(page: Any, site: Any) -> None:
    rows = find(page, "drums")
    for i in range(2):
        rows.nth(i).get_by_role("button", name="Add to the playlist").click()
    page.reload()  # it is kept
    page.get_by_role("button", name="Playlist, 2 tracks").click()
    box = page.get_by_role("dialog", name="Playlist")
    first, second = (one.inner_text() for one in box.locator("ol b").all())
    box.get_by_role("button", name=f"Move {first} down").click()
    assert [one.inner_text() for one in box.locator("ol b").all()] == [second, first]
    for form, marker in (("M3U8", "#EXTM3U"), ("XSPF", "<playlist"), ("CSV", "title,")):
        with page.expect_download() as saved:
            box.get_by_role("button", name=form).click()
        text = Path(saved.value.path()).read_text(encoding="utf-8")
        assert saved.value.suggested_filename == f"solfa.{form.lower()}"
        assert marker in text and text.count(".flac") == 2


# --- keys alone, small screens, everybody -----------------------------------------------------------------------------


def focused(page: Any, script: str) -> Any:
    return page.evaluate(f"(() => {{ const focus = document.activeElement; return {script}; }})()")


def test_everything_by_keys(page: Any) -> None:
    page.goto("/")
    page.keyboard.press("/")
    page.keyboard.type("around 150 bpm, drums")
    page.keyboard.press("Enter")
    rows = hits(page)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert focused(page, "[...document.querySelectorAll('.hit')].indexOf(focus)") == 1
    page.keyboard.press("ArrowUp")
    page.keyboard.press(" ")
    page.get_by_role("button", name="Pause").wait_for()
    assert rows.first.get_attribute("class") == "hit on"
    page.locator("#player .time").wait_for()
    page.wait_for_timeout(500)
    before = playing_s(page)
    page.keyboard.press("ArrowLeft")
    page.wait_for_timeout(500)
    assert playing_s(page) <= before - 3
    page.keyboard.press(" ")
    page.locator("#player [aria-label=Play]").wait_for()
    with page.expect_response(re.compile("/feedback$")):
        page.keyboard.press("-")
    page.keyboard.press("b")
    assert page.locator("#basket-count").inner_text() == "1"
    page.keyboard.press("?")
    page.get_by_role("dialog", name="Keys").wait_for()
    page.keyboard.press("Escape")
    page.keyboard.press("m")
    page.locator(".chip", has_text="sounds like").wait_for()
    hits(page)
    page.keyboard.press("/")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.locator(".track h1").wait_for()
    assert focused(page, "focus.id") == "view"


@pytest.mark.parametrize(
    ("button", "then"),
    [("Drop drums", "Restore drums"), ("Ask for no drums", "Ask for drums"), ("Ask for vocals", "Ask for no vocals"),
     ("Take away the filter 4/4", None)],
)  # fmt: skip
def test_the_focus_stays_where_chips_are_made_again(page: Any, button: str, then: str | None) -> None:
    page.goto("/#/?q=drums,+no+vocals&where=metre%3D4%2F4")
    hits(page)
    with page.expect_response(re.compile("/search")):
        page.get_by_role("button", name=button).press("Enter")
    page.get_by_role("button", name=button).wait_for(state="detached")
    assert focused(page, "!!focus.closest('.chips')")
    assert then is None or page.get_by_role("button", name=then).count() == 1


def test_the_focus_stays_in_the_player_and_in_the_playlist(page: Any) -> None:
    rows = find(page, "drums")
    for i in range(3):
        rows.nth(i).get_by_role("button", name="Add to the playlist").click()
    rows.first.locator(".main").click()
    for _ in range(2):  # the track changes, the button is another one
        before = page.locator("#player .what a").inner_text()
        page.locator("#player").get_by_role("button", name="Next").press("Enter")
        page.locator("#player .what a", has_not_text=before).wait_for()
        assert focused(page, "focus.ariaLabel") == "Next"
    page.locator("#basket-open").press("Enter")
    first = page.locator("#basket ol b").first.inner_text()
    page.get_by_role("button", name=f"Move {first} down").press("Enter")
    assert focused(page, "focus.ariaLabel") == f"Move {first} down"
    page.get_by_role("button", name=f"Take out {first}").press("Enter")
    assert focused(page, "!!focus.closest('#basket')")
    page.locator("#basket").get_by_role("button", name="Clear").press("Enter")
    assert focused(page, "!!focus.closest('#basket')")


def test_an_example_leads_to_its_hits_by_keys(page: Any) -> None:
    page.goto("/")
    page.locator(".trials button").first.press("Enter")
    hits(page)
    assert focused(page, "focus.className") == "summary"


def test_a_chip_that_is_left_keeps_what_was_typed(page: Any) -> None:
    find(page, "around 150 bpm, drums")
    page.locator(".chip", has_text="tempo").locator("button.value").click()
    page.keyboard.press("Control+A")
    page.keyboard.type("around 80 bpm")
    page.locator(".mark").focus()
    page.wait_for_url("**80*")
    page.locator(".chip", has_text="tempo").locator("button.value").click()
    page.keyboard.type("nothing")
    page.keyboard.press("Escape")
    assert asked(page)["q"] == ["around 80 bpm, drums"]


@pytest.mark.parametrize("page", [PHONE], indirect=True)
def test_a_first_start_shows_how_far_it_is_and_what_is_there(page: Any, serve: Any, site: Any, tmp_path: Path) -> None:
    """A new collection while it is indexed, on a phone: nothing is too wide, and hits come without a reload."""
    url = serve(site.folder, "--collection", tmp_path / "new")
    page.goto(f"{url}/#/")
    page.locator(".hello", has_text=re.compile("Looking for music|Reading your music|track")).wait_for()
    for path in ("#/", "#/?q=drums", "#/map", "#/library"):
        page.goto(f"{url}/{path}")
        page.locator("h1, .summary").first.wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path
    page.goto(f"{url}/#/?q=drums,+around+150+bpm")
    page.locator("#toast", has_text="Indexed 4 files").wait_for(timeout=120_000)
    assert hits(page).first.locator("h3").inner_text() == "Fast one"
    page.goto(f"{url}/#/library")
    page.locator("tbody tr").nth(3).wait_for()


def test_a_part_is_chosen_by_keys(page: Any) -> None:
    row = find(page, "around 120 bpm").first
    row.get_by_role("slider").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    assert "selected 0:05 to 0:15" in row.get_by_role("slider").get_attribute("aria-valuetext")
    row.get_by_role("button", name="More like 0:05–0:15").press("Enter")
    page.wait_for_url("**like=*")
    assert asked(page)["like"][0].endswith("@5.00-15.00")


@pytest.mark.parametrize("page", [PHONE], indirect=True)
def test_a_phone_shows_all_of_it_in_its_width(page: Any) -> None:
    for path in ("#/", "#/?q=around+150+bpm,+drums,+no+vocals", "#/map", "#/library", "#/track/1"):
        page.goto(f"/{path}")
        page.locator("h1, .hit").first.wait_for()
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path
    find(page, "drums")
    assert not page.locator("#filters").is_visible()
    page.get_by_role("button", name="Filters").click()
    assert page.locator("#filters").is_visible()
    small = """[...document.querySelectorAll('.hit button, .chip button, .bar a, .bar button')]
        .filter(b => b.offsetParent && (b.offsetWidth < 24 || b.offsetHeight < 24)).map(b => b.outerHTML)"""
    assert page.evaluate(small) == []  # WCAG 2.2, 2.5.8


@pytest.mark.parametrize("page", [{}, DARK, PHONE], indirect=True, ids=["light", "dark", "phone"])
def test_no_fault_of_accessibility(page: Any) -> None:
    pytest.importorskip("axe_playwright_python", reason="pip install axe-playwright-python")
    axe = (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
    row = find(page, "around 150 bpm, no vocals").first
    row.get_by_role("button", name="Play Fast one", exact=True).click()
    page.locator("#player .what").wait_for()
    for path in (None, "#/", "#/map", "#/library", "#/track/1"):
        if path:
            page.goto(f"/{path}")
            page.locator("h1").first.wait_for()
            page.wait_for_timeout(500)
        page.evaluate(axe)
        found = page.evaluate(
            "axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']})"
        )
        faults = [(fault["id"], fault["nodes"][0]["html"]) for fault in found["violations"]]
        assert faults == [], path


# --- the other pages --------------------------------------------------------------------------------------------------


def test_the_page_of_a_track_says_all_that_was_measured(page: Any) -> None:
    find(page, "around 150 bpm").first.get_by_role("link", name="Fast one").click()
    page.locator(".track h1").wait_for()
    told = page.locator(".track").inner_text()
    assert "Fast one" in told and re.search(r"1(49|50)\.\d BPM", told) and "4/4" in told and "LUFS" in told
    page.locator(".sections button").first.click()
    page.get_by_role("button", name="Pause").wait_for()
    page.locator(".track .hit").first.wait_for()
    page.go_back()
    assert hits(page).first.is_visible()


def test_the_map_is_walked_by_keys(page: Any) -> None:
    page.goto("/#/map")
    page.locator("canvas").focus()
    for key in ("ArrowRight", "ArrowLeft", "ArrowUp", "ArrowDown"):
        page.keyboard.press(key)
    page.locator("#say", has_text=re.compile("Loop in A minor|Waltz|Fast one|slow")).wait_for(state="attached")
    page.locator(".card a").wait_for()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Pause").wait_for()


def test_the_library_lists_tracks_failures_and_indexing(page: Any) -> None:
    page.goto("/#/library")
    page.locator("tbody tr").nth(3).wait_for()
    page.get_by_text("1 file could not be read").click()
    assert ".mp3" in page.locator(".failed li").inner_text()
    assert len(page.locator(".failed li span").inner_text()) > 5
    page.get_by_role("button", name="BPM").click()
    page.locator("th[aria-sort=ascending]", has_text="BPM").wait_for()
    tempos = [int(cell) for cell in page.locator("tbody td:nth-child(3)").all_inner_texts()]
    assert tempos == sorted(tempos)
    page.get_by_role("button", name="Look for new files").click()
    page.locator("#toast").get_by_text("Indexed 0 files, 1 could not be read.").wait_for(timeout=60_000)


# --- safety -----------------------------------------------------------------------------------------------------------


def test_tags_paths_and_queries_are_text(page: Any, site: Any) -> None:
    attack, texts = site.attack, []
    for path in (
        f"#/?q={quote('90 bpm ' + attack)}&not={quote(attack)}",
        "#/library",
        "#/map",
        "#/track/1",
        "#/track/2",
    ):
        page.goto(f"/{path}")
        page.wait_for_timeout(900)
        texts.append(page.locator("main").inner_text())
        assert page.locator("main img, main script, main b:not([class] b) img").count() == 0
        assert page.title() != "taken over"
    assert attack in texts[0] and attack in texts[1]
    find(page, "around 90 bpm").first.get_by_role("button", name="Add to the playlist").click()
    page.locator("#basket-open").click()
    assert attack in page.locator("#basket").inner_text()
    assert page.locator("img").count() == 0


@pytest.mark.parametrize(("secret", "buttons"), [("of the owner", 1), ("of a reader", 0), ("of nobody", None)])
def test_a_locked_server_opens_with_a_password_and_shows_what_its_role_may_do(
    browser: Any, serve: Any, tmp_path: Path, secret: str, buttons: int | None
) -> None:
    url = serve("--collection", tmp_path / "new", SOLFA_OWNER_SECRET="of the owner", SOLFA_READER_SECRET="of a reader")
    context = browser.new_context(base_url=url, http_credentials={"username": "me", "password": secret})
    page = context.new_page()
    answer = page.goto("/#/library")
    if buttons is None:
        assert answer.status == 401 and page.locator("h1").count() == 0
    else:
        page.get_by_text("0 tracks ·").wait_for()
        assert page.get_by_role("button", name="Look for new files").count() == buttons
        page.goto("/")
        page.get_by_text("Nothing is indexed yet.").wait_for()
    context.close()
