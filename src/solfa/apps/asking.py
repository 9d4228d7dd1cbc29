"""``solfa ask``: a question about a track; ``solfa eval qa``: multiple-choice questions about many."""

from contextlib import ExitStack, nullcontext
from functools import cache
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from solfa.apps.captioning import client_of
from solfa.apps.comparing import analysis_of
from solfa.apps.evaluating import OWN, SplitOption, eval_app, opened
from solfa.apps.options import (
    CollectionOption,
    ForceOption,
    JsonOption,
    LlmKeyOption,
    LlmModelOption,
    NoncommercialOption,
    SeedOption,
    default_collection,
)
from solfa.apps.reporting import OutOption, check
from solfa.apps.reporting import show as show_reports
from solfa.apps.terminal import Work, print_json, tell
from solfa.core.errors import InputError
from solfa.core.files import check_output, write_output
from solfa.core.text import printable

if TYPE_CHECKING:  # --help loads none of these
    from solfa.core.types import Analysis
    from solfa.evaluation.multiple_choice import Item, System


def ask(
    track: Annotated[str, typer.Argument(help="Audio file, track:ID, or the number of a hit of the last search.")],
    question: Annotated[str, typer.Argument(help='Such as "when do the drums enter?"')],
    llm: Annotated[
        str, typer.Option(help="OpenAI-compatible endpoint, up to /v1, of a model that answers from what was measured.")
    ] = "",
    llm_model: LlmModelOption = "",
    llm_key_env: LlmKeyOption = "",
    collection: CollectionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answer a question about a track from what was measured, with place and certainty; nothing is guessed.

    A file that is not in the collection is analyzed. With --llm the words are a model's, and say so.
    """
    from solfa.collection import Collection
    from solfa.collection.database import Database
    from solfa.language import questions

    client = client_of(llm, llm_model, llm_key_env, most_tokens=2000, timeout_s=300.0) if llm or llm_model else None
    place = collection or default_collection()
    with Collection.open(place) if Database(place).exists() else nullcontext() as kept:
        analysis = analysis_of(track, kept)
    answer = questions.ask(analysis, question) if client is None else questions.ask_model(analysis, question, client)
    if as_json:
        print_json({"schema": "solfa.answer/1", "track": track, "answer": answer})
    else:
        tell(printable(answer.text))


@eval_app.command("qa")
def qa(
    items: Annotated[
        Path | None, typer.Argument(help="Questions in MuChoMusic's JSON; or make them from --data.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Data set with exact truth, from which questions are made.")] = None,
    dataset: Annotated[str, typer.Option(help="Its name, see 'solfa eval datasets'.")] = OWN,
    split: SplitOption = None,
    audio: Annotated[Path | None, typer.Option(help="Folder that the audio_path of ITEMS is in.")] = None,
    system: Annotated[
        str, typer.Option(help="Who answers: outputs (model_output of ITEMS), rules (as 'solfa ask'), a joint model "
                          "(see 'solfa models list'), or an endpoint (or: local) whose model reads what was measured.")
    ] = "rules",
    save: Annotated[Path | None, typer.Option(help="Also write the questions as JSON.")] = None,
    llm_model: LlmModelOption = "",
    llm_key_env: LlmKeyOption = "",
    seed: SeedOption = 0,
    out: OutOption = None,
    force: ForceOption = False,
    allow_noncommercial: NoncommercialOption = False,
) -> None:  # fmt: skip
    """Measure who answers multiple-choice questions about music, beside blind systems (format of MuChoMusic)."""
    from solfa.evaluation import multiple_choice as mc

    if (items is None) == (data is None):
        raise InputError("name a file of questions, or --data to make them from; one of the two.")
    check(out, None, force=force)
    if save is not None:
        check_output(save, force=force)
    with ExitStack() as stack:
        if data is not None:
            clips = stack.enter_context(opened(dataset, data, split)).with_audio()
            asked = tuple(mc.make_items(clips.clips, dataset=clips.name, seed=seed))
            paths = {Path(str(c.audio)).name: Path(str(c.audio)) for c in clips.clips}
        else:
            asked = mc.read_items(items or Path())
            paths = {i.audio_path: (audio or Path()) / i.audio_path for i in asked}
        if save is not None:
            write_output(save, mc.document(asked), force=force)
        made, done = _system(system, paths, llm_model, llm_key_env, allow_noncommercial), count(1)
        with Work("answers", stderr=True) as work:

            def counted(item: "Item", sound: "Item | None") -> int | None:
                work("answers", next(done), 3 * len(asked))
                return None if made is None else made(item, sound)

            report = mc.evaluate(asked, counted if made else None, model=f"{system} {llm_model}".strip(),
                                 data=(items or data or Path()).stem, seed=seed)  # fmt: skip
    show_reports([report], out, force=force)
    tell("chosen: " + ", ".join(f"{name} {count}" for name, count in report.details["chosen"].items()))


def _system(name: str, paths: dict[str, Path], model: str, key_env: str, noncommercial: bool) -> "System | None":
    """Who answers, from the sound of an item or without it; None for the items' own outputs."""
    from solfa.analysis.analyze import analyze
    from solfa.evaluation.multiple_choice import find_answer
    from solfa.language.questions import choose, shown_to_model

    analyzed = cache(lambda path: analyze(paths[path]))

    def analysis(of: "Item | None") -> "Analysis | None":
        return analyzed(of.audio_path) if of is not None and of.audio_path else None  # notation has no sound

    if name == "outputs":
        return None
    if name == "rules":
        return lambda i, sound: choose(analysis(sound), i.question, i.answers)
    if name == "local" or "://" in name:
        client = client_of(name, model, key_env, most_tokens=2000, timeout_s=300.0)

        def by_model(item: "Item", sound: "Item | None") -> int | None:
            data = shown_to_model(analysis(sound))
            said = client.text([{"role": "user", "content": f"{data}\n{item.prompt}"}])
            return None if said is None else find_answer(said, item.answers)

        return by_model
    return _by_cosine(name, paths, noncommercial)


def _by_cosine(name: str, paths: dict[str, Path], noncommercial: bool) -> "System":
    """The option that is nearest to the sound in the space of a joint model; without sound, to the mean sound."""
    import numpy as np

    from solfa.alignment.scores import Texts
    from solfa.audio import stretches
    from solfa.encoders.registry import load_model
    from solfa.encoders.windows import embed, text_candidates, track_vector

    model = load_model(name, allow_noncommercial=noncommercial)
    tracks = {path: track_vector(model.views, embed(model, stretches(file))) for path, file in paths.items()}
    mean_D = np.mean([*tracks.values()], axis=0)

    def answer(item: "Item", sound: "Item | None") -> int:
        options_XD = text_candidates(model.views, Texts.of(model.text.encode(item.answers)))
        return int(np.argmax(options_XD @ (mean_D if sound is None else tracks[sound.audio_path])))

    return answer
