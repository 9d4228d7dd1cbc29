"""Relevance: summaries of tracks, what is made of them, and what is learned from the listener's verdicts."""

from solfa.relevance.contexts import read_context
from solfa.relevance.judge import Judge, PairVerdict, Ranking, RuleJudge, Similarity, similarity
from solfa.relevance.llm_judge import LlmJudge
from solfa.relevance.rules import summaries, summarize
from solfa.relevance.summary import FieldSource, TrackSummary, from_json, to_json

__all__ = [
    "FieldSource",
    "Judge",
    "LlmJudge",
    "PairVerdict",
    "Ranking",
    "RuleJudge",
    "Similarity",
    "TrackSummary",
    "from_json",
    "read_context",
    "similarity",
    "summaries",
    "summarize",
    "to_json",
]
