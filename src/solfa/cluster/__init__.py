"""Beyond one machine: work spread over a Ray cluster, and music in object stores. Needs ``solfa[cluster]``."""
