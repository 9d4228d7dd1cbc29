"""The judge by rules: contexts, pairs, orders, attributes, and the rubric of similarity."""

from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solfa.core.errors import InputError, UnknownName
from solfa.core.vocabulary import concepts
from solfa.relevance import RuleJudge, TrackSummary, read_context, similarity
from solfa.relevance.contexts import _TABLE, terms
from solfa.relevance.judge import ATTRIBUTES, CORE, SECONDARY
from solfa.relevance.summary import KINDS, EnergyLevel

NOCTURNE = TrackSummary(
    description="Slow piano.", energy_level="very_low", tempo="slow", tempo_bpm=62.0, mood=("calm", "soft"),
    instruments=("piano",), vocals="instrumental", vocal_role="none", genre="nocturne", genre_family="classical",
    timbre=("soft",), production_style="acoustic",
)  # fmt: skip
CHASE = TrackSummary(
    description="Fast brass.", energy_level="very_high", tempo="fast", tempo_bpm=152.0, mood=("exciting", "tense"),
    instruments=("brass", "drums", "electric_guitar"), vocals="instrumental", vocal_role="none", genre="soundtrack",
    genre_family="soundtrack", timbre=("brassy", "percussive"), production_style="electric",
)  # fmt: skip
NOTHING = TrackSummary(description="Nothing could be measured.")
JUDGE = RuleJudge()


def test_the_same_pair_has_another_winner_for_another_context() -> None:
    for context, winner, said in (("late-night reading", "first", "'reading'"),
                                  ("a spy chase in a film", "second", "'chase'")):  # fmt: skip
        verdict = JUDGE.pairwise(context, NOCTURNE, CHASE)
        assert verdict.winner == winner and said in verdict.reason and verdict.confidence > 0.5
        turned = JUDGE.pairwise(context, CHASE, NOCTURNE)
        assert {winner, turned.winner} == {"first", "second"} and turned.confidence == verdict.confidence
        assert JUDGE.listwise(context, {"a": NOCTURNE, "b": CHASE}).order[0] == "ab"[winner == "second"]


def test_a_tie_is_sure_for_equal_tracks_and_unsure_where_nothing_is_known() -> None:
    equal = JUDGE.pairwise("late-night reading", NOCTURNE, replace(NOCTURNE, description="Another."))
    assert equal.winner == "tie" and equal.confidence > 0.8
    for context, a in (("late-night reading", NOTHING), ("qwertz", NOCTURNE)):
        verdict = JUDGE.pairwise(context, a, CHASE)
        assert (verdict.winner, verdict.confidence) == ("tie", 0.0) and "not enough known" in verdict.reason


def test_a_known_field_is_no_reason_to_prefer_a_track_to_one_of_which_it_is_not_known() -> None:
    energy, mood = replace(NOTHING, energy_level="very_high"), replace(NOTHING, mood=("exciting",))
    apart = JUDGE.pairwise("a spy chase", energy, mood)
    assert (apart.winner, apart.confidence) == ("tie", 0.0) and "known of both" in apart.reason
    unsure, sure = (JUDGE.pairwise("a spy chase", CHASE, replace(NOCTURNE, mood=m)) for m in (None, NOCTURNE.mood))
    assert unsure.winner == sure.winner == "first" and unsure.confidence < sure.confidence
    assert "not known" not in unsure.reason and unsure.reason.startswith("energy level: very high rather than very low")
    guess = JUDGE.pairwise("a spy chase", replace(energy, mood=("tense",)), energy)
    assert guess.winner == "first" and guess.reason.startswith("a guess") and guess.confidence < 0.3


def test_claims_rest_on_known_fields_and_what_is_not_understood_is_told() -> None:
    ranking = JUDGE.listwise("a spy chase with my zeppelin", {"n": NOTHING, "c": CHASE, "o": NOCTURNE})
    assert ranking.order == ("c", "n", "o") and ranking.notes == ("not understood: zeppelin",)
    assert ranking.claims["n"] == ()
    for i, summary in (("c", CHASE), ("o", NOCTURNE)):
        assert ranking.claims[i]
        for claim in ranking.claims[i]:
            assert claim.field in summary.known() and claim.fit and ("does not" in claim.text) == (claim.fit < 0)
        assert len({claim.field for claim in ranking.claims[i]}) == len(ranking.claims[i])


def test_ties_keep_the_order_of_the_search() -> None:
    summaries = {str(i): NOTHING for i in (3, 1, 2)}
    assert JUDGE.listwise("late-night reading", summaries).order == ("3", "1", "2")


