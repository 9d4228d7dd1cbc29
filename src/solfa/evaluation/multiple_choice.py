"""Multiple-choice questions about music in the format of MuChoMusic (Weck et al., ISMIR 2024): read, made, scored.

An item has a right option and distractors of three kinds: wrong but related to the question, true of the music but not
what was asked, and neither. ``answer_orders`` has the place in ``KINDS`` of each of the ``answers`` that are shown.
"""

import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from operator import eq
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from solfa.core.claims import chord_symbol
from solfa.core.clip import Clip
from solfa.core.errors import InputError
from solfa.core.files import table_of
from solfa.core.text import clock
from solfa.core.theory import KEYS, Chord
from solfa.core.vocabulary import concept, concepts, is_other_source, lineage
from solfa.evaluation.reports import Report
from solfa.evaluation.significance import interval

KINDS = ("right", "incorrect but related", "correct but unrelated", "incorrect and unrelated")
_TABLE, _LATE_S = table_of("solfa.evaluation", "multiple_choice.toml"), 4.0
_MASK = 0xE000  # from here on characters that stand for options


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One question, by the names of its file. Raises InputError if it has not 2 to 26 options in an order."""

    id: str
    question: str
    answers: tuple[str, ...]
    answer_orders: tuple[int, ...]
    dataset: str = ""
    genre: str = ""
    reasoning: tuple[str, ...] = ()
    knowledge: tuple[str, ...] = ()
    audio_path: str = ""
    model_output: str | None = None

    def __post_init__(self) -> None:
        texts, order = (self.question, *self.answers, *self.reasoning, *self.knowledge), sorted(self.answer_orders)
        if not all(isinstance(t, str) and t.strip() for t in texts) or order != [*range(len(self.answers))]:
            raise InputError(
                f"item {self.id!r}: expected a question, and answers with an order, got {asdict(self)!r:.300}."
            )
        if not 2 <= len(order) <= len(ascii_uppercase):
            raise InputError(f"item {self.id!r}: expected 2 to 26 answers, got {len(order)}.")

    @property
    def prompt(self) -> str:
        """What a model is asked."""
        shown = "".join(f"({letter}) {text} " for letter, text in zip(ascii_uppercase, self.answers, strict=False))
        return f"Question: {self.question}\n Options: {shown}\n The correct answer is: "


# Answers an item from the sound of an item (None: without sound) by the place of an option, or None.
System = Callable[[Item, Item | None], int | None]


def read_items(path: Path) -> tuple[Item, ...]:
    """The items of a JSON file as MuChoMusic's ``prepare_prompts.py`` writes it. Raises InputError if it is none."""
    try:
        items = tuple(map(_item, json.loads(path.read_text(encoding="utf-8"))))
        if not items:
            raise ValueError("no question in it")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as bad:
        said = f"no field {bad}" if isinstance(bad, KeyError) else getattr(bad, "strerror", None) or bad
        raise InputError(
            f"{path}: expected a JSON list of objects with prompt, answers and answer_orders ({said})."
        ) from bad
    return items


def _item(row: Mapping[str, Any]) -> Item:
    known: dict[str, Any] = {n: str(row.get(n) or "") for n in ("id", "dataset", "genre", "audio_path")}
    known |= {n: tuple(list.copy(row.get(n) or [])) for n in ("reasoning", "knowledge", "answers", "answer_orders")}
    question = re.split(r"\n\s*Options:", str.strip(row["prompt"]).rpartition("Question:")[2])[0].strip()
    output = row.get("model_output")
    return Item(question=question, model_output=output if isinstance(output, str) else None, **known)


def document(items: Iterable[Item]) -> str:
    """The JSON that `read_items` reads."""
    return json.dumps([{**asdict(i), "prompt": i.prompt} for i in items], ensure_ascii=False, indent=1) + "\n"


