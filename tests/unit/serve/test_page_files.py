"""The files of the page: small, without anything from elsewhere, and with no way to run what the server sends."""

import gzip
import re
from importlib.resources import files

import pytest

FILES = {entry.name: entry.read_text(encoding="utf-8") for entry in files("solfa.serve").joinpath("page").iterdir()}
SCRIPTS = {name: text for name, text in FILES.items() if name.endswith(".js")}


def test_it_is_small() -> None:
    packed_bytes = sum(len(gzip.compress(text.encode())) for text in FILES.values())
    assert packed_bytes < 50_000  # the mission allows 150 kB
    assert sum(len(text.splitlines()) for text in FILES.values()) <= 1500


@pytest.mark.parametrize("name", FILES)
def test_nothing_comes_from_elsewhere(name: str) -> None:
    addresses = set(
        re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"'`)]*", re.sub(r"^\s*//.*", "", FILES[name], flags=re.M))
    )
    assert addresses <= {"http://www.w3.org/2000/svg"}


@pytest.mark.parametrize("name", SCRIPTS)
def test_text_never_becomes_markup_or_code(name: str) -> None:
    ways = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment|srcdoc"
    assert re.findall(rf"{ways}|\beval\(|new Function|javascript:|setTimeout\(['\"]", SCRIPTS[name]) == []


def test_the_document_has_no_script_or_style_of_its_own() -> None:
    page = FILES["index.html"]
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", page) == []
    assert set(re.findall(r'(?:src|href)="(/page/[^"]+)"', page)) <= {f"/page/{name}" for name in FILES}


def test_modules_import_only_what_is_there() -> None:
    exported = {name: set(re.findall(r"^export (?:async )?(?:function|const|class|let) (\w+)", text, flags=re.M))
                for name, text in SCRIPTS.items()}  # fmt: skip
    for name, text in SCRIPTS.items():
        for names, module in re.findall(r'^import \{([^}]+)\} from "\./([\w.]+)"', text, flags=re.M):
            wanted = {one.strip() for one in names.split(",")}
            assert wanted <= exported[module], (name, module)
            rest = text.replace(names, "", 1)
            assert [one for one in wanted if not re.search(rf"\b{one}\b", rest)] == [], name  # imported and not used