@pytest.mark.parametrize(
    ("text", "field", "better", "worse"),
    [
        ("around 62 bpm", "tempo_bpm", NOCTURNE, CHASE),
        ("no drums", "instruments", NOCTURNE, CHASE),
        ("with brass", "instruments", CHASE, NOCTURNE),
        ("something quiet", "energy_level", NOCTURNE, CHASE),
        ("in 3/4", "metre", replace(NOCTURNE, metre="3/4"), replace(CHASE, metre="4/4")),
        ("in D minor", "key", replace(NOCTURNE, key="D minor"), replace(CHASE, key="F# major")),
        ("with singing", "vocals", replace(NOCTURNE, vocals="female vocals throughout"), NOCTURNE),
        ("no vocals", "vocals", NOCTURNE, replace(NOCTURNE, vocals="male vocals in parts")),
        ("working out", "suitable_usages", replace(NOTHING, suitable_usages=("workout_fitness",)), NOCTURNE),
    ],
)
def test_words_of_the_query_grammar_are_read(text: str, field: str, better: TrackSummary, worse: TrackSummary) -> None:
    targets, unknown = read_context(text)
    fits = [next(t.fit(one) for t in targets if t.field == field) for one in (better, worse)]
    assert not unknown and fits[0] is not None and fits[0] > (fits[1] or 0.0)


def test_unknown_words_of_a_context() -> None:
    assert read_context("late-night reading")[1] == () == read_context("music for a spy chase in a film")[1]
    assert read_context("for my grandmother's zeppelin, calm")[1] == ("grandmother", "s", "zeppelin")
    assert read_context("zeppelin")[0] == ()
    targets, unknown = read_context("calm, but no heist and never a wild chase")
    assert {t.words for t in targets if t.wanted} == {"calm"} and {"heist"} <= {*unknown}
    with pytest.raises(InputError):
        read_context("  ")


def test_the_table_of_contexts_holds_what_summaries_can_say() -> None:
    table, levels = _TABLE, {"energy_level": set(get_args(EnergyLevel)), "tempo": {"slow", "medium", "fast"}}
    for name, entry in table.items():
        if name in ("weights", "nothing"):
            assert set(entry) <= {*KINDS, "words"}
            continue
        assert "words" in entry or name in concepts(), name
        asked = [(f, v) for part in (entry, entry.get("avoid", {})) for f, v in part.items()
                 if f not in ("words", "avoid", "weights")]  # fmt: skip
        assert asked and {f for f, _ in asked} | set(entry.get("weights", {})) <= set(table["weights"]), name
        for field, values in asked:
            assert set(values) <= levels.get(field, {*concepts(), "instrumental"}), (name, field)


def test_values_in_free_words_name_concepts() -> None:
    assert {"workout"} <= terms("workout_fitness") and {"film", "soundtrack"} <= terms("film_soundtrack")
    assert {"distorted_guitar", "guitar"} <= terms("distorted electric guitar")
    assert "instrumental" in terms("no vocals") and "voice" in terms(("male vocals throughout",))
    assert terms("") == {""} and terms("\x1b]0;x" * 300)


def test_attributes_are_described_for_both_tracks() -> None:
    compared = JUDGE.compare(NOCTURNE, CHASE, ["mood", "rhythm", "vocal_language"])
    assert [(c.attribute, c.first, c.second, c.match) for c in compared] == [
        ("mood", "calm, soft", "exciting, tense", 0.0),
        ("rhythm", "slow, 62.0 BPM", "fast, 152.0 BPM", 0.0),
        ("vocal_language", "not known", "not known", None),
    ]
    assert [c.attribute for c in JUDGE.compare(NOCTURNE, CHASE, [*ATTRIBUTES])] == [*ATTRIBUTES]
    with pytest.raises(UnknownName, match="attribute 'loundness'"):
        JUDGE.compare(NOCTURNE, CHASE, ["loundness"])


@pytest.mark.parametrize(
    ("field", "a", "b", "match"),
    [
        ("energy_level", "high", "very_high", 0.5), ("energy_level", "very_low", "high", 0.0),
        ("tempo", "variable", "variable", 1.0), ("tempo", "variable", "slow", 0.0),
        ("tempo_bpm", 100.0, 101.0, 1.0), ("tempo_bpm", 70.0, 140.0, 0.5), ("tempo_bpm", 70.0, 105.0, 0.0),
        ("genre_family", "rock", "punk/alternative", 1.0), ("genre_family", "rock", "jazz", 0.0),
        ("vocal_delivery", "Raspy sung", "raspy SUNG", 1.0), ("vocal_delivery", "raspy sung", "raspy shout", 0.5),
        ("vocal_delivery", "sung", "rapped", 0.0), ("timbre", ("warm", "soft"), ("soft", "dark"), 1.0),
        ("timbre", ("warm", "soft", "airy"), ("soft", "dark", "dry"), 0.5), ("timbre", ("warm",), (), None),
        ("instruments", ("electric_guitar",), ("distorted_guitar",), 0.5),
    ],
)  # fmt: skip
def test_how_alike_two_values_are(field: str, a: Any, b: Any, match: float | None) -> None:
    one, other = (replace(NOTHING, **{field: value}) for value in (a, b))
    assert [JUDGE.compare(x, y, [field])[0].match for x, y in ((one, other), (other, one))] == [match, match]


