"""Files to samples: decode, resample, hash, read tags."""

from solfa.audio.decode import SUFFIXES, probe, side_of, stretches
from solfa.audio.samples import ContentHash, at_rate
from solfa.audio.source import AudioInfo, Limits
from solfa.audio.tags import read_tags

__all__ = ["SUFFIXES", "AudioInfo", "ContentHash", "Limits", "at_rate", "probe", "read_tags", "side_of", "stretches"]
