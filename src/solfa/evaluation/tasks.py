"""A task, a model and a data set make one report.

Every model goes through the same two protocols, ``AudioEncoder`` and ``TextEncoder``, so that all appear in one table
over one pool. A clip is encoded in the windows that search scores too (``encoders.windows``), and ranked by the view
that the model is made to rank by, unless another is set.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from solfa.alignment.scores import Texts
from solfa.audio import stretches
from solfa.core.annotation import MusicAnnotation
from solfa.core.errors import InputError, UnknownName
from solfa.core.types import EncoderSpec, Features, FloatArray, JointModel, View
from solfa.datasets.readers import DataSet
from solfa.encoders.windows import embed, track_vector
from solfa.evaluation import mir, openvocab, perturbation, psds
from solfa.evaluation.blind import at_cosines, filled, random_vectors, without_sound
from solfa.evaluation.events import (
    ClipScores,
    Matcher,
    SystemScores,
    Truth,
    best_collar_thresholds,
    best_segment_thresholds,
    collar_counts,
    decide,
    event_f1,
    match_clip,
    segment_counts,
    truth_of,
)
from solfa.evaluation.finegrained import Rank, sensitivity_metrics
from solfa.evaluation.finequeries import Wording, fine_queries, measure
from solfa.evaluation.perturbation import EDITS, Edit
from solfa.evaluation.ranking import Floats, Ints, Ranks, Relevance, Scores, Vectors, rank_relevant
from solfa.evaluation.reports import Report
from solfa.evaluation.retrieval import DEFAULT_METRICS, evaluate, per_query
from solfa.evaluation.saturation import FIGMA_STEPS, TokenSpans, saturation
from solfa.evaluation.significance import Interval, interval, resampled
from solfa.evaluation.similarity import Pool, joint_scores
from solfa.evaluation.tagging import tagging_metrics

STRETCH_S = 120.0


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskSettings:
    """What can be set; each task reads what concerns it.

    ``spans`` is the model's own tokenizer (saturation only). ``num_clip_resamples`` is for scores of whole sets of
    clips, which are computed for every draw. ``rank`` is how the fine-grained task scores the pool for texts, such
    as by a whole search; the model's vectors do it if None. ``wording`` is that of its queries. ``view`` None is the
    view that the model ranks by.
    """

    view: View | None = None
    metrics: tuple[str, ...] = DEFAULT_METRICS
    seed: int = 0
    num_resamples: int = 2000
    num_clip_resamples: int = 50
    template: str = openvocab.SOUND_TEMPLATE
    kinds: tuple[Edit, ...] = EDITS
    steps: tuple[int, ...] = FIGMA_STEPS
    num_filter_frames: int = 3
    k: int = 5
    spans: TokenSpans | None = None
    rank: Rank | None = None
    wording: Wording = "paraphrased"

    @property
    def drawing(self) -> dict[str, int]:
        """Arguments of `resampled`."""
        return {"num_resamples": self.num_clip_resamples, "seed": self.seed}


def encode_files(paths: Sequence[Path], model: JointModel) -> Pool:
    """The windows of audio files.

    Raises InputError if there are no files; DecodeError if one cannot be read: a pool must not shrink unnoticed.
    """
    if not paths:
        raise InputError("no audio to encode.")
    return Pool([embed(model, stretches(path, STRETCH_S)) for path in paths])


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class _Run:
    """What a task works on, and the report that it ends in."""

    task: str
    model: JointModel
    data: DataSet
    pool: Pool
    settings: TaskSettings
    texts: dict[str, tuple[FloatArray, FloatArray]] = field(default_factory=dict)

    def read(self, texts: Sequence[str]) -> Texts:
        """Texts as vectors; each text is encoded once."""
        if new := [text for text in dict.fromkeys(texts) if text not in self.texts]:
            encoded = Texts.of(self.model.text.encode(new))
            self.texts.update(zip(new, zip(encoded.pooled_XD, encoded.tokens, strict=True), strict=True))
        pooled, tokens = zip(*(self.texts[text] for text in texts), strict=True)
        return Texts(np.stack(pooled), tokens)

    @property
    def view(self) -> View:
        """What ranks."""
        return self.settings.view or self.model.views.rank

    def scores(self, texts: Sequence[str], rows: Ints | slice = slice(None)) -> Scores:
        """Of texts against clips, by the view that ranks."""
        return joint_scores(self.pool.only(rows), self.read(texts), self.view)

    def report(self, *, num_items: int | None = None, **found: Any) -> Report:
        """The report; ``found`` are the fields that a task fills in, the pool's size that of the data if None."""
        set_to = {f.name: getattr(self.settings, f.name) for f in fields(self.settings)}
        options = {n: list(v) if isinstance(v, tuple) else v for n, v in set_to.items()}
        options |= {"view": self.view.name, "alpha": self.view.alpha, "direction": self.view.direction}
        return Report(
            task=self.task,
            model=self.model.name,
            space=self.model.space,
            data=self.data.name,
            split=self.data.split,
            revision=self.data.revision,
            num_items=num_items or len(self.data.clips),
            seed=self.settings.seed,
            options={n: v for n, v in options.items() if n not in ("spans", "rank", "seed")},
            **found,
        )


