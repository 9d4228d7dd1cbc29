import os
from pathlib import Path
from xml.etree import ElementTree

from solfa.core.files import write_output
from solfa.core.types import FileTags
from solfa.retrieval import Hit
from solfa.serve.documents import m3u, unwritable, xspf


def hit(path: str, title: str = "", artist: str = "") -> Hit:
    return Hit(track_id=1, path=Path(path), score=0.5, start_s=10, end_s=40, duration_s=61.4,
               tags=FileTags(title=title, artist=artist), evidence=())  # fmt: skip


def test_m3u_holds_paths_and_titles() -> None:
    text = m3u([hit("/music/a b.mp3", "Tïtle", "Artist"), hit("/music/c.ogg")])
    assert text.splitlines() == [
        "#EXTM3U",
        "#EXTINF:61,Artist - Tïtle",
        "/music/a b.mp3",
        "#EXTINF:61,c",
        "/music/c.ogg",
    ]


def test_hostile_names_cannot_add_entries() -> None:
    hits = [hit("/music/a\n/etc/passwd.mp3"), hit("/music/b.mp3", "x\n/etc/shadow")]
    text = m3u(hits)
    assert unwritable(hits) == hits[:1]
    assert [line for line in text.splitlines() if not line.startswith("#")] == ["/music/b.mp3"]


def test_xspf_is_well_formed_whatever_the_tags_say() -> None:
    root = ElementTree.fromstring(xspf([hit("/music/ä & <b>.mp3", "</title>\x00\x1b[31m", "A & B")]))
    space = "{http://xspf.org/ns/0/}"
    track = root.find(f"{space}trackList/{space}track")
    assert track is not None
    assert track.findtext(f"{space}location") == "file:///music/%C3%A4%20%26%20%3Cb%3E.mp3"
    assert track.findtext(f"{space}title", "").startswith("</title>")
    assert track.findtext(f"{space}duration") == "61400"


def test_names_that_are_not_unicode_survive(tmp_path: Path) -> None:
    name = os.fsdecode(b"/music/\xff.mp3")
    write_output(tmp_path / "out.m3u8", m3u([hit(name)]), force=False)
    assert b"/music/\xff.mp3" in (tmp_path / "out.m3u8").read_bytes()
