"""``solfa eval captions|fidelity|judges``: scores of files that some system wrote, without a model of sound."""

import csv
import hashlib
import json
import os
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.text import Text

from solfa.apps.options import ForceOption, SeedOption
from solfa.apps.reporting import OutOption, check, show
from solfa.apps.terminal import console
from solfa.core.errors import InputError

if TYPE_CHECKING:
    from solfa.evaluation.significance import Interval


def captions(
    candidates: Annotated[Path, typer.Argument(help="JSON {id: caption}; CSV or JSON lines with id, caption.")],
    references: Annotated[
        Path, typer.Argument(help="JSON {id: \\[captions]}; CSV or JSON lines, one row a reference.")
    ],
    training: Annotated[Path | None, typer.Option(help="Captions that the system was trained on: novelty.")] = None,
    bert: Annotated[Path | None, typer.Option(help="Folder of a BERT or RoBERTa (Hugging Face): BERTScore.")] = None,
    layer: Annotated[int, typer.Option(help="Its hidden layer (bert-score: 17 of roberta-large).")] = 17,
    seed: SeedOption = 0,
    out: OutOption = None,
    force: ForceOption = False,
) -> None:
    """Score captions against references: BLEU, ROUGE-L, METEOR, CIDEr-D, BERTScore, on Treebank tokens."""
    check(out, None, force=force)
    from solfa.evaluation import text
    from solfa.evaluation.significance import interval, resampled

    said, known = _texts(candidates), _texts(references)
    if odd := sorted(set(said) ^ set(known)):
        raise InputError(f"{candidates} and {references} name different items: {len(odd)}, such as {odd[0]!r}.")
    if double := [name for name, own in said.items() if len(own) > 1]:
        raise InputError(
            f"{candidates}: {len(double)} items have several captions, such as {double[0]!r}; one is scored."
        )
    names = sorted(said)
    mine = [text.ptb_words(said[n][0]) for n in names]
    theirs = [[text.ptb_words(r) for r in known[n]] for n in names]
    each = {
        "ROUGE-L": text.rouge_l(mine, theirs), "METEOR": text.meteor(mine, theirs), "CIDEr-D": text.cider(mine, theirs)
    }  # fmt: skip
    if bert is not None:
        os.environ["HF_HUB_OFFLINE"] = "1"  # what the folder lacks is not looked for elsewhere
        each["BERTScore"] = text.bert_score([said[n][0] for n in names], [known[n] for n in names], bert, layer=layer)

    def bleu(rows: Any) -> dict[str, float]:
        scores = text.bleu([mine[i] for i in rows], [theirs[i] for i in rows])
        return {f"BLEU-{n}": score for n, score in enumerate(scores, start=1)}

    metrics = resampled(bleu, len(names), num_resamples=200, seed=seed)
    metrics |= {name: interval(v, proportion=name in ("ROUGE-L", "METEOR"), seed=seed) for name, v in each.items()}
    metrics["words"] = interval([float(len(m)) for m in mine], proportion=False, seed=seed)
    details: dict[str, Any] = {"not computed": "SPICE and SPIDEr: they need a scene-graph parser, which solfa has not"}
    if training is not None:
        known_words = [text.ptb_words(t) for own in _texts(training).values() for t in own]
        details["vocabulary"] = text.vocabulary(mine, known_words)
    _show(
        "captions", candidates, references, (len(names), len(names)), metrics, out, force, seed=seed, details=details,
        space="" if bert is None else f"{bert.name}, layer {layer}", statistics=dict.fromkeys(each, "mean"),
        per_query={name: tuple(values.tolist()) for name, values in each.items()},
    )  # fmt: skip


def _show(
    task: str, given: Path, known: Path, sizes: tuple[int, int], metrics: "dict[str, Interval]", out: Path | None,
    force: bool, **more: Any,
) -> None:  # fmt: skip
    """The report on a file that some system wrote, held against what is known."""
    from solfa.evaluation.reports import Report

    revision = hashlib.sha256(known.read_bytes()).hexdigest()[:16]
    report = Report(
        task=task, model=given.stem, data=known.stem, split="all", revision=revision, pool=revision,
        num_queries=sizes[0], num_items=sizes[1], metrics=metrics, **{"space": "", **more},
    )  # fmt: skip
    show([report], out, force=force)
    for name, value in report.details.items():
        console().print(Text(f"{name}: {value:.3f}" if isinstance(value, float) else f"{name}: {value}"))


