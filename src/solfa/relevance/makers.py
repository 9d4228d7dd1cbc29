"""Summaries by language models: out of a text, or out of what an audio model says of the sound.

Models are asked only at endpoints that the user names. What they say is data from outside: a field counts if its value
is valid and the words that it is taken from are in the text; what is measured goes before what is said.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from solfa.audio import at_rate, stretches
from solfa.audio.tags import clean
from solfa.constraints import Presence
from solfa.core.errors import InputError
from solfa.core.files import table_of, write_whole
from solfa.core.text import is_latin
from solfa.core.types import Analysis, Audio
from solfa.core.vocabulary import KINDS as VOCABULARY
from solfa.core.vocabulary import concepts, lineage
from solfa.llm import ModelClient
from solfa.query import parse
from solfa.relevance.captions import SoundCheck, caption_faults
from solfa.relevance.llm_judge import sound_part
from solfa.relevance.rules import family_of, sentence, summarize
from solfa.relevance.summary import KINDS, SCHEMA, FieldSource, TrackSummary, from_json, to_json, valid
from solfa.retrieval.like import cut

_TABLE = table_of("solfa.relevance", "makers.toml")
PROMPT_VERSION = 1  # of makers.toml
_MEASURED = ("tempo_bpm", "key", "metre", "genre_family")  # not asked for: measured, or by the table of families
_VOICE = ("vocals", "vocal_role", "vocal_delivery", "vocal_language")
_IDS = {"genre": ("genre",), "instruments": ("instrument", "voice"), "mood": ("mood",), "suitable_usages": ("use",)}
_EXCERPT_S, _RATE_HZ, _MOST_CHARS = 30.0, 16_000, 20_000  # of sound, and of a caption
_UNREAD = "no answer that could be read, all fields are as measured"


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelMaker:
    """A text model (``reader``) fills in the summary from a text, and what the text does not state is as measured.

    The text is what an audio model (``listener``) says of 30 s from the middle of the track, else the ``caption``, else
    the measurements written down. A caption with faults, or further from the sound than ``check`` allows, is asked for
    once more, and the one with fewer is read; its faults are among the flags, as the check of sound refuses many that
    are right. One in another script is not read. Summaries are kept in ``folder``, by sound, models, prompt and schema,
    but for those of models that gave no answer.
    """

    reader: ModelClient
    folder: Path
    caption: str = ""
    listener: ModelClient | None = None
    check: SoundCheck | None = None

    @property
    def models(self) -> str:
        """The names of the models, that of the reader last."""
        return ", ".join(one.endpoint.model for one in (self.listener, self.reader) if one is not None)

    def make(self, content_hash: str, file: Path, analysis: Analysis) -> TrackSummary:
        """The summary of a sound with this hash, in this file: the kept one, or a new one.

        Raises DecodeError if the file cannot be read, InputError if the folder cannot be written, and as
        ``ModelClient.text`` does.
        """
        space = self.check and self.check.model.space
        asked = self.models, self.listener is None, self.caption, PROMPT_VERSION, SCHEMA, analysis.extractors, space
        path = self.folder / content_hash / f"{sha256(repr(asked).encode()).hexdigest()}.json"
        if (summary := _kept(path)) or _UNREAD in (summary := self._made(file, analysis)).flags:
            return summary
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, json.dumps(to_json(summary)).encode())
        except OSError as error:
            raise InputError(f"cannot keep summaries in {self.folder}: {error.strerror}.") from None
        return summary

    def _made(self, file: Path, analysis: Analysis) -> TrackSummary:
        if self.listener is None and not self.caption:
            return self._read(written(summarize(analysis)), analysis, ())
        cosines = self.check and partial(self.check.cosines, self.check.vector(file))
        tries = []
        for seed in range(1 if self.listener is None else 2):
            said = self.caption if self.listener is None else self.listener.text(self._asked(file, analysis), seed=seed)
            text = "\n".join(filter(None, map(clean, (said or "")[:_MOST_CHARS].splitlines())))
            faults = caption_faults(text, analysis, _TABLE["sections"] if self._prompt() else ())
            near = cosines(text, text) if cosines and text else {}
            if near and near["caption-track"] <= near["least"]:
                faults += (f"sound: cosine {near['caption-track']:.2f}, expected more than {near['least']:.2f}",)
            tries.append((not text, len(faults), seed, text, tuple(f"caption: {fault}" for fault in faults)))
            if not faults:
                break
        *_, text, flags = min(tries)
        if not text or (self.listener and "caption: script" in " ".join(flags)):
            return replace(summarize(analysis), maker=self.models, flags=(*flags, _UNREAD), text=text)
        made = self._read(text, analysis, flags)
        near = cosines(text, made.description) if cosines else {}
        shown = ", ".join(f"cosine {name} {value:.2f}" for name, value in near.items())
        return replace(made, flags=(*made.flags, *filter(None, [shown])))

    def _prompt(self) -> str:
        """What the audio model is asked; nothing of one that takes no words."""
        name = "" if self.listener is None else self.listener.endpoint.model.casefold()
        is_asked = name and not any(part in name for part in _TABLE["takes_no_words"])
        return str(_TABLE["caption"]).format(sections=", ".join(_TABLE["sections"])) if is_asked else ""

    def _asked(self, file: Path, analysis: Analysis) -> list[dict[str, Any]]:
        """The request for a caption: the middle of the file as WAV, and the prompt."""
        start_s, parts = max(0.0, (analysis.duration_s - _EXCERPT_S) / 2), [np.zeros(0, np.float32)]
        for audio in stretches(file, _EXCERPT_S):
            if audio.start_s >= start_s + _EXCERPT_S:
                break
            parts.append(at_rate(cut(audio, start_s, start_s + _EXCERPT_S), _RATE_HZ).samples)
        words = [{"type": "text", "text": prompt}] if (prompt := self._prompt()) else []
        return [{"role": "user", "content": [sound_part(Audio(np.concatenate(parts), _RATE_HZ)), *words]}]

    def _read(self, text: str, analysis: Analysis, flags: tuple[str, ...]) -> TrackSummary:
        user = {"role": "user", "content": json.dumps({"text": text}, ensure_ascii=False)}
        answer = self.reader.ask(
            [{"role": "system", "content": _TABLE["extract"].format(fields=_schema()["required"])}, user], _schema(),
            fault=lambda found: "; ".join(_fields(found, text)[2]),
        )  # fmt: skip
        found, sources, wrong = _fields(answer or {}, text)
        notes = [f"{fault}, left out" for fault in wrong] + [_UNREAD] * (answer is None)
        known = (measured := summarize(analysis)).known()
        voiced = _voiced(known), _voiced(found)
        if len(set().union(*voiced)) > 1:
            found = {name: value for name, value in found.items() if name not in _VOICE}
            notes.append("vocals: the text contradicts " + ("the measurement, which counts" if voiced[0] else "itself"))
        if "tempo" in known and found.pop("tempo", known["tempo"]) != known["tempo"]:
            notes.append("tempo: the text contradicts the measurement, which counts")
        if "genre" in found:  # the two go together
            known.pop("genre_family", None)
        both = known | found
        origin = {name: sources[name] if name in found else measured.sources[name] for name in both}
        origin.pop("description", None)
        said = {"description": sentence(both) if found else measured.description} | both
        return TrackSummary(**said, sources=origin, maker=self.models, flags=(*flags, *notes), text=text)


def kept_summary(folder: Path, content_hash: str, model: str) -> TrackSummary | None:
    """The newest summary of a sound that ``ModelMaker`` kept and this model had a part in; None if there is none."""
    files = sorted((folder / content_hash).glob("*.json"), key=lambda file: -file.stat().st_mtime_ns)
    return next((one for file in files if (one := _kept(file)) and model in one.maker.split(", ")), None)


def _kept(path: Path) -> TrackSummary | None:
    """The summary in a file; None if there is none, or none that this version reads."""
    try:
        return from_json(json.loads(path.read_bytes()))
    except (OSError, ValueError, RecursionError, InputError):
        return None


def _voiced(fields: Mapping[str, Any]) -> set[bool]:
    """Whether fields say that there is a voice; both if they contradict each other, none if they say nothing of it."""
    first = (value.partition(" ")[0].strip(",.;") for name, value in fields.items() if name in _VOICE)
    return {word.casefold() not in ("none", "no", "without", "instrumental") for word in first}


def written(measured: TrackSummary) -> str:
    """What was measured as text: a field a line, with the values and confidences that it comes from."""
    from_, known = measured.sources, measured.known().items()
    return "\n".join(f"{name}: {value} ({from_[name].measurement} {from_[name].value})" for name, value in known)


def _fields(answer: Mapping[str, Any], text: str) -> tuple[dict[str, Any], dict[str, FieldSource], list[str]]:
    """The valid fields of an answer about a text, the words that each comes from, and what is wrong with the others."""
    found, sources, wrong = dict[str, Any](), dict[str, FieldSource](), list[str]()
    folded = " ".join(text.casefold().split())
    for name in _schema()["required"]:
        item = answer.get(name)
        value, quote = (item.get("value"), item.get("quote")) if isinstance(item, dict) else (item, "")
        if value in (None, "", [], "null", "unknown"):
            continue
        quote = " ".join(quote.split()).strip(' ."') if isinstance(quote, str) else ""
        try:
            value = valid(name, value)
        except ValueError:
            wrong.append(f"{name}: not valid")
            continue
        words = value if isinstance(value, tuple) else (value,)
        words = tuple(dict.fromkeys(_id(word, _IDS[name]) for word in words)) if name in _IDS else words
        if not is_latin("".join(words)):
            wrong.append(f"{name}: not in English")
        elif name == "description" and (more := _beyond(value, text)):
            wrong.append(f"description: {more} is not in the text")
        elif name != "description" and (len(quote) < 3 or quote.casefold() not in folded):
            wrong.append(f"{name}: its quote is not in the text")
        elif "" in words:
            wrong.append(f"{name}: names what there is not")
        else:
            found[name] = words if isinstance(value, tuple) else words[0]
            sources[name] = FieldSource(measurement="text", sentence=quote)
    genres = _named(found.get("genre", ""), ("genre",))
    if genres and (family := family_of(genres[-1].concept)):  # "russian punk rock" is punk
        found["genre_family"], sources["genre_family"] = family, sources["genre"]
    return found, sources, wrong


def _beyond(sentence: str, text: str) -> str:
    """A concept that a sentence names and a text does not, nor a narrower one; "" if there is none."""
    folded = text.casefold().replace("_", " ")
    narrower = (
        (one, [c for c in concepts().values() if one.concept in lineage(c.id)]) for one in _named(sentence, VOCABULARY)
    )
    return next((concepts()[one.concept].title for one, known in narrower
                 if not any(name.casefold() in folded for c in known for name in c.names)), "")  # fmt: skip


def _id(words: str, kinds: tuple[str, ...]) -> str:
    """The id of the one concept of these kinds that words name, else a slug; "" of "no drums"."""
    named = _named(words, kinds)
    slug = named[0].concept if len(named) == 1 else "_".join(words.casefold().split())
    return "" if any(one.negated for one in named) else slug


def _named(words: str, kinds: tuple[str, ...]) -> list[Presence]:
    """What words say of concepts of these kinds, as a query would be read."""
    found = parse(words.replace("_", " ")).constraints if words.strip("_ ") else ()
    return [c for c in found if isinstance(c, Presence) and c.kind in kinds]


@cache
def _schema() -> dict[str, Any]:
    """The JSON schema of an answer: for each field its value and the words of the text that state it."""
    text, texts = {"type": "string"}, {"type": "array", "items": {"type": "string"}}
    values = {
        name: texts if kind == "list" else {"type": ["string", "null"]} if kind == "text" else {"enum": [*kind, None]}
        for name, kind in KINDS.items() if name not in _MEASURED
    }  # fmt: skip
    return _object({name: _object({"value": value, "quote": text}) for name, value in values.items()})


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}
