import pytest

from solfa.core.errors import InputError
from solfa.query import override, parse


def test_dropped_words_leave_no_wish() -> None:
    query = parse("warm Rhodes, 110 bpm, no vocals, drums come in late")
    left = override(query, drop=["rhodes", "no vocals"])
    texts = [c.text for c in left.constraints]
    assert "110 bpm" in texts and "drums" in texts
    assert not any("Rhodes" in t or "vocals" in t for t in texts)
    assert not any("Rhodes" in p for p in left.phrases)
    assert not {"rhodes", "vocals"} & set(left.words.casefold().split())  # nor are they looked for in tags
    assert left.text == "warm, 110 bpm, drums come in late"  # what a model of captions reads


def test_what_is_dropped_leaves_the_rest_as_it_was() -> None:
    left = override(parse("slow piano with strings, no drums"), drop=["strings"])
    assert (left.text, left.phrases) == ("slow piano, no drums", ("slow piano",))
    assert [c.negated for c in left.constraints] == [False, False, True]


def test_words_that_are_not_there_cannot_be_dropped() -> None:
    with pytest.raises(InputError, match="cannot drop 'banjo'"):
        override(parse("piano"), drop=["banjo"])
