import signal
from pathlib import Path

import pytest

from solfa.apps import indexing
from solfa.apps.terminal import NOTHING_DONE


def test_a_change_is_taken_up_once_it_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rounds: list[tuple[bool, list[str]]] = []
    song, looks = tmp_path / "a.mp3", iter(range(100))

    def run(paths: list[Path], directory: Path, *, brief: bool = False) -> int:
        rounds.append((brief, sorted(path.name for path in tmp_path.iterdir())))
        return 3

    def look(seconds: float) -> None:
        at = next(looks)
        if at in (1, 2, 3):  # grows from look to look
            song.write_bytes(b"x" * at)
        elif at == 6:
            (tmp_path / "notes.txt").write_text("no music")
        elif at == 8:
            song.rename(tmp_path / "b.mp3")
        elif at == 12:
            signal.raise_signal(signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(indexing, "run_index", run)
    monkeypatch.setattr(indexing.time, "sleep", look)
    assert indexing.watch([tmp_path], tmp_path / "c") == 0
    assert rounds == [(False, []), (True, ["a.mp3"]), (True, ["b.mp3", "notes.txt"])]
    assert "stopped watching" in capsys.readouterr().out and signal.getsignal(signal.SIGTERM) is before


def test_nothing_to_index_is_not_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "run_index", lambda *args, **options: NOTHING_DONE)
    assert indexing.watch([tmp_path / "nowhere"], tmp_path / "c") == NOTHING_DONE
