"""Free text to constraints and a rest, by rule."""

from solfa.query.explain import by_sound, explain, is_measured, whole_text
from solfa.query.override import beside, override, parse_value
from solfa.query.parser import Query, parse
from solfa.query.where import parse_where

__all__ = [
    "Query",
    "beside",
    "by_sound",
    "explain",
    "is_measured",
    "override",
    "parse",
    "parse_value",
    "parse_where",
    "whole_text",
]
