"""Captioners that are learned: a language model that is given sound."""