def find_answer(output: str, options: Sequence[str]) -> int | None:
    """The option that a model's words choose; None where they choose none, or several.

    Letters count as words of their own: after "answer", else in brackets or at the start of a line, else anywhere; a
    chord, a key, an article and a letter that is denied do not. Without a letter, it is the one option whose text is in
    the output. A letter with the text of another option behind it is no answer.

    >>> options = ("D minor", "A minor", "C major", "B major")
    >>> [find_answer(text, options) for text in ("(B)", "A calm piece in C major.", "It is D, not A.", "A or B")]
    [1, 2, 3, None]
    """
    text = re.sub(r"[*_`\ue000-\uf8ff]", "", output).rpartition("The correct answer is:")[2].strip()
    named, letters, rules = set[int](), ascii_uppercase[: len(options)], _TABLE["letters"]
    for i in sorted(range(len(options)), key=lambda i: -len(options[i])):
        words = r"\s+".join(map(re.escape, options[i].strip().rstrip(".").split()))
        found = [*re.finditer(rf"(?<!\w){words}(?![\w#])", text, re.I)] if len(options[i].strip()) > 1 else []
        for match in reversed(found):
            named |= set() if _denied(text, match) else {i}
            text = text[: match.start()] + chr(_MASK + i) + text[match.end() :]
    for name in ("answer", "marked", *(() if re.search(rules["notes"], text) else ("word",))):
        pattern = rules[name].replace("<<after>>", rules["after"]).replace("<<upper>>", letters)
        found = [
            m
            for m in re.finditer(pattern.replace("<<either>>", letters + letters.lower()), text, re.M)
            if not _denied(text, m) and not re.match(r"a\s*[\ue000-\uf8ff]", text[m.start(m.lastindex or 0) :])
        ]
        chosen = {letters.index(m[m.lastindex or 0].upper()) for m in (found[-1:] if name == "answer" else found)}
        if chosen:
            behind = re.match(r"[\s)\].:\"'-]*([\ue000-\uf8ff])", text[found[-1].end(found[-1].lastindex or 0) :])
            return chosen.pop() if len(chosen) == 1 and (not behind or ord(behind[1]) - _MASK in chosen) else None
    return named.pop() if len(named) == 1 else None


def _denied(text: str, match: re.Match[str]) -> bool:
    before, rules = text[: match.start(match.lastindex or 0)].lower(), _TABLE["letters"]
    return bool(re.search(rules["denied_before"], before) or re.match(rules["denied_behind"], text[match.end() :]))


def make_items(clips: Iterable[Clip], *, dataset: str = "", seed: int = 0) -> Iterator[Item]:
    """Items on clips whose truth is known: one for each fact, with distractors of the three kinds."""
    for clip in clips:
        rng, sound = random.Random(f"{seed} {clip.id}"), Path(str(clip.audio or "")).name
        facts = {n: (about, right, rng.choice(wrong)) for n, about, right, wrong in _facts(clip, rng) if wrong}
        for name, (about, right, wrong) in facts.items():
            others = [fact for other, fact in facts.items() if other != name]
            answers = [right, wrong, *(rng.choice(others)[n] for n in (1, 2) if others)]
            if len(set(answers)) == len(KINDS):
                order = tuple(rng.sample(range(len(KINDS)), len(KINDS)))
                yield Item(id=f"{clip.id}-{name}", question=rng.choice(_TABLE["questions"][name]).format(about),
                           answers=tuple(answers[n] for n in order), answer_orders=order, dataset=dataset,
                           knowledge=(name,), audio_path=sound)  # fmt: skip


def _facts(clip: Clip, rng: random.Random) -> Iterator[tuple[str, str, str, list[str]]]:
    """A kind of fact, what a question is about, the right answer, and wrong ones of the same kind."""
    truth, known = clip.annotation, dict[str, Any](clip.attributes)
    if truth is not None:
        known = {
            "key": str(truth.key or ""),
            "tempo_bpm": truth.tempo_bpm,
            "metre": truth.metre,
            "chords": [c.label for c in truth.chords],
            "instruments": [s.label for s in truth.instruments],
        } | known
    if key := known.get("key"):
        yield "key", "", key, [str(k) for k in KEYS if str(k) != key]
    if metre := known.get("metre"):  # twice or half as many beats are no clear mistake
        beats = int(metre.partition("/")[0])
        yield "metre", "", metre, [m for m in _TABLE["metres"] if int(m.partition("/")[0]) / beats not in (0.5, 1, 2)]
    if bpm := known.get("tempo_bpm"):
        yield "tempo", "", f"{bpm:.0f} BPM", [f"{bpm * k:.0f} BPM" for k in (0.7, 0.8, 1.25, 1.4)]
    if present := sorted(c for c in known.get("instruments", ()) if c in concepts()):
        absent = [c for c in concepts().values() if c.kind == "instrument" and len(lineage(c.id)) == 1]
        others = [c.title for c in absent if all(is_other_source(c.id, p) for p in present)]
        yield "instruments", "", concept(rng.choice(present)).title, others
    starts = {s.label: s.start_s for s in reversed(() if truth is None else truth.instruments) if s.label in concepts()}
    if truth is not None and (late := {c: s for c, s in starts.items() if s >= _LATE_S}):
        name = rng.choice(sorted(late))
        times = [clock(t) for t in range(0, int(truth.duration_s), 4) if abs(t - late[name]) >= 2 * _LATE_S]
        yield "entrance", concept(name).title, clock(late[name]), times
    if len(chords := [c for label in known.get("chords", ()) if (c := Chord.parse(label)) is not None][:4]) == 4:
        moved = [[Chord((c.root + step) % 12, c.quality) for c in chords] for step in range(12)]
        right, *wrong = (" - ".join(map(chord_symbol, own)) for own in moved)
        yield "chords", "", right, wrong


