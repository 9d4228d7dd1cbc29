"""Relevance: summaries of tracks, what is made of them, and what is learned from the listener's verdicts."""

from solfa.relevance.rules import summaries, summarize
from solfa.relevance.summary import FieldSource, TrackSummary, from_json, to_json

__all__ = ["FieldSource", "TrackSummary", "from_json", "summaries", "summarize", "to_json"]
