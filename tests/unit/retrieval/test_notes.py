"""What was not understood is said, nothing is made up where nothing fits, names say where they stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from solfa.collection import Collection
from solfa.core.types import Features, JointModel, Logit, Match
from solfa.query import parse
from solfa.retrieval import Display, Searcher
from solfa.testing.tiny import tiny_model

SOUNDS = ("low", "bass", "middle", "high", "bright", "noisy", "silent")


class Knowing:
    """The tiny text tower, which knows its own words only."""

    def __init__(self) -> None:
        self._tiny = tiny_model().text
        self.spec = self._tiny.spec

    def encode(self, batch: Sequence[str]) -> Features:
        return self._tiny.encode(batch)

    def familiarity(self, text: str) -> float:
        return float(any(word in SOUNDS for word in text.lower().split()))


def knowing(count: int = 64) -> JointModel:
    rng, tiny = np.random.default_rng(0), tiny_model()
    sounds = rng.standard_normal((count, 32)).astype(np.float32)
    texts = tiny.text.encode(list(SOUNDS)).global_BD
    match = Match(sounds_SD=sounds / np.linalg.norm(sounds, axis=1, keepdims=True), texts_XD=texts,
                  weights=(0.5, 0.5, 2.0, -3.0))  # fmt: skip
    return replace(tiny, text=Knowing(), match=match)


@pytest.fixture
def searcher(directory: Path) -> Searcher:
    return Searcher(Collection.open(directory), knowing)


def test_nonsense_finds_nothing_and_is_said(searcher: Searcher) -> None:
    answer = searcher.search(parse("asdfghjkl"))
    assert answer.hits == () and "asdfghjkl" in answer.query.unknown
    assert "not understood" in answer.note and any("not understood" in line for line in answer.parsed)


def test_what_is_understood_beside_nonsense_still_ranks(searcher: Searcher) -> None:
    whole = Display(k=20, duplicates=True)
    alone = [hit.path for hit in searcher.search(parse("low"), display=whole).hits]
    assert [hit.path for hit in searcher.search(parse("low, asdfghjkl"), display=whole).hits] == alone


def test_a_name_says_where_it_stands(searcher: Searcher) -> None:
    answer = searcher.search(parse("unmeasured"))
    assert answer.hits[0].path.stem == "unmeasured"
    [name] = [e for e in answer.hits[0].evidence if e.constraint == "name"]
    assert name.asked == "unmeasured" and name.measured == "in path" and name.satisfied


def test_what_vectors_say_does_not_depend_on_the_collection(directory: Path, music: Path, tmp_path: Path) -> None:
    with Collection.open(tmp_path, create=True) as small:
        small.add([music / "right.wav"], model=tiny_model, extractors=tuple)
        told = []
        for collection in (small, Collection.open(directory)):
            display = Display(k=20, duplicates=True)
            hits = Searcher(collection, knowing).search(parse("low wooosh"), display=display).hits
            hit = next(hit for hit in hits if hit.path.stem == "right")
            [heat] = [e for e in hit.evidence if e.constraint == "sounds like"]
            told.append((heat.measured, round(heat.confidence, 6), heat.satisfied))
    assert told[0] == told[1] and told[0][0] in ("fits", "may fit", "does not fit")


def test_a_rank_alone_is_no_verdict(directory: Path) -> None:
    hits = Searcher(Collection.open(directory), tiny_model).search(parse("low wooosh")).hits
    assert {e.satisfied for hit in hits for e in hit.evidence if e.constraint == "sounds like"} == {None}


def test_learnt_probabilities_are_told(directory: Path) -> None:
    from test_search_views import trained

    logits = {"match": Logit(temperature=0.05, bias=-5.0)}
    model = replace(trained(), logits=logits)
    with Collection.open(directory) as collection, pytest.raises(Exception, match="embedding space"):
        Searcher(collection, lambda: model).search(parse("low"))


def test_scores_share_a_scale(searcher: Searcher) -> None:
    """All met is high and none met is low, whether one thing was asked or four."""
    for text in ("110 BPM", "110 BPM, F major", "110 BPM, F major, 4/4, no vocals"):
        hits = searcher.search(parse(text), display=Display(k=20, duplicates=True)).hits
        by_share = sorted(hits, key=lambda hit: sum(bool(e.satisfied) for e in hit.evidence))
        assert by_share[-1].score > 0.6, text
        assert all(e.satisfied for e in by_share[-1].evidence)
        none_met = [hit for hit in hits if all(e.satisfied is False for e in hit.evidence)]
        assert all(hit.score < 0.2 for hit in none_met), text