def run_task(
    task: str, model: JointModel, data: DataSet, *, settings: TaskSettings | None = None, pool: Pool | None = None
) -> Report:
    """The report of one of ``TASKS``, with the published protocol's settings if None.

    ``data`` holds clips with audio (see `DataSet.with_audio`); ``pool`` are their windows (``encode_files``), to encode
    them once for several tasks, and are made here if None.

    Raises UnknownName if there is no such task; InputError if the data does not hold what the task needs, or a clip's
    audio is missing.
    """
    if task not in TASKS:
        raise UnknownName("evaluation task", task, TASKS)
    paths = [item.audio for item in data.clips if isinstance(item.audio, Path)]
    if len(paths) != len(data.clips):
        raise InputError(
            f"{data.source.title}: {len(data.clips) - len(paths)} of {len(data.clips)} clips have no audio. Expected "
            f"in the folder: {data.source.layout}. Leave such clips out with --with-audio, in Python "
            f"DataSet.with_audio(); this changes the pool."
        )
    windows = encode_files(paths, model) if pool is None else pool
    if len(windows) != len(data.clips):
        raise InputError(f"{len(windows)} encoded clips for {len(data.clips)} of the data.")
    run = _Run(task=task, model=model, data=data, pool=windows, settings=settings or TaskSettings())
    report = TASKS[task](run)
    return replace(report, details={**report.details, "blind": _blind(run)}) if task in _BLIND else report


# Tasks with blind rows made by `_blind`; perturbation has its own.
_BLIND = ("retrieval", "zeroshot", "tagging", "sed", "grounding", "finegrained")


def _blind(run: _Run) -> dict[str, dict[str, Any]]:
    """What the same task gives to a random system, to the model without sound, and to the best constant answer."""
    few = replace(run.settings, num_clip_resamples=min(20, run.settings.num_clip_resamples), rank=None)
    rows = {
        "random": replace(run, settings=few, pool=random_vectors(run.pool, seed=few.seed)),
        "text-only": replace(run, settings=few, pool=without_sound(run.pool, seed=few.seed)),
        "popularity-only": _popular(replace(run, settings=few)),
    }
    return {
        name: {
            metric: asdict(i)
            for metric, i in TASKS[run.task](row).metrics.items()
            if not metric.endswith((" control", " placebo"))
        }
        for name, row in rows.items()
    }


class _Prior:
    """A text tower whose cosine with every clip is how often the answer is right; it reads nothing else."""

    spec = EncoderSpec(name="prior", space="prior", dim=2, licence="none", commercial_use=True)

    def __init__(self, shares: Mapping[str, float]) -> None:
        self.shares = shares

    def encode(self, batch: Sequence[str]) -> Features:
        vectors = at_cosines([self.shares.get(text, 0.5) for text in batch])
        return Features(vectors, vectors[:, None], np.ones((len(batch), 1), bool))


