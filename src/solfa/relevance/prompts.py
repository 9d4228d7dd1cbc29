"""What language models are asked about tracks, how answers are checked, and two tracks as one sound.

The order of work is: describe, compare, decide, explain. Everything about tracks is JSON between ``<data>`` and
``</data>``, which no value can close; the words and the schemas of answers are in ``prompts.toml`` next to this file.
"""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import soundfile

from solfa.audio import at_rate
from solfa.audio.tags import clean
from solfa.core.files import table_of
from solfa.core.types import Audio
from solfa.relevance.summary import TrackSummary

_TEXTS = table_of("solfa.relevance", "prompts.toml")
Paradigm = Literal["pairwise", "listwise", "compare"]
_MOST_CHARS = 400  # of a text in an answer


def schema(paradigm: Paradigm) -> Any:
    """The JSON schema of answers."""
    return _TEXTS["schemas"][paradigm]


def messages(
    paradigm: Paradigm,
    context: str,
    tracks: Mapping[str, TrackSummary],
    *,
    titles: Mapping[str, str] | None = None,
    role: str = "",
    focus: Sequence[str] = (),
    sounds: tuple[Audio, Audio] | None = None,
    pause_s: float | None = 1.0,
) -> list[dict[str, Any]]:
    """The messages about tracks by their ids, which are ``A`` and ``B`` where there are two.

    ``role`` says who judges, ``focus`` names the attributes to look at. With ``sounds`` the model is given both as one
    recording with ``pause_s`` between, or if that is None the first alone, beside the description of the second.
    """
    texts = _TEXTS
    seen = {i: {"description": track.description, **track.known()} for i, track in tracks.items()}
    data = {"context": context, "attributes": [*focus], "titles": titles or {}, "tracks": seen}
    shown = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c").replace(">", "\\u003e")
    look = _fill(texts["focus"], names=", ".join(focus)) if focus else ""
    system = _fill(texts["system"], role=role or texts["role"], focus=look).strip()
    user: Any = _fill(texts[paradigm], data=f"<data>\n{shown}\n</data>").strip()
    if sounds is not None:
        how, sound = (
            ("first_as_audio", sounds[0]) if pause_s is None else ("both_as_audio", two_as_one(*sounds, pause_s))
        )
        user = [sound_part(sound), {"type": "text", "text": _fill(texts[how], pause=f"{pause_s or 0:g}") + user}]
    return [{"role": "system", "content": system}, {"role": "user", "content": user}]


def _fill(template: str, **values: str) -> str:
    """The template with values in its places, in one pass: what stands in a value is never a place."""
    first, *parts = template.split("<<")
    return first + "".join(values[name] + rest for name, _, rest in (part.partition(">>") for part in parts))


def checked(value: Any, form: Mapping[str, Any], name: str = "the answer") -> Any:
    """A value of the schema ``form``, its texts cleaned and cut. Raises ValueError, which says what is wrong."""
    kind = form.get("type")
    if kind is None and value in form["enum"]:
        return value
    if kind == "string" and isinstance(value, str):
        return clean(value)[:_MOST_CHARS]
    if kind == "number" and type(value) in (int, float) and 0 <= value <= 1:
        return float(value)
    if kind == "array" and isinstance(value, list):
        return [checked(item, form["items"], f"each of {name}") for item in value]
    if kind == "object" and isinstance(value, dict) and value.keys() >= {*form["required"]}:
        return {n: checked(value[n], part, n) for n, part in form["properties"].items()}
    raise ValueError(f"{name} must be {json.dumps(form)}")


def two_as_one(a: Audio, b: Audio, pause_s: float = 1.0) -> Audio:
    """Two sounds as one with silence between, at the rate of the first [shape=(a + pause + b,)]."""
    rate = a.sample_rate_hz
    return Audio(
        np.concatenate([a.samples, np.zeros(round(pause_s * rate), np.float32), at_rate(b, rate).samples]), rate
    )


def sound_part(audio: Audio) -> dict[str, Any]:
    """The sound as a part of a message: a 16-bit WAV file in base64."""
    file = io.BytesIO()
    soundfile.write(file, audio.samples, audio.sample_rate_hz, format="WAV", subtype="PCM_16")
    data = base64.b64encode(file.getvalue()).decode()
    return {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
