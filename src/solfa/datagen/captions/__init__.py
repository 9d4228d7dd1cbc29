"""Captions for clips: attributes from an analysis, texts from a grammar or a language model, rules, splits, shards."""

from solfa.datagen.captions.grammar import STYLES, caption

__all__ = ["STYLES", "caption"]