def _popular(run: _Run) -> _Run:
    """The run of a system that always gives the answer which is most often right."""
    items, shares, of_clips = run.data.clips, dict[str, float](), np.ones(len(run.data.clips))
    if run.task in ("zeroshot", "tagging"):
        labels = sorted({label for item in items for label in item.labels})
        counts = [sum(label in item.labels for item in items) / len(items) for label in labels]
        shares = dict(zip(openvocab.class_prompts(labels, run.settings.template), counts, strict=True))
    elif run.task == "sed":
        total_s = sum(clip.duration_s for clip in truth_of(run.data).values())
        for phrase in (phrase for item in items for phrase in item.phrases):
            spans_s = sum(end_s - start_s for start_s, end_s in phrase.spans_s)
            shares[phrase.text] = shares.get(phrase.text, 0.0) + spans_s / total_s
    elif run.task == "retrieval":
        counted = np.array([len(item.captions) for item in items], np.float64)
        of_clips = counted / counted.max() / 2
        shares = dict.fromkeys(run.data.captions()[0], 1.0)  # the clips differ, the texts do not
    vectors = at_cosines(of_clips)
    pool = filled(run.pool, lambda row, num, _: np.repeat(vectors[[row]], num, axis=0))
    return replace(run, model=replace(run.model, text=_Prior(shares), logits={}), pool=pool, texts={})


def run_mir(
    references: Mapping[str, MusicAnnotation],
    estimates: Mapping[str, MusicAnnotation],
    *,
    system: str,
    data: str,
    split: str = "all",
    revision: str = "",
    seed: int = 0,
) -> Report:
    """The report of what a system claims of the tempo, key, metre, chords and beats of the same tracks, by their names.

    ``system`` says what made the estimates, with its version; ``data``, ``split`` and ``revision`` what the references
    are.

    Raises InputError if the tracks differ or no reference allows a score.
    """
    if set(references) != set(estimates):
        odd = sorted(set(references) ^ set(estimates))
        raise InputError(f"the pool does not match: {len(odd)} tracks are on one side only (such as {odd[0]!r}).")
    names = sorted(references)
    each = mir.scores([references[n] for n in names], [estimates[n] for n in names])
    values = {n: tuple(s.value for s in own) for n, own in each.items() if not n.startswith("chord_")}  # unweighted
    return Report(
        task="mir",
        model=system,
        space=system,
        data=data,
        split=split,
        revision=revision,
        pool=hashlib.sha256("\n".join(names).encode()).hexdigest()[:32],
        num_queries=len(names),
        num_items=len(names),
        seed=seed,
        metrics=mir.intervals(each, seed=seed),
        per_query=values,
        statistics=dict.fromkeys(values, "mean"),
    )


def _retrieval(run: _Run) -> Report:
    captions, rows = run.data.captions()
    relevance = Relevance.of_targets(rows, len(run.data.clips))
    scores, settings = run.scores(captions), run.settings
    ways: tuple[tuple[str, Ranks, list[int] | None], ...] = (
        ("T2A", rank_relevant(scores, relevance), rows),
        ("A2T", rank_relevant(scores.transposed(), relevance.transposed()), None),
    )
    metrics, values, statistics = {}, {}, {}
    for way, ranks, groups in ways:
        result = evaluate(
            ranks, settings.metrics, groups=groups, num_resamples=settings.num_resamples, seed=settings.seed
        )
        for name, value in result.items():
            metrics[f"{way} {name}"] = value
            each, statistics[f"{way} {name}"] = per_query(ranks, name)
            values[f"{way} {name}"] = tuple(each.tolist())
    return run.report(
        pool=relevance.fingerprint(),
        num_queries=len(captions),
        metrics=metrics,
        per_query=values,
        statistics=statistics,
        groups=tuple(rows),
    )


def _saturation(run: _Run) -> Report:
    settings = run.settings
    if settings.spans is None:
        raise InputError("token saturation cuts captions with the model's own tokenizer; give TaskSettings(spans=...).")
    captions, rows = run.data.captions()
    relevance = Relevance.of_targets(rows, len(run.data.clips))

    def rank(texts: Sequence[str]) -> Ranks:
        return rank_relevant(run.scores(texts), relevance)

    curve = saturation(rank, captions, settings.spans, steps=settings.steps, groups=rows, seed=settings.seed)
    points = [
        {"tokens": p.num_tokens, "share_cut": p.share_cut, **{n: i.value for n, i in p.metrics.items()}} for p in curve
    ]
    return run.report(
        pool=relevance.fingerprint(),
        num_queries=len(captions),
        metrics={f"T2A {n}": i for n, i in curve[-1].metrics.items()},
        details={"curve": points},
    )


