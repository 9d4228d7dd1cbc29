"""Trainer, recipes, run folders: from records to a model file."""
