"""Text data for language models: questions and answers from metadata (LLark), captions from tags (LP-MusicCaps)."""

import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from solfa.core.clip import Clip
from solfa.core.errors import InputError, UnknownName
from solfa.core.files import table_of
from solfa.datagen.captions import caption
from solfa.datagen.captions.checks import CaptionRules, broken_rules, read
from solfa.datagen.captions.llm import facts
from solfa.llm import ModelClient

KINDS = ("instructions", "writing", "summary", "paraphrase", "attribute_prediction")
_TEXTS, _LONG_WORDS, _MOST_CHARS = table_of("solfa.datagen", "instructions.toml"), 25, 2000
_BANNED = {n: re.compile(rf"(?i)(?<!\w)(?:{'|'.join(row)})(?!\w)") for n, row in _TEXTS["banned"].items()}
_TAGS = {("beats per bar", ""): "{} beats to the bar", ("vocals", "yes"): "vocals", ("vocals", "none"): "no vocals"}
Rows = Iterator[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class TextWriter:
    """Rows of one of ``KINDS`` about a clip, by templates or a ``client``; and how many were dropped, by reason.

    Raises UnknownName for another kind; InputError for attribute_prediction without a client.
    """

    kind: str
    client: ModelClient | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UnknownName("kind of text data", self.kind, KINDS)
        if self.kind == "attribute_prediction" and self.client is None:
            raise InputError("attribute_prediction adds what is likely, which no template knows: name a model, --llm.")

    def __call__(self, clip: Clip) -> tuple[list[dict[str, Any]], Counter[str]]:
        dropped, make = Counter[str](), self._pairs if self.kind == "instructions" else self._caption
        maker = f"llm:{self.client.endpoint.model}" if self.client else "templates of solfa"
        about = {"id": clip.id, "source": clip.source, "licence": clip.licence or "unknown", "kind": self.kind}
        return [{**about, "maker": maker, **row} for row in make(clip, dropped)], dropped

    def _pairs(self, clip: Clip, dropped: Counter[str]) -> Rows:
        rng, known, made = random.Random(f"{self.seed}/{clip.id}"), clip.attributes, list[tuple[str, Any]]()
        styles = known.get("caption_styles") or ["captions of the source"] * len(clip.captions)
        for text, maker in zip(clip.captions, styles, strict=False):
            asked = rng.choice(_TEXTS["long" if len(text.split()) > _LONG_WORDS else "short"])
            yield {"family": "captioning", "question": asked, "answer": text, "maker": maker}
        for name in [n for n in _TEXTS["questions"] if self.client is None and known.get(n) not in (None, [], "")]:
            (answer,) = caption({name: known[name]}, seed=f"{self.seed}/{clip.id}", style="prose")
            answer = answer.partition(". ")[2] or answer  # what opens the prose says nothing
            made.append(("understanding", {"question": rng.choice(_TEXTS["questions"][name]), "answer": answer}))
        data = json.dumps({"facts": facts(known), "labels": clip.labels, "captions": clip.captions})
        for family, system in _TEXTS["families"].items() if self.client else ():
            messages = [{"role": "system", "content": system}, {"role": "user", "content": data}]
            pairs = self._asked(messages, "pairs")["pairs"]
            made += [(family, pair) for pair in (pairs if isinstance(pairs, list) else [None])]
        for family, pair in made:
            if why := dropped_for(pair, clip):
                dropped[why] += 1
            else:
                yield {"family": family, "question": pair["question"], "answer": pair["answer"]}

    def _caption(self, clip: Clip, dropped: Counter[str]) -> Rows:
        known = [(row["name"], row["value"]) for row in facts(clip.attributes) if row.get("sure", True)]
        named = [(name, v) for name, value in known for v in (value if isinstance(value, list) else [value])]
        tags = [*clip.labels] or [_TAGS.get((n, str(v)), _TAGS.get((n, ""), "{}").format(v)) for n, v in named]
        count = "one" if len(tags) == 1 else "many"
        if not tags:
            dropped["no tags"] += 1
        elif self.client is None:
            yield {"tags": tags, "caption": _TEXTS[self.kind][f"template_{count}"].format(", ".join(tags))}
        else:
            one, new = self.kind == "summary", ["new_attribute"] * (self.kind == "attribute_prediction")
            rules = CaptionRules(complete=False, one_sentence=one)
            content = f"{_TEXTS[self.kind][count]}\n{json.dumps(tags, ensure_ascii=False)}"
            said = self._asked([{"role": "user", "content": content}], "caption", *new)
            text = said["caption"] if isinstance(said["caption"], str) else ""
            if broken := set(broken_rules(text, {}, rules)) - {"false"}:
                dropped.update(broken)
            else:
                yield {"tags": tags, "caption": text, **{n: said[n] for n in new}}

    def _asked(self, messages: Any, *names: str) -> dict[str, Any]:
        kinds = {n: {"type": "string" if n == "caption" else "array"} for n in names}
        schema = {"type": "object", "properties": kinds, "required": [*names]}
        said = self.client.ask(messages, schema, seed=self.seed) if self.client else None
        return dict.fromkeys(names) | (said or {})


def dropped_for(pair: Any, clip: Clip) -> str:
    """Why a question with its answer is left out, "" if it is not: a banned phrase (by words), a name, a false fact."""
    if not isinstance(pair, dict) or not all(isinstance(pair.get(n), str) and pair[n].strip() for n in _BANNED):
        return "malformed"
    for part in _BANNED:
        text = pair[part][: _MOST_CHARS + 1]
        if len(text) > _MOST_CHARS:
            return f"{part} too long"
        if found := _BANNED[part].search(text):
            return f"{part} says '{found[0].lower()}'"
        if len(clip.artist) > 2 and re.search(rf"(?i)(?<!\w){re.escape(clip.artist)}(?!\w)", text):
            return f"{part} names the artist"
    false = {name.partition(":")[0] for name in read(pair["answer"], clip.attributes).false} & set(clip.attributes)
    return f"answer contradicts the {min(false)}" if false else ""