def _perturbation(run: _Run) -> Report:
    run.data.captions()  # refuses clips without a caption
    captions = [item.captions[0] for item in run.data.clips]

    def score(rows: Ints, texts: Sequence[str]) -> Scores:
        return run.scores(texts, rows).transposed()

    truths = [item.annotation for item in run.data.clips]
    results = perturbation.robustness(score, captions, kinds=run.settings.kinds, truths=truths, seed=run.settings.seed)
    skipped, metrics = dict.fromkeys(run.settings.kinds, len(captions)), dict[str, Interval]()
    blind: dict[str, dict[str, Any]] = {"random": {}}
    for kind, r in results.items():
        metrics[f"{kind} preferred"] = r.preferred
        metrics[f"{kind} preferred, mismatched sound"] = r.mismatched
        metrics[f"{kind} preferred beyond mismatched"] = r.beyond.difference
        metrics.update({f"{kind} {name}": i for name, i in r.retrieval.items()})
        half = Interval(value=0.5, low=0.5, high=0.5, num=r.num)  # exactly, whatever is drawn
        for rule, share in {"random": half, **{f"text-only, {n}": i for n, i in r.text_only.items()}}.items():
            blind.setdefault(rule, {})[f"{kind} preferred"] = asdict(share)
    return run.report(
        pool=Relevance.of_targets(range(len(captions)), len(captions)).fingerprint(),
        num_queries=len(captions),
        metrics=metrics,
        details={
            "skipped": skipped | {kind: r.num_skipped for kind, r in results.items()},
            "detected": {kind: r.detected for kind, r in results.items()},
            "blind": blind,
        },
    )


def _zero_shot(run: _Run) -> Report:
    several = [i.id for i in run.data.clips if len(i.labels) != 1]
    if several:
        raise InputError(
            f"{run.data.source.title}: clip {several[0]!r} does not have exactly one label; this is not classification."
        )
    labels = [i.labels[0] for i in run.data.clips]
    vectors_ND = np.stack([track_vector(run.model.views, sound) for sound in run.pool.sounds])
    right = openvocab.zero_shot(vectors_ND, labels, run.model.text, template=run.settings.template)
    classes = sorted(set(labels))
    target = np.array([classes.index(label) for label in labels])
    return run.report(
        pool=Relevance.of_targets(target, len(classes)).fingerprint(),
        num_queries=len(labels),
        num_items=len(classes),
        metrics={"accuracy": interval(right, seed=run.settings.seed)},
        per_query={"accuracy": tuple(right.tolist())},
        statistics={"accuracy": "mean"},
        details={"classes": {label: float(right[target == c].mean()) for c, label in enumerate(classes)}},
    )


def _tagging(run: _Run) -> Report:
    classes = sorted({label for item in run.data.clips for label in item.labels})
    if not classes:
        raise InputError(f"{run.data.source.title}: no clip has a label.")
    truth = np.array([[c in item.labels for c in classes] for item in run.data.clips])
    scores = run.scores(openvocab.class_prompts(classes, run.settings.template))
    found_NC = scores.matrix().T

    def score(rows: Ints) -> dict[str, float] | None:
        drawn = truth[rows]
        return tagging_metrics(found_NC[rows], drawn) if (drawn.any(axis=0) & ~drawn.all(axis=0)).any() else None

    return run.report(
        pool=hashlib.sha256(repr([item.labels for item in run.data.clips]).encode()).hexdigest()[:32],
        num_queries=len(classes),
        metrics=resampled(score, len(truth), **run.settings.drawing),
        details={"classes": classes},
    )


def _frame_scores(run: _Run, row: int, phrases_CD: Vectors, duration_s: float) -> ClipScores:
    # Cosine of every frame that begins within the clip with every phrase; the last frame ends with the clip.
    sound = run.pool.sounds[row]
    frames = np.asarray(sound.frames_TD, np.float32)
    borders_s = np.append(sound.start_s_T, duration_s).astype(np.float64)
    num = max(1, int(np.searchsorted(borders_s[:-1], duration_s - 1e-9)))
    cosines_TC = frames[:num].astype(np.float64) @ phrases_CD.T.astype(np.float64)
    return ClipScores(cosines_TC, np.append(borders_s[:num], duration_s))


