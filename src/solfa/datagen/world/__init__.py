"""A music world with exact truth: scores made up or read, arranged, rendered with soundfonts, and annotated."""
