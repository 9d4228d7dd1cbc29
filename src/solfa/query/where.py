"""Exact conditions on tags and measured values: ``tempo_bpm=90..110``, ``key!=D minor``, ``artist~zabriskie``."""

import re
from dataclasses import replace
from math import inf, isfinite

from solfa.constraints import InKey, Metre
from solfa.core.errors import InputError, UnknownName
from solfa.core.filters import FIELDS, Field, Filter, folded
from solfa.core.theory import Key, Mode
from solfa.core.vocabulary import concepts
from solfa.query.concepts import concept_named
from solfa.query.override import parse_value

_EXPRESSION = re.compile(r"\s*(?P<field>[A-Za-z_]+)\s*(?P<op>!=|!~|<=|>=|==|=|<|>|~)\s*(?P<value>.*?)\s*", re.DOTALL)
_RANGE = re.compile(r"(?P<low>-?\d+(?:\.\d+)?)?\s*\.\.\s*(?P<high>-?\d+(?:\.\d+)?)?")
_NUMBER = re.compile(r"-?\d+(?:\.(?P<decimals>\d+))?")
_OPS = {"number": ("=", "!=", "<", "<=", ">", ">="), "text": ("=", "!=", "~", "!~")}  # others: the first two
MAX_CHARS = 1000


def parse_where(expression: str) -> Filter:
    """The condition of one ``FIELD OP VALUE`` expression; ``|`` separates alternatives.

    Raises InputError if the field, the operator or the value cannot be used.

    >>> parse_where("tempo_bpm=90..110").high, parse_where("key!=D minor").negated
    (110.0, True)
    """
    if len(expression) > MAX_CHARS:
        raise InputError(f"the filter has {len(expression)} characters; at most {MAX_CHARS} are read.")
    match = _EXPRESSION.fullmatch(expression)
    if match is None:
        raise InputError(
            f"not a filter: {expression!r}. Expected FIELD OP VALUE, e.g. 'tempo_bpm=90..110' or 'artist~zabriskie'."
        )
    name, op, value = match["field"].lower(), match["op"].replace("==", "="), match["value"]
    if name not in FIELDS:
        raise UnknownName("field", name, FIELDS)
    field = FIELDS[name]
    if op not in (known := _OPS.get(field.kind, ("=", "!="))):
        raise InputError(f"{name} cannot be compared with {op!r}. Expected one of {', '.join(known)}.")
    if not value:
        raise InputError(f"the filter {expression!r} has no value. Expected something like {_example(name, field)}.")
    plain = Filter(field=name, kind=field.kind, text=expression.strip(), negated=op in ("!=", "!~"))
    if field.kind == "number":
        return _number(plain, op, value)
    parts = [part.strip() for part in value.split("|")]
    if not all(parts):
        raise InputError(f"an empty alternative in {expression!r}. Expected values between the '|'.")
    if field.kind == "concept":
        return _concept(plain, field, parts)
    if field.kind == "text":
        values = [folded(part) for part in parts]
        if not all(values):
            raise InputError(f"nothing to compare in {expression!r}. Expected letters or digits.")
        return replace(plain, values=tuple(values), contains=op in ("~", "!~"))
    values = [v for part in parts for v in (_keys(part) if field.kind == "key" else _metres(part))]
    return replace(plain, values=tuple(dict.fromkeys(values)))


def _example(name: str, field: Field) -> str:
    examples = {"number": f"{name}=90..110", "text": f"{name}~word", "key": f"{name}=F major", "metre": f"{name}=3/4"}
    return examples.get(field.kind, f"{name}={'no' if name == 'voice' else 'piano'}")


def _number(plain: Filter, op: str, value: str) -> Filter:
    low, high, low_open, high_open = -inf, inf, False, False
    span = _RANGE.fullmatch(value)
    number = _NUMBER.fullmatch(value)
    if span is not None and op in ("=", "!=") and (span["low"] or span["high"]):
        low = float(span["low"]) if span["low"] else -inf
        high = float(span["high"]) if span["high"] else inf
    elif number is not None:
        point = float(value)
        if op in ("=", "!="):
            half = 0.5 * 10.0 ** -len(number["decimals"] or "")
            low, high, high_open = point - half, point + half, True
        elif op in ("<", "<="):
            high, high_open = point, op == "<"
        else:
            low, low_open = point, op == ">"
    else:
        raise InputError(f"not a number in {plain.text!r}: {value!r}. Expected a number, or a range such as 90..110.")
    if low > high or not (isfinite(low) or isfinite(high)):
        raise InputError(f"an empty range in {plain.text!r}: {value!r}. Expected the lower bound first.")
    return replace(plain, low=low, high=high, low_open=low_open, high_open=high_open)


def _keys(part: str) -> list[str]:
    """Key names as the analysis writes them; a tonic alone is both modes, a mode alone all tonics."""
    names = []
    for constraint in parse_value(InKey, part):
        tonics = range(12) if constraint.tonic is None else (constraint.tonic,)
        modes: tuple[Mode, ...] = ("major", "minor") if constraint.mode is None else (constraint.mode,)
        names += [str(Key(tonic, mode)) for tonic in tonics for mode in modes]
    return names


def _metres(part: str) -> list[str]:
    return [metre for constraint in parse_value(Metre, part) for metre in constraint.metres]


def _concept(plain: Filter, field: Field, parts: list[str]) -> Filter:
    values, negated = [], plain.negated
    for part in parts:
        if plain.field == "voice" and folded(part) in ("no", "none", "false", "yes", "true", "any"):
            if len(parts) > 1:
                raise InputError(f"yes and no cannot be alternatives in {plain.text!r}. Expected one of them alone.")
            negated ^= folded(part) in ("no", "none", "false")
            values.append("voice")
            continue
        found = concept_named(part)
        if found is None or concepts()[found].kind not in field.kinds:
            names = [n for c in concepts().values() if c.kind in field.kinds for n in (c.names[0], c.id)]
            raise UnknownName(plain.field, part, names)
        values.append(found)
    return replace(plain, negated=negated, values=tuple(dict.fromkeys(values)))
