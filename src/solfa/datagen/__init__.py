"""Data sets made: a music world with exact truth, captioned music, sound-event scenes."""
