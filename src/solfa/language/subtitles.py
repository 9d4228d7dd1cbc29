"""What is said of the parts of a track, as subtitles for players."""

from collections.abc import Iterable
from itertools import groupby

from solfa.core.errors import InputError
from solfa.core.text import printable
from solfa.language.narrate import Claim

FORMATS = ("srt", "vtt", "lrc")


def subtitles(claims: Iterable[Claim], form: str) -> str:
    """A cue for each part that claims of ``narrate(sections=True)`` are about: SubRip, WebVTT (W3C) or LRC.

    Raises InputError if the format is none of ``FORMATS``.
    """
    if form not in FORMATS:
        raise InputError(f"no such format of subtitles: {form!r:.40}. Expected one of {', '.join(FORMATS)}.")
    cues = ["WEBVTT\n"] if form == "vtt" else []
    told = [*claims]  # of silence and the like nothing is said by parts
    for number, group in groupby([c for c in told if c.part is not None] or told, key=lambda c: c.part):
        cue = [*group]
        # What enters may be earlier.
        start_s = next((c.start_s for c in cue if c.field == "instruments"), cue[0].start_s)
        said = [printable(" ".join(c.text.split())).replace("-->", "->") for c in cue]  # a blank line ends a cue
        text = " ".join(said).replace("[", "(").replace("]", ")") if form == "lrc" else "\n".join(said)
        if form == "vtt":
            text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        times = f"{_clock(start_s, form)} --> {_clock(cue[0].end_s, form)}"
        head = f"{(number or 0) + 1}\n" if form == "srt" else ""
        cues.append(f"[{_clock(start_s, form)}]{text}" if form == "lrc" else f"{head}{times}\n{text}\n")
    return "\n".join(cues) + "\n" * (form == "lrc" and bool(cues))


def _clock(seconds: float, form: str) -> str:
    """``00:00:00,000`` in SRT, with a point in VTT, ``00:00.00`` (minutes go on beyond 99) in LRC.

    >>> _clock(3725.4, "srt"), _clock(3725.4, "vtt"), _clock(3725.4, "lrc"), _clock(59.996, "lrc")
    ('01:02:05,400', '01:02:05.400', '62:05.40', '01:00.00')
    """
    if form == "lrc":
        return "{:02}:{:02}.{:02}".format(*divmod(round(seconds * 100) // 100, 60), round(seconds * 100) % 100)
    ms = round(seconds * 1000)
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}{',.'[form == 'vtt']}{ms % 1000:03}"
