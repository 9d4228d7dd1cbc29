"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from solfa.core.filters import FIELDS, SORTS


def _fields(incomplete: str) -> list[str]:
    return [name for name in FIELDS if name.startswith(incomplete)]


def _models(incomplete: str) -> list[str]:
    from solfa.encoders.registry import available

    return [info.name for info in available() if info.name.startswith(incomplete)]


def _sorts(incomplete: str) -> list[str]:
    return [name for name in SORTS if name.startswith(incomplete)]


ForceOption = Annotated[bool, typer.Option("--force", help="Replace files that exist.")]
CollectionOption = Annotated[
    Path | None,
    typer.Option("--collection", help="Folder of the collection (default: in the platform's data directory).",
                 envvar="SOLFA_COLLECTION"),
]  # fmt: skip
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON (docs/json.md) instead of text.")]
ModelOption = Annotated[
    str | None,
    typer.Option("--model", help="Joint model, see 'solfa models list' (default: the collection's last, else bridge).",
                 autocompletion=_models),
]  # fmt: skip
NoncommercialOption = Annotated[
    bool, typer.Option("--allow-noncommercial", help="Accept weights that are not for commercial use.")
]
PlotOption = Annotated[
    Path | None, typer.Option("--plot", help="Draw it into FILE.svg or FILE.png (needs solfa[plot]).")
]

# What `search`, `similar` and the session have in common.
LikeOption = Annotated[
    list[str] | None, typer.Option("--like", help="Example sound FILE or FILE@0:30-0:50, repeatable.")
]
WhereOption = Annotated[
    list[str] | None,
    typer.Option("--where", help="Exact filter, e.g. tempo_bpm=90..110, repeatable.", autocompletion=_fields),
]
CountOption = Annotated[int, typer.Option("-k", min=1, max=1000, help="How many hits.")]
PageOption = Annotated[int, typer.Option("--page", min=1, help="Which -k hits: 2 are the next ones.")]
SortOption = Annotated[
    str,
    typer.Option("--sort", help=f"Order of the hits shown: {', '.join(SORTS)}; turned round after a '-'.",
                 autocompletion=_sorts),
]  # fmt: skip
PerArtistOption = Annotated[
    int, typer.Option("--per-artist", min=0, help="At most so many hits by one artist (0: no limit).")
]
DuplicatesOption = Annotated[bool, typer.Option("--duplicates", help="Show every copy of a recording.")]
VerboseOption = Annotated[
    bool, typer.Option("--verbose", "-v", help="Show all evidence: what was asked, how sure it is, and where.")
]
ExplainOption = Annotated[bool, typer.Option("--explain", help="Show how long each stage took.")]
M3uOption = Annotated[
    Path | None, typer.Option("--m3u", help="Write the hits as an M3U8 playlist (-: standard output).")
]
XspfOption = Annotated[
    Path | None, typer.Option("--xspf", help="Write the hits as an XSPF playlist (-: standard output).")
]
PlayOption = Annotated[bool, typer.Option("--play", help="Play the hits, one after the other.")]
PlayerOption = Annotated[
    str | None, typer.Option("--player", help="Program that plays (default: mpv, ffplay, vlc or the desktop's).")
]
ViewOption = Annotated[
    Literal["global", "frame", "mix"] | None,
    typer.Option("--view", help="How a trained model scores sound and text (default: as it was made to rank)."),
]
