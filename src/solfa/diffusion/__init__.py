"""Queries generated in the space of sound from words, and edited there."""
