"""A query to ranked hits with evidence."""

from solfa.retrieval.like import like_example, parse_example
from solfa.retrieval.searcher import Searcher
from solfa.retrieval.types import Display, Evidence, Hit, Like, RankBy, Results

__all__ = ["Display", "Evidence", "Hit", "Like", "RankBy", "Results", "Searcher", "like_example", "parse_example"]