def _texts(path: Path) -> dict[str, list[str]]:
    """Captions by id, from JSON, JSON lines or CSV."""
    try:
        if (kind := path.suffix.lower()) in (".csv", ".jsonl"):
            with path.open(encoding="utf-8-sig", newline="") as file:
                found: dict[str, list[str]] = {}
                for row in csv.DictReader(file) if kind == ".csv" else map(json.loads, filter(str.strip, file)):
                    found.setdefault(str(row["id"]), []).append(row["caption"])
        else:
            raw = json.loads(path.read_text(encoding="utf-8"))
            found = {str(k): [v] if isinstance(v, str) else list(v) for k, v in raw.items()}
        if not found or not all(own and all(isinstance(t, str) for t in own) for own in found.values()):
            raise ValueError("no captions, or one that is not text")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as bad:
        raise InputError(
            f"{path}: expected JSON {{id: caption}} or {{id: [captions]}}, or CSV or JSON lines with id and caption "
            f"({getattr(bad, 'strerror', None) or bad})."
        ) from bad
    return found


def fidelity(
    generated: Annotated[Path, typer.Argument(help="Vectors as .npy: (N, D), or (prompts, samples, D).")],
    real: Annotated[Path, typer.Argument(help="Real vectors as .npy (M, D).")],
    k: Annotated[int, typer.Option(min=1, help="Neighbours of precision, recall, density and coverage.")] = 5,
    out: OutOption = None,
    force: ForceOption = False,
) -> None:
    """Score generated vectors: Frechet distance, precision, recall, density, coverage, Vendi, modality gap."""
    check(out, None, force=force)
    from solfa.evaluation import generative
    from solfa.evaluation.significance import Interval

    samples, truth = _vectors(generated, (2, 3)), _vectors(real, (2,))
    values, num = generative.fidelity(samples, truth, k), samples.size // samples.shape[-1]
    # Distances of samples depend on their number and are moved by repeats: no bootstrap gives an honest interval.
    metrics = {n: Interval(value=v, low=v, high=v, num=num) for n, v in values.items()}
    details = {"intervals": "none: these scores are of whole sets"}
    _show("fidelity", generated, real, (num, len(truth)), metrics, out, force,
          seed=0, options={"k": k}, details=details)  # fmt: skip


def _vectors(path: Path, dims: tuple[int, ...]) -> Any:
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as bad:
        raise InputError(f"{path}: not a .npy file of numbers that can be read without pickle.") from bad
    if not isinstance(found, np.ndarray) or found.ndim not in dims or found.dtype.kind != "f" or not found.size:
        expected = f"expected a .npy array of floats with {' or '.join(map(str, dims))} dimensions, not empty"
        raise InputError(f"{path}: {expected}.")
    return found


def judges(
    verdicts: Annotated[Path, typer.Argument(help="CSV, one row a pair: a column for each rater; values first, second, "
                                                  "tie. RATER:swapped has the same pairs with places changed.")],
    seed: SeedOption = 0,
    out: OutOption = None,
    force: ForceOption = False,
) -> None:  # fmt: skip
    """Say whether judges can be trusted: the same verdict in both orders, and Cohen's kappa between raters."""
    check(out, None, force=force)
    from solfa.evaluation import judges as scoring
    from solfa.evaluation.significance import interval

    try:
        with verdicts.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError) as bad:
        raise InputError(f"{verdicts}: not a CSV file ({bad}).") from bad
    columns = {name: [str(row[name]).strip() for row in rows] for name in (rows[0] if rows else {}) if name}
    raters = {name: values for name, values in columns.items() if not name.endswith(":swapped") and name != "id"}
    if not raters:
        raise InputError(f"{verdicts}: expected a header with a column for each rater, and at least one row.")
    metrics: dict[str, Interval] = {}
    details: dict[str, Any] = {}
    for name, given in raters.items():
        if f"{name}:swapped" in columns:
            found = scoring.order_consistency(given, columns[f"{name}:swapped"])  # type: ignore[arg-type]
            metrics[f"{name} consistent"] = found.rate
            details[f"{name} first bias"] = found.first_bias
            raters[name] = list(found.winners)
    for a, b in combinations(raters, 2):
        agree = [x == y for x, y in zip(raters[a], raters[b], strict=True)]
        metrics[f"{a} and {b} agree"] = interval(agree, seed=seed)
        details[f"{a} and {b} kappa"] = scoring.cohen_kappa(raters[a], raters[b])
    if not metrics:
        raise InputError(f"{verdicts}: one rater in one order; give RATER:swapped or a second rater.")
    _show("judges", verdicts, verdicts, (len(rows), len(raters)), metrics, out, force, seed=seed, details=details)