def _psds(
    truth: Truth, scores: SystemScores, named: Mapping[str, psds.PsdsSetting], settings: TaskSettings
) -> dict[str, Interval]:
    # PSDS of a whole set, and intervals by drawing clips. A class without an event in a draw is left out of it.
    names = list(truth)

    def score(rows: Ints) -> dict[str, float] | None:
        picks = {f"{i} {names[row]}": names[row] for i, row in enumerate(rows)}
        known = {key: truth[name] for key, name in picks.items()}
        present = {e.label for clip in known.values() for e in clip.events}
        columns = [c for c, label in enumerate(scores.classes) if label in present]
        if not columns:
            return None
        whole = {key: scores.clips[name] for key, name in picks.items()}
        clips = {key: ClipScores(clip.values_TC[:, columns], clip.boundaries_s) for key, clip in whole.items()}
        system = SystemScores(tuple(scores.classes[c] for c in columns), clips)
        return {name: psds.psds(known, system, setting).value for name, setting in named.items()}

    return resampled(score, len(names), **settings.drawing)


def _at_best(
    truth: Truth, scores: SystemScores, thresholds: Mapping[str, float], match: Matcher, settings: TaskSettings
) -> Interval:
    # Thresholds remain those of the whole set: chosen for a draw they fit it better than any fits all, whose value
    # could be below its own interval. Clips are weighted (Bayesian bootstrap, Rubin 1981), not drawn, so that no rare
    # class is lost. The bias that is left, as F1 is a ratio, is taken off the ends.
    found, num = decide(scores, thresholds), len(truth)
    counts_NC3 = np.zeros((num, len(scores.classes), 3))
    for row, (name, clip) in enumerate(truth.items()):
        for label in {e.label for e in (*clip.events, *found[name])}:
            counts_NC3[row, scores.classes.index(label)] = match_clip(clip, found[name], label, match)

    def macro_f1(weights: Floats) -> float:
        tp, fp, fn = np.tensordot(weights, counts_NC3, axes=1).T
        return float(np.mean(2 * tp / (2 * tp + fp + fn)))  # every class occurs: never 0 / 0

    rng, value = np.random.default_rng(settings.seed), macro_f1(np.ones(num))
    draws = [macro_f1(rng.exponential(size=num)) for _ in range(settings.num_clip_resamples)]
    low, high = np.clip(np.quantile(draws, [0.025, 0.975]) - np.mean(draws) + value, 0, 1)
    return Interval(value=value, low=float(low), high=float(high), num=num)


def _sed(run: _Run) -> Report:
    truth, settings = truth_of(run.data), run.settings
    classes = tuple(sorted({e.label for clip in truth.values() for e in clip.events}))
    if not classes:
        raise InputError(f"{run.data.source.title}: no clip has a sound event.")
    phrases = run.read(classes).pooled_XD
    raw = {i.id: _frame_scores(run, row, phrases, truth[i.id].duration_s) for row, i in enumerate(run.data.clips)}
    whole = SystemScores(classes, {name: clip.smoothed(settings.num_filter_frames) for name, clip in raw.items()})
    first = psds.PSDS1_AUDIOSET if run.data.name == "audioset_strong" else psds.PSDS1
    named = {"PSDS1": first, "PSDS2": psds.PSDS2}
    metrics = _psds(truth, whole, named, settings) | {
        "best collar F1": _at_best(truth, whole, best_collar_thresholds(truth, whole), collar_counts, settings),
        "best segment F1": _at_best(truth, whole, best_segment_thresholds(truth, whole), segment_counts, settings),
    }
    details: dict[str, Any] = {"classes": list(classes), "PSD-ROC": _rocs(truth, whole, named)}
    if (logit := run.model.logits.get("frame")) is not None:  # no threshold is chosen on what is measured
        likely = {name: ClipScores(logit.probability(c.values_TC), c.boundaries_s) for name, c in whole.clips.items()}
        found = decide(SystemScores(classes, likely), dict.fromkeys(classes, 0.5))
        details["F1 at probability 0.5"] = {
            name: event_f1(truth, found, classes, match).macro_f1
            for name, match in (("collar", collar_counts), ("segment", segment_counts))
        }
    return run.report(pool=run.data.revision, num_queries=len(classes), metrics=metrics, details=details)


