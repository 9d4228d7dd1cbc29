"""What is said of the parts of a track, as subtitles for players: SubRip (SRT), WebVTT (W3C) and LRC."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Literal

from solfa.language.narrate import Claim

Format = Literal["srt", "vtt", "lrc"]


def subtitles(claims: Iterable[Claim], form: Format) -> str:
    """A cue for each part that claims of ``narrate(sections=True)`` are about, a line for each sentence."""
    told = sorted((c for c in claims if c.part is not None), key=lambda c: c.part or 0)
    cues = [[*cue] for _, cue in groupby(told, key=lambda c: c.part)]
    starts = [
        next(c.start_s for c in cue if c.field == "instruments") for cue in cues
    ]  # what enters may be a second early
    if form == "lrc":
        return "".join(f"[{_clock(s, 'lrc')}]{_text(cue, form)}\n" for s, cue in zip(starts, cues, strict=True))
    rows = [f"{_clock(s, form)} --> {_clock(cue[0].end_s, form)}\n{_text(cue, form)}\n"
            for s, cue in zip(starts, cues, strict=True)]  # fmt: skip
    if form == "vtt":
        return "\n".join(["WEBVTT\n", *rows])
    return "\n".join(f"{number}\n{row}" for number, row in enumerate(rows, 1))


def _text(cue: Sequence[Claim], form: Format) -> str:
    text = (" " if form == "lrc" else "\n").join(c.text for c in cue)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") if form == "vtt" else text.replace(
        "-->", "->")  # fmt: skip


def _clock(seconds: float, form: Format) -> str:
    """``00:00:00,000`` in SRT, with a point in VTT, ``00:00.00`` (minutes go on beyond 99) in LRC.

    >>> _clock(3725.4, "srt"), _clock(3725.4, "vtt"), _clock(3725.4, "lrc"), _clock(59.996, "lrc")
    ('01:02:05,400', '01:02:05.400', '62:05.40', '01:00.00')
    """
    if form == "lrc":
        hundredths = round(seconds * 100)
        return f"{hundredths // 6000:02}:{hundredths % 6000 // 100:02}.{hundredths % 100:02}"
    ms = round(seconds * 1000)
    mark = "," if form == "srt" else "."
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}{mark}{ms % 1000:03}"
