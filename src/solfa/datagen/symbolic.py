"""Multiple-choice questions about notation: the music world's scores as ABC (abcnotation.com, standard 2.1).

Notes last until the next one of their bar, on a grid of sixteenths (eighths where a beat is three of them); every note
has its accidental, so that a tune reads the same in any key signature.
"""

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from string import ascii_uppercase

import numpy as np

from solfa.core.errors import InputError, UnknownName
from solfa.core.files import table_of
from solfa.core.theory import Chord
from solfa.core.types import Rng
from solfa.datagen.captions.facts import Spelling
from solfa.datagen.world.compose import compose
from solfa.datagen.world.score import Score

_TABLE = table_of("solfa.datagen", "symbolic.toml")
TASKS, MODES = tuple(_TABLE["questions"]), tuple(_TABLE["modes"])
_NOTES: dict[bool, list[str]] = {n == "flats": _TABLE["notes"][n].split() for n in ("flats", "sharps")}
_INTERVALS = _TABLE["notes"]["intervals"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """A question with its options; ``order[i]`` is 0 where ``options[i]`` is right."""

    id: str
    task: str
    text: str
    options: tuple[str, ...]
    order: tuple[int, ...]


class Tune:
    """The melody of a score with one metre, bar by bar: ``rhythms`` in units of L:, ``pitches`` of MIDI, ``chords``."""

    def __init__(self, score: Score) -> None:
        bars, key = score.bars(), str(score.keys[0][2].key)
        metre, notes = bars[0][2], next((p.notes for p in score.parts if p.role in ("lead", "solo")), ())
        unit = 3 if metre.division == 3 else 4 if metre.name.endswith("/4") else 2
        self._spelling = Spelling.of({"key": key})
        self.rhythms, self.pitches = list[tuple[int, ...]](), list[list[int]]()
        self._total, tonic = metre.beats * unit, key.split()[0] + "m" * key.endswith("minor")
        self.header = f"X:1\nM:{metre.name}\nL:1/{8 if unit == 3 else 16}\nK:{tonic}\n"
        found = [score.chord_at(start) for start, _, _ in bars]
        self.chords = ["N.C." if c is None else self._spelling.symbol(Chord(c.root, c.quality)) for c in found]
        for start, end, _ in bars:
            at = {round((n.start - start) * unit): n.pitch for n in notes if start <= n.start < end}
            at.pop(self._total, None)
            places = [*sorted(at), self._total]
            self.rhythms.append(tuple(int(n) for n in np.diff(places)))
            self.pitches.append([at[place] for place in places[:-1]])

    def abc(self, first: int, last: int, *, moved: int = 0, chords: bool = False) -> str:
        """Bars of the tune, higher by some semitones."""
        texts = []
        for i in range(first, last):
            rest = self._total - sum(self.rhythms[i])
            notes = [self._note(p + moved) + f"{n}" for p, n in zip(self.pitches[i], self.rhythms[i], strict=True)]
            texts.append(f'"{self.chords[i]}"' * chords + " ".join([f"z{rest}"] * (rest > 0) + notes))
        return " | ".join(texts) + " |]"

    def _note(self, pitch: int) -> str:
        name, octave = _NOTES[self._spelling.flats][pitch % 12], pitch // 12 - 5
        return (name.lower() if octave > 0 else name) + ("'" * (octave - 1) if octave > 0 else "," * -octave)


def _drawn(task: str, score: Score, rng: Rng) -> tuple[str, list[str]] | None:
    """A question and its options, the right one first; None where the score has no such question."""
    tune, ask = Tune(score), _TABLE["questions"][task]
    first = next((i for i in range(len(tune.pitches) - 3) if all(len(p) > 1 for p in tune.pitches[i : i + 4])), None)
    if first is None or len(score.metres) > 1 or len({str(scale) for _, _, scale in score.keys}) > 1:
        return None
    part, row = tune.header + tune.abc(first, first + 4), " - ".join(tune.chords[first : first + 4])
    moves = [0, *map(int, rng.choice([1, 2, 3, 5, 6, 8, 9, 10], 3, replace=False))]
    if task == "theory":
        gaps = [abs(b - a) for a, b in zip(tune.pitches[first], tune.pitches[first][1:], strict=False) if a != b]
        if not gaps or gaps[0] > 12:
            return None
        others = rng.permutation([n for n in range(12) if n != gaps[0] - 1])[:3]
        return f"{ask.format(1)}\n{part}", [_INTERVALS[n] for n in (gaps[0] - 1, *others)]
    if task == "motif":
        common = Counter(r for r in tune.rhythms if r).most_common(4)
        if len(common) < 4 or common[0][1] == common[1][1]:
            return None
        return f"{ask}\n{tune.header}{tune.abc(0, len(tune.rhythms))}", [" ".join(map(str, r)) for r, _ in common]
    if task == "form":
        right, long = _letters([name for _, _, name in score.sections]), round(len(tune.chords) / len(score.sections))
        loops = [tuple(tune.chords[i : i + long]) for i in range(0, len(tune.chords), long)]
        drawn = dict.fromkeys(_letters(list(rng.permutation(list(right)))) for _ in range(20))
        text = f"{ask.format(long)}\n{tune.header}{tune.abc(0, len(tune.chords), chords=True)}"
        return (text, [right, *[o for o in drawn if o != right][:3]]) if _letters(loops) == right else None
    if task == "harmony":
        moved = [Tune(score.moved(n)) for n in moves]
        return f"{ask}\n{part}", [" - ".join(t.chords[first : first + 4]) for t in moved]
    return f"{ask.format(row)}\n{tune.header.strip()}", [tune.abc(first, first + 4, moved=n) for n in moves]


def _letters(names: Sequence[Hashable]) -> str:
    order = list(dict.fromkeys(names))
    return "".join(ascii_uppercase[order.index(name)] for name in names)


def choices(count: int, *, mode: str = "default", seed: int = 0) -> Iterator[Choice]:
    """Questions of all ``TASKS`` in turn, asked in one of ``MODES``; of in-context, each after a solved example.

    Raises UnknownName for another mode, InputError for a ``count`` below 1.
    """
    if count < 1:
        raise InputError(f"{count} questions: expected 1 or more.")
    if mode not in MODES:
        raise UnknownName("mode of prompts", mode, MODES)
    for number in range(count):
        rng, task = np.random.default_rng([seed, number]), TASKS[number % len(TASKS)]
        (text, options, order), (solved, theirs, right) = (_shuffled(task, rng) for _ in range(2))
        shown = " ".join(f"({letter}) {option}" for letter, option in zip("ABCD", theirs, strict=True))
        example = (
            f"Example: {solved}\nChoices: {shown}\nAnswer: {'ABCD'[right.index(0)]}\n\n" if mode == "in-context" else ""
        )
        yield Choice(id=f"{mode}-{seed}-{number}", task=task, text=f"{example}{text}\n{_TABLE['modes'][mode]}",
                     options=options, order=order)  # fmt: skip


def _shuffled(task: str, rng: Rng) -> tuple[str, tuple[str, ...], tuple[int, ...]]:
    while (found := _drawn(task, compose(float(rng.choice([8.0, 12.0])), rng), rng)) is None or len({*found[1]}) != 4:
        pass
    order = tuple(int(i) for i in rng.permutation(4))
    return found[0], tuple(found[1][i] for i in order), order
