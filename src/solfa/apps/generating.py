"""``solfa search --via gdr`` and ``--edit``: the query is generated in the space of sound."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from solfa.core.errors import InputError

if TYPE_CHECKING:  # --help loads none of these
    from solfa.collection import Collection
    from solfa.diffusion.retriever import Generated, Retriever
    from solfa.query import Query
    from solfa.retrieval import Display, Results, Searcher

ViaOption = Annotated[Literal["text", "gdr"], typer.Option(help="Compare with the text's vector, or generated ones.")]
EditOption = Annotated[
    str, typer.Option("--edit", help="Change the last search or a sound: 'add strings' (generates).")
]
FromOption = Annotated[
    str, typer.Option("--from", help="What to edit: LAST, FILE, FILE@0:30-0:50, track:ID, hit number.")
]
StrengthOption = Annotated[float | None, typer.Option(help="How far --edit goes, 0 (nothing) to 1 (default: 0.4).")]
GuidanceOption = Annotated[float | None, typer.Option(help="How closely to follow the words, 0 to 20 (default: 3).")]
SamplesOption = Annotated[int | None, typer.Option(help="How many are generated and averaged (default: 5).")]
SeedOption = Annotated[int | None, typer.Option(help="Random seed of what is generated (default: 0).")]
DenoiserOption = Annotated[Path | None, typer.Option(help="A run of 'solfa train gdr' (default: the shipped one).")]


@dataclass(frozen=True, kw_only=True, slots=True)
class Generating:
    """The options above."""

    via: str = "text"
    edit: str = ""
    source: str = ""
    strength: float | None = None
    guidance: float | None = None
    samples: int | None = None
    seed: int | None = None
    denoiser: Path | None = None

    def wanted(self) -> bool:
        """Whether anything is generated. Raises InputError if options say how, and none says that."""
        for name in ("guidance", "samples", "seed", "denoiser"):
            if getattr(self, name) is not None and self.via == "text" and not self.edit:
                raise InputError(f"--{name} is about what is generated: give --via gdr, or --edit, too.")
        if not self.edit.strip() and (self.edit or self.source or self.strength is not None):
            raise InputError("--from, --strength are about --edit: say what to change, such as --edit 'add strings'.")
        return bool(self.edit) or self.via == "gdr"


def generated(
    collection: "Collection", query: "Query | str", options: Generating, shown: Mapping[str, Any],
    opening: Mapping[str, Any], *, where: Sequence[str], like: Sequence[str], by: Literal["search", "vectors"],
) -> tuple["Results", str, tuple[str, ...]]:  # fmt: skip
    """Hits of what is generated, and the words and the examples that they are remembered by.

    ``shown`` are values of a ``Display``, ``opening`` arguments of ``open_searcher``.
    """
    from solfa.api import open_searcher, read_query
    from solfa.diffusion.retriever import Retriever, prompts
    from solfa.query import parse_where
    from solfa.retrieval import Display
    from solfa.retrieval.like import like_example

    searcher, display = open_searcher(collection, **opening), Display(**shown)
    query = read_query(query) if isinstance(query, str) else query
    retriever = Retriever(options.denoiser, allow_noncommercial=opening["allow_noncommercial"])
    retriever.check(searcher)
    likes = [like_example(searcher, example) for example in like]
    asked: dict[str, Any] = {"where": [parse_where(w) for w in where], "like": likes, "by": by}
    how = {"scale": options.guidance, "samples": options.samples, "seed": options.seed}
    given: dict[str, Any] = {name: value for name, value in how.items() if value is not None}
    if options.edit:
        return _edited(searcher, retriever, query, options, display, given, asked)
    made = retriever.generate(*prompts(query), **given)
    found = searcher.search(query, instead=retriever.instead(made, searcher), display=display, **asked)
    return _told(found, made), query.text, tuple(like)


def _edited(
    searcher: "Searcher", retriever: "Retriever", flags: "Query", options: Generating, display: "Display",
    given: Mapping[str, Any], asked: Mapping[str, Any],
) -> tuple["Results", str, tuple[str, ...]]:  # fmt: skip
    from solfa.diffusion.inversion import STRENGTH
    from solfa.diffusion.retriever import DEPTH, moved, prompts
    from solfa.language.edits import merged
    from solfa.language.session import Request, Session
    from solfa.query import Query, parse
    from solfa.relevance.feedback import last_search, track_of
    from solfa.relevance.rerank import page_of

    if display.sort != "score":
        raise InputError("--edit says what moved in the order of the scores: leave --sort out.")
    strength = STRENGTH if options.strength is None else options.strength
    source, old = options.source or "LAST", Query(text="")
    examples: tuple[str, ...] = (source,)
    if source == "LAST":
        sought, *_ = last_search(searcher.collection)
        examples, old = sought.examples[:1], parse(sought.query) if sought.query.strip() else old
    if not examples:
        made = retriever.generate(*prompts(old), **given)
    elif not Path(source).is_file() and (source.isdecimal() or source.startswith("track:")):
        track_id = track_of(searcher.collection, source)
        made = retriever.of_track(searcher, track_id)
        examples = (str(searcher.collection.track(track_id).paths[0]),)
    else:
        made = retriever.of_sound(examples[0], searcher.collection)
    deep = replace(display, k=max(DEPTH, display.k * display.page), page=1)
    likes = [retriever.instead(made, searcher)]
    before = searcher.search(old, instead=likes[0], display=deep, **asked)
    request = Session(searcher, request=Request(query=old), results=before).edited(options.edit)
    new = merged(replace(request.query, constraints=(*request.query.constraints, *request.limits)), flags)
    guidance = {"scale": given["scale"]} if "scale" in given else {}
    if made.text or any(prompts(new)):  # of a sound a tempo may be all that is asked: nothing is generated
        made = retriever.edit(made, *prompts(new), strength=strength, **guidance)
    likes.append(retriever.instead(made, searcher))
    added = [c for c in new.constraints if c not in old.constraints]
    weighed = tuple(replace(c, weight=c.weight * strength) if c in added else c for c in new.constraints)
    after = searcher.search(replace(new, constraints=weighed) if strength else old, instead=likes[1], display=deep,
                            **asked)  # fmt: skip
    found = moved(searcher, before, after, likes, options.edit, [c.words() for c in added])
    return _told(page_of(found, display.k, display.page), made), (new if strength else old).text, examples


def _told(found: "Results", made: "Generated") -> "Results":
    line = f"generated: '{made.label}', {len(made.latents_STD)} samples, {made.ms:.0f} ms"
    timing_ms = {**found.timing_ms, "generate": made.ms, "total": found.timing_ms["total"] + made.ms}
    return replace(found, parsed=(*found.parsed, line), timing_ms=timing_ms)
