"""What was not understood is said, nothing is made up where nothing fits, names say where they stand."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fakes.tiny import tiny_model
from solfa.collection import Collection
from solfa.core.types import Features, JointModel, Logit, Match
from solfa.query import Query, parse
from solfa.retrieval import Display, Like, Searcher

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
                  weights=(0.5, 0.5, 2.0, -3.0), likeness=(3.9, -9.2, 1.1, 3.2))  # fmt: skip
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


def test_a_model_of_captions_ranks_by_the_whole_text_and_shows_its_phrases(directory: Path) -> None:
    whole, text = Display(k=20, duplicates=True), "low, not high, asdfghjkl"
    with Collection.open(directory) as opened:
        asking = Searcher(opened, lambda: replace(knowing(), captions=True))
        answer = asking.search(parse(text), display=whole)
        # What is not understood is no part of what is asked.
        alone = asking.search(parse("low, not high, "), display=whole)
    assert answer.query.unknown == ("asdfghjkl",)
    assert [hit.path for hit in answer.hits] == [hit.path for hit in alone.hits]
    shown = [(e.constraint, e.asked) for e in answer.hits[0].evidence]
    assert shown == [("sounds like", "low"), ("not like", "high")]
    assert len({e.confidence for e in answer.hits[0].evidence}) == 2


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


def test_a_page_beyond_the_last_is_said(searcher: Searcher) -> None:
    count = len(searcher.collection.attributes())
    for page in (1 + -(-count // 2), 40):
        found = searcher.search(parse("low"), display=Display(k=2, page=page, duplicates=True))
        assert not found.hits and found.before == count
        assert found.note == f"No page {page}: {count} hits, {-(-count // 2)} pages."


def test_an_example_has_a_verdict_and_says_what_was_compared(searcher: Searcher) -> None:
    for track_id in (1, 2, 3):
        vector = np.asarray(searcher.store.windows([track_id])[0].frames_TD[0], np.float32)
        like = Like(vector / np.linalg.norm(vector), "like x")
        hits = searcher.search(Query(text=""), like=[like], display=Display(k=20, duplicates=True)).hits
        similar = []
        for hit in hits:
            [told] = hit.evidence
            said, of_track, of_all = re.fullmatch(  # type: ignore[union-attr]
                r"(.*) \(similarity (.*), sounds in general (.*)\)", told.measured).groups()  # fmt: skip
            assert said == {True: "fits", False: "does not fit", None: "may fit"}[told.satisfied]
            mean, deviation = map(float, of_all.split(" ± "))
            similar.append((float(of_track) - mean) / deviation)
        verdicts = [hit.evidence[0].satisfied for hit in hits]
        assert verdicts[0] and verdicts[-1] is False
        sure = [(v, z > 2.36) for v, z in zip(verdicts, similar, strict=True) if abs(z - 2.36) > 0.4]
        assert all(v is as_near for v, as_near in sure) and len({as_near for _, as_near in sure}) == 2
    plain = Searcher(searcher.collection, tiny_model)  # nothing was fitted: no verdict
    for hit in plain.search(Query(text=""), like=[like]).hits:
        assert hit.evidence[0].satisfied is None and "the collection" in hit.evidence[0].measured
