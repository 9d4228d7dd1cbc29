from pathlib import Path

import pytest

from solfa.apps.player import play
from solfa.core.errors import InputError
from solfa.core.types import FileTags
from solfa.retrieval import Hit

HITS = [
    Hit(track_id=i, path=Path(f"/music/{i}.mp3"), score=1, start_s=12.5, end_s=20, duration_s=60, tags=FileTags(),
        evidence=())
    for i in (1, 2)
]  # fmt: skip


def program(path: Path, code: str) -> str:
    path.write_text(f'#!/bin/sh\necho "$@" >> {path}.log\n{code}\n')
    path.chmod(0o755)
    return str(path)


def test_a_player_gets_each_hit_from_its_best_place(tmp_path: Path) -> None:
    assert play(HITS, program(tmp_path / "mpv", "exit 0"))
    assert (tmp_path / "mpv.log").read_text() == "--start=12.5 -- /music/1.mp3\n--start=12.5 -- /music/2.mp3\n"
    assert play(HITS[:1], program(tmp_path / "other", "exit 0"))
    assert (tmp_path / "other.log").read_text() == "/music/1.mp3\n"


@pytest.mark.parametrize(("code", "said"), [("exit 4", "exit code 4"), ("kill -TERM $$", "signal 15")])
def test_how_a_player_ended_is_told_and_the_rest_is_played(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], code: str, said: str
) -> None:
    assert not play(HITS, program(tmp_path / "mpv", code))
    assert capsys.readouterr().err.count(said) == 2


def test_what_cannot_be_played_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "broken").write_bytes(b"\x00\x01")
    (tmp_path / "broken").chmod(0o755)
    for player, said in ((str(tmp_path / "none"), "no such player"), (str(tmp_path / "broken"), "cannot start")):
        with pytest.raises(InputError, match=said):
            play(HITS, player)
    with pytest.raises(InputError, match="nothing to play"):
        play([], "mpv")
