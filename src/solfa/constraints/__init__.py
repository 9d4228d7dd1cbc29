"""What can be asked of a track and measured: a file for each kind of constraint."""

from solfa.constraints.base import ABSENT, NONE_FOUND, NOT_MEASURED, Constraint, Likelihood, Measured, Place, Unbased
from solfa.constraints.chords import Chords
from solfa.constraints.duration import LONGEST_S, Duration
from solfa.constraints.dynamics import Dynamics
from solfa.constraints.key import InKey
from solfa.constraints.metre import Metre
from solfa.constraints.presence import Presence, presence_words
from solfa.constraints.tempo import FASTEST_BPM, SLOWEST_BPM, Tempo

__all__ = [
    "ABSENT",
    "FASTEST_BPM",
    "LONGEST_S",
    "NONE_FOUND",
    "NOT_MEASURED",
    "SLOWEST_BPM",
    "Chords",
    "Constraint",
    "Duration",
    "Dynamics",
    "InKey",
    "Likelihood",
    "Measured",
    "Metre",
    "Place",
    "Presence",
    "Tempo",
    "Unbased",
    "presence_words",
]
