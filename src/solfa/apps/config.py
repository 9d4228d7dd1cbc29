"""Defaults of options from a TOML file: a key is an option, a table a command; the command line goes before it."""

import os
import tomllib
from collections.abc import Iterator, Mapping
from functools import reduce
from pathlib import Path
from typing import Any

import typer
from platformdirs import user_config_path

from solfa.core.errors import InputError

_NEVER = ("help", "version", "install-completion", "show-completion", "force", "json")  # belong to one call


def config_path() -> Path:
    """``SOLFA_CONFIG`` where set, else config.toml in the platform's configuration directory."""
    named = os.environ.get("SOLFA_CONFIG")
    return Path(named).expanduser() if named else user_config_path("solfa", appauthor=False) / "config.toml"


def load(path: Path) -> dict[str, Any]:
    """The settings as written; nothing if there is no file.

    Raises InputError if it cannot be read, or is no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}.") from None
    except ValueError as error:  # no UTF-8, or no TOML: the message says where
        raise InputError(f"{path} is not valid TOML: {error}. Expected lines such as model = 'solfa-1'.") from None


def defaults(root: Any, ctx: typer.Context, path: Path) -> dict[str, Any]:
    """What click takes as ``default_map``, every key and value checked against the options of the commands.

    Raises InputError if a key is no option, a table no command, or a value of the wrong type.
    """
    settings = load(path)
    tables, commands = dict(_tables(settings)), dict(_commands(root))
    groups = {at[:depth] for at in commands for depth in range(len(at))}
    for at, table in tables.items():
        here, words = ".".join(at), " ".join(at)
        if at not in groups | commands.keys():
            raise _mistake(path, here, None, f"no such command: {words}")
        for key in table if at and at in groups else ():
            raise _mistake(path, here, key, f"{key!r} must be in the table of a command of {words}")
    found: dict[str, Any] = {}
    used, wrong = set[str](), dict[str, str]()
    for at, command in commands.items():
        options, table, here = dict(_options(command)), tables.get(at, {}), ".".join(at)
        for key in table.keys() - options.keys():
            raise _mistake(path, here, key, f"{' '.join(at)} has no option {key!r}")
        own = reduce(lambda inner, name: inner.setdefault(name, {}), at, found)
        for key, value in {**{k: v for k, v in tables[()].items() if k in options}, **table}.items():
            try:
                own[options[key].name] = _checked(options[key], ctx, value, path.parent)
                used.add(key)
            except (TypeError, ValueError, typer.BadParameter) as error:
                reason = getattr(error, "message", str(error)).rstrip(".")
                said = wrong.setdefault(key, f"{key} = {value!r}: {reason}")
                if key in table:
                    raise _mistake(path, here, key, said) from None
    for key in tables[()].keys() - used:
        raise _mistake(path, "", key, wrong.get(key, f"no command has an option {key!r}"))
    return found


def _tables(settings: Mapping[str, Any], at: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Every table with its place, the outermost first; without the tables inside."""
    yield at, {key: value for key, value in settings.items() if not isinstance(value, dict)}
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from _tables(value, (*at, key))


def _commands(group: Any, at: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        yield from _commands(command, (*at, name)) if hasattr(command, "commands") else [((*at, name), command)]


def _options(command: Any) -> Iterator[tuple[str, Any]]:
    for param in command.params:
        if param.param_type_name == "option":
            names = [name.lstrip("-") for name in param.opts]
            yield from ((name, param) for name in names if not set(names) & set(_NEVER))


def _checked(param: Any, ctx: typer.Context, value: Any, folder: Path) -> Any:
    """The value as the option takes it; TOML has types, so "2" is no number and 2 no text."""
    if getattr(param, "is_flag", False) is not isinstance(value, bool):
        raise TypeError("expected true or false" if not isinstance(value, bool) else "expected no truth value")
    if param.multiple is not isinstance(value, list):
        raise TypeError("expected a list in [ ]" if param.multiple else "expected one value, not a list")
    made = param.process_value(ctx, value)
    for given, one in zip(value, made, strict=True) if param.multiple else [(value, made)]:
        if isinstance(given, str) == isinstance(one, int | float) or not isinstance(given, str | int | float):
            raise TypeError(f"expected {'a number' if isinstance(one, int | float) else 'text in quotes'}")
    return str(folder / made.expanduser()) if isinstance(made, Path) else value


def _mistake(path: Path, table: str, key: str | None, what: str) -> InputError:
    """The error with the table, and the key in it (None: the table itself)."""
    where = ", ".join([str(path), *([f"[{table}]"] if table else []), *([key] if key else [])])
    return InputError(f"{where}: {what}. 'solfa COMMAND --help' lists the options, without the dashes they are keys.")


def in_force(path: Path, collection: Path) -> Iterator[str]:
    """Lines for people: where the file is, what it sets, which collection is used."""
    settings = load(path)
    yield f"{path}{'' if path.exists() else ' (not found; built-in defaults are used)'}"
    yield f"collection: {collection}"
    for at, table in _tables(settings):
        yield from (f"{' '.join((*at, key))}: {value}" for key, value in table.items())
