"""What is said about a track, answered about it, and said in a conversation about a search."""

from solfa.language.narrate import Claim, certainty_of, narrate
from solfa.language.session import Session
from solfa.language.subtitles import subtitles
from solfa.language.timeline import Entry, Part, Timeline, timeline
from solfa.language.turns import Operation

__all__ = ["Claim", "Entry", "Operation", "Part", "Session", "Timeline", "certainty_of", "narrate", "subtitles",
           "timeline"]  # fmt: skip