def test_the_worked_case_of_the_rubric() -> None:
    grunge = TrackSummary(
        description="", genre="grunge", genre_family="rock", production_style="raw garage recording",
        timbre=("distorted", "heavy"), vocal_role="lead", vocal_delivery="raspy sung", tempo="fast",
    )  # fmt: skip
    punk = replace(grunge, genre="punk rock", genre_family="punk/alternative", production_style="raw live recording",
                   timbre=("distorted", "percussive"), vocal_delivery="shouted", vocal_language="russian")  # fmt: skip
    found = similarity(grunge, punk)
    assert (found.verdict, found.core_mean) == ("SIMILAR", 0.7)
    assert found.reason == "shared: genre family, production style, timbre, vocal role; different: vocal delivery"
    wrong = TrackSummary(description="", genre="synth pop", tempo="slow", vocal_role="lead", timbre=("synthetic",))
    assert similarity(grunge, wrong).verdict == "NOT_SIMILAR"
    little = similarity(grunge, replace(wrong, genre=None))
    assert little.verdict == "NOT_ENOUGH_KNOWN" and "not known: genre family, production style" in little.reason
    assert similarity(NOTHING, grunge).verdict == "NOT_ENOUGH_KNOWN" and similarity(NOTHING, grunge).core_mean is None


def test_a_wholly_different_genre_or_timbre_is_never_similar() -> None:
    base = replace(NOCTURNE, vocal_delivery="sung")
    for other in (replace(base, genre_family="jazz"), replace(base, timbre=("distorted",))):
        assert similarity(base, other).core_mean == 0.8 and similarity(base, other).verdict == "NOT_SIMILAR"


def _values(field: str) -> st.SearchStrategy[Any]:
    kind = KINDS[field]
    words = st.sampled_from(["rock", "jazz", "sung", "warm", "calm", "exciting", "film", "raw garage", "lead"])
    some = st.sampled_from(kind) if isinstance(kind, tuple) else words
    return st.none() | (st.lists(words, max_size=3).map(tuple) if kind == "list" else some)


_CORE = st.fixed_dictionaries({field: _values(field) for field in CORE})
_SECONDARY = st.fixed_dictionaries({field: _values(field) for field in SECONDARY})


@given(_CORE, _CORE, _SECONDARY, _SECONDARY, _SECONDARY, _SECONDARY)
def test_secondary_fields_alone_never_change_the_verdict(
    core_a: Any, core_b: Any, a: Any, b: Any, other_a: Any, other_b: Any
) -> None:
    one = similarity(TrackSummary(description="", **core_a, **a), TrackSummary(description="", **core_b, **b))
    other = similarity(
        TrackSummary(description="", **core_a, **other_a), TrackSummary(description="", **core_b, **other_b)
    )
    assert one.verdict == other.verdict and one.core_mean == other.core_mean
    known = [c.match for c in one.core if c.match is not None]
    opposed = any(c.match == 0 for c in one.core if c.attribute in ("genre_family", "timbre"))
    similar = len(known) >= 3 and sum(known) / len(known) >= 0.6 and not opposed
    assert (one.verdict == "SIMILAR") == similar and (one.verdict == "NOT_ENOUGH_KNOWN") == (len(known) < 3)


@given(_SECONDARY, _SECONDARY, st.sampled_from(["late-night reading", "a spy chase in a film", "jazz at 90 bpm"]))
def test_places_do_not_matter(a: Any, b: Any, context: str) -> None:
    one, other = (TrackSummary(description="", **fields) for fields in (a, b))
    verdict, turned = JUDGE.pairwise(context, one, other), JUDGE.pairwise(context, other, one)
    assert {"first": "second", "second": "first", "tie": "tie"}[verdict.winner] == turned.winner
    assert verdict.confidence == turned.confidence and 0 <= verdict.confidence <= 1
    order = JUDGE.listwise(context, {"a": one, "b": other}).order
    assert verdict.winner == "tie" or order[0] == ("a" if verdict.winner == "first" else "b")
