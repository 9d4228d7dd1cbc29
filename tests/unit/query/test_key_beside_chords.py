import pytest

from solfa.constraints import Chords, InKey
from solfa.query import parse


@pytest.mark.parametrize(
    ("text", "key", "chords"),
    [
        ("F major, Am-F-C-G, drums", (5, "major"), "A:min F:maj C:maj G:maj"),
        ("D minor, Dm-Gm-A7", (2, "minor"), "D:min G:min A:7"),
        ("F, Am-F-C-G, slow", (5, None), "A:min F:maj C:maj G:maj"),
        ("Am-F-C-G, F major", (5, "major"), "A:min F:maj C:maj G:maj"),
        ("F major, Am, F, C, G", (5, "major"), "A:min F:maj C:maj G:maj"),
        ("E minor, Am7, D7, Gmaj7", (4, "minor"), "A:min7 D:7 G:maj7"),
        ("C major, G major, A minor, F major", None, "C:maj G:maj A:min F:maj"),
    ],
)
def test_a_key_in_front_of_or_behind_chords_is_not_one_of_them(
    text: str, key: tuple[int, str | None] | None, chords: str
) -> None:
    found = parse(text).constraints
    keys = [(c.tonic, c.mode) for c in found if isinstance(c, InKey)]
    assert keys == ([] if key is None else [key])
    assert [" ".join(map(str, c.chords)) for c in found if isinstance(c, Chords)] == [chords]


def test_a_tempo_beside_chords_is_not_a_row_of_degrees() -> None:
    found = parse("changes Am F C G, 127 BPM").constraints
    assert [type(c).__name__ for c in found] == ["Chords", "Tempo"]
    assert [type(c).__name__ for c in parse("changes 1-5-6-4 at 127 bpm").constraints] == ["Chords", "Tempo"]
