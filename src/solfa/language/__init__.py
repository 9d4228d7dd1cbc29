"""What is said about a track, answered about it, and said in a conversation about a search."""