def _rocs(truth: Truth, scores: SystemScores, named: Mapping[str, psds.PsdsSetting]) -> dict[str, Any]:
    # The staircases behind the scores, up to the limit of each, without steps that change nothing.
    found: dict[str, Any] = {}
    for name, setting in named.items():
        roc, limit = psds.psds(truth, scores, setting).roc, setting.max_efpr_per_hour
        step = (roc.efpr_per_hour <= limit) & (np.diff(roc.tpr, prepend=-1.0) != 0)
        found[name] = {
            "max_efpr_per_hour": limit,
            "efpr_per_hour": roc.efpr_per_hour[step].tolist(),
            "tpr": roc.tpr[step].tolist(),
        }
    return found


def _grounding(run: _Run) -> Report:
    pairs = openvocab.grounding_pairs(run.data.clips)
    if not pairs:
        raise InputError(f"{run.data.source.title}: no clip has a phrase that is present in it.")
    phrases = run.read([p.phrase for p in pairs.values()]).pooled_XD
    truth = {name: pair.truth for name, pair in pairs.items()}
    clips = {
        name: _frame_scores(run, pair.row, phrase[None], pair.truth.duration_s)
        for (name, pair), phrase in zip(pairs.items(), phrases, strict=True)
    }
    # Th-AUC needs scores in 0..1: the probabilities that a model learnt, else (cosine + 1) / 2. PSDS is of cosines: it
    # depends on their order alone, and probabilities near 1 would be rounded to ties.
    logit = run.model.logits.get("frame")
    scale, what = ((lambda x: (x + 1) / 2), "(cosine + 1) / 2") if logit is None else (logit.probability, "probability")
    shares = {name: ClipScores(scale(clip.values_TC), clip.boundaries_s) for name, clip in clips.items()}
    whole, named = SystemScores((openvocab.GENERIC_CLASS,), clips), {"PSDS2021": psds.PSDS2021}
    return run.report(
        pool=run.data.revision,
        num_queries=len(pairs),
        metrics=_psds(truth, whole, named, run.settings),
        details={f"Th-AUC of {what}": openvocab.th_auc(truth, shares), "PSD-ROC": _rocs(truth, whole, named)},
    )


def _fine_grained(run: _Run) -> Report:
    bare = [item.id for item in run.data.clips if item.annotation is None]
    if bare:
        raise InputError(f"{run.data.source.title}: the music is not annotated, for instance of {bare[0]!r}.")
    truths = [clip.annotation for clip in run.data.clips if clip.annotation is not None]
    seed, k = run.settings.seed, run.settings.k

    def by_vectors(texts: Sequence[str]) -> Floats:
        return np.round(run.scores(texts).matrix(), 6)  # rounding of float32 must not part what is equal

    queries = fine_queries(truths, wording=run.settings.wording, seed=seed)
    satisfied, sensitive = measure(run.settings.rank or by_vectors, queries, truths, k, seed=seed)
    stated = "\n".join(
        [*(item.id for item in run.data.clips), *queries.texts, *(t.false_text for t in queries.counterfactuals)]
    )
    kinds = {name: found for name, found in satisfied.items() if name != "every"}
    values = {f"CS@{k} {name}": found.shares for name, found in kinds.items() if name != "joint"}
    values.update({f"{kind} fall": s.rank_drops for kind, s in sensitive.items()})
    return run.report(
        pool=hashlib.sha256(stated.encode()).hexdigest()[:32],
        num_queries=len(queries.texts),
        metrics={f"CS@{k} {name}": found.share for name, found in satisfied.items()} | sensitivity_metrics(sensitive),
        per_query=values,
        statistics=dict.fromkeys(values, "mean"),
        details={
            "lift": {name: found.lift for name, found in kinds.items() if found.lift is not None},
            "constant list": {name: found.constant for name, found in kinds.items()},
            "attainable": {name: found.attainable for name, found in kinds.items()},
            "attainable fall": {kind: s.attainable for kind, s in sensitive.items()},
            "detected": {kind: s.detected for kind, s in sensitive.items()},
        },
    )


TASKS: dict[str, Callable[[_Run], Report]] = {
    "retrieval": _retrieval,
    "saturation": _saturation,
    "perturbation": _perturbation,
    "zeroshot": _zero_shot,
    "tagging": _tagging,
    "sed": _sed,
    "grounding": _grounding,
    "finegrained": _fine_grained,
}
