"""Training data: a music world with exact truth, captioned music, sound-event scenes, shards, loaders."""