def evaluate(items: Sequence[Item], system: System | None, *, model: str, data: str, seed: int = 0) -> Report:
    """Accuracy, share unanswered, and accuracy by genre, knowledge and reasoning; None scores the items' own outputs.

    ``details`` have which distractors were chosen, and blind rows: the best constant letter, random letters, and the
    system without sound ("text-only") and with that of another item ("mismatched").

    Raises InputError if there are no items, or none has an output where there is no system.
    """
    if not items or (system is None and all(i.model_output is None for i in items)):
        raise InputError("nothing to score: no question, or none with a model_output; --system says who answers.")
    answer, rng = system or (lambda i, _: find_answer(i.model_output or "", i.answers)), random.Random(seed)
    sounds = list(dict.fromkeys(i.audio_path or i.id for i in items))
    groups, rights = [sounds.index(i.audio_path or i.id) for i in items], [i.answer_orders.index(0) for i in items]
    constants = [[n] * len(items) for n in range(max(len(i.answers) for i in items))]
    rows: dict[str, Sequence[int | None]] = {
        "own": [answer(i, i) for i in items], "random": [rng.randrange(len(i.answers)) for i in items],
        "constant letter": max(constants, key=lambda row: sum(map(eq, row, rights))),
    }  # fmt: skip
    if system is not None:
        first = {g: i for i, g in zip(reversed(items), reversed(groups), strict=True)}
        others = [first[(g + 1) % len(sounds)] for g in groups] if len(sounds) > 1 else []
        rows |= {"text-only": [system(i, None) for i in items]}
        rows |= {"mismatched": [system(i, o) for i, o in zip(items, others, strict=True)]} if others else {}
    values = {row: {"accuracy": [float(a == r) for a, r in zip(given, rights, strict=True)],
                    "unanswered": [float(a is None) for a in given]} for row, given in rows.items()}  # fmt: skip
    blind = {row: {n: interval(v, groups=groups, seed=seed) for n, v in own.items()} for row, own in values.items()}
    metrics, own = blind.pop("own"), values["own"]
    labels = [[f"genre {i.genre}" * bool(i.genre), *map("knowledge {}".format, i.knowledge),
               *map("reasoning {}".format, i.reasoning)] for i in items]  # fmt: skip
    for label in sorted({label for row in labels for label in row if label}):
        metrics[label] = interval(
            [a for a, row in zip(own["accuracy"], labels, strict=True) if label in row], seed=seed
        )
    chosen = Counter(i.answer_orders[a] for i, a in zip(items, rows["own"], strict=True) if a is not None)
    details = {"chosen": {KINDS[n] if n < len(KINDS) else f"{n}": chosen[n] for n in sorted(chosen)},
               "blind": {row: {n: asdict(v) for n, v in own.items()} for row, own in blind.items()}}  # fmt: skip
    pool = hashlib.sha256(document(replace(i, model_output=None) for i in items).encode()).hexdigest()[:32]
    return Report(task="qa", model=model, space="", data=data, split="all", revision=pool, pool=pool, seed=seed,
                  num_queries=len(items), num_items=len(sounds), metrics=metrics, groups=tuple(groups), details=details,
                  per_query={n: tuple(v) for n, v in own.items()}, statistics=dict.fromkeys(own, "mean"))  # fmt: skip
