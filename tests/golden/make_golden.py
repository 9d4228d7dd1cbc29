"""Writes the golden files beside it from the reference implementations. Not run by the tests.

pip install pytrec_eval-terrier ranx sed_scores_eval pycocoevalcap nltk prdc vendi-score mir_eval jams
python tests/golden/make_golden.py
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
# Sentences as captions have them, in pairs of one thing said in two ways.
PLAIN = (
    "It's a slow, low-quality recording (live): the singer doesn't rush. Drums enter.",
    "The recording is slow and isn't clean; there's a singer (female). The drums don't rush.",
    'An R&B track in F# minor, 4/4 at 92.5 BPM - lo-fi, "warm" and mellow.',
    "R&B, F# minor, 92.5 bpm: a lo-fi and mellow song that's warm.",
    "The U.S. band can't play fast; I'm gonna say it's rock & roll, e.g. from the 1960s.",
    "Rock & roll of the '60s by a band which can't play fast... It's from the U.S.",
    "Am7 - D7 - Gmaj7, then a key change! They've added 12 strings and/or horns?",
    "The chords are Am7, D7, Gmaj7; there're horns, strings and a key change.",
)


def trec() -> None:
    """Random graded runs without ties, scored by trec_eval (pytrec_eval) and ranx."""
    import pytrec_eval
    import ranx

    rng = np.random.default_rng(20)
    cases = []
    for num_queries, num_items in ((12, 30), (5, 8), (20, 60)):
        relevant = [rng.choice(num_items, size=rng.integers(1, 7), replace=False).tolist() for _ in range(num_queries)]
        gains = [rng.integers(1, 4, size=len(r)).tolist() for r in relevant]
        scores = np.stack([rng.permutation(num_items) for _ in range(num_queries)]).astype(float)
        qrels = {
            f"q{q:03}": {f"d{i:03}": g for i, g in zip(relevant[q], gains[q], strict=True)} for q in range(num_queries)
        }
        run = {f"q{q:03}": {f"d{i:03}": s for i, s in enumerate(row)} for q, row in enumerate(scores.tolist())}
        measures = {"recall.5,10", "P.5,10", "map_cut.10", "ndcg_cut.5,10", "success.5", "recip_rank"}
        result = pytrec_eval.RelevanceEvaluator(qrels, measures).evaluate(run)
        names = sorted(next(iter(result.values())))
        theirs = {n: [result[f"q{q:03}"][n] for q in range(num_queries)] for n in names}
        # ranx's nDCG is linear too; hit_rate is R@K.
        metrics = ["map@10", "ndcg@10", "hit_rate@10", "mrr"]
        by_ranx = ranx.evaluate(ranx.Qrels(qrels), ranx.Run(run), metrics, return_mean=False)
        cases.append(
            {
                "num_items": num_items,
                "relevant": relevant,
                "gains": gains,
                "scores": scores.tolist(),
                "trec": theirs,
                "ranx": {m: by_ranx[m].tolist() for m in metrics},
            }
        )
    write("trec.json", cases)


def psds() -> None:
    """Random scores and events, scored by sed_scores_eval: three PSDS, best collar and segment F1."""
    import sed_scores_eval as sse
    from sed_scores_eval.base_modules.scores import create_score_dataframe

    rng = np.random.default_rng(21)
    classes = ["a", "b", "c"]
    cases = []
    for num_clips, levels in ((12, 0), (6, 5)):  # continuous scores, and coarse ones with many ties
        clips = {}
        for i in range(num_clips):
            num_frames = int(rng.integers(20, 60))
            borders = np.linspace(0, 10.0, num_frames + 1).round(6)
            raw = rng.random((num_frames + 4, 3))
            values = np.stack([np.convolve(raw[:, c], np.ones(5) / 5, "valid") for c in range(3)], axis=1)
            events = []
            for label in classes:
                edges = np.sort(rng.choice(100, size=2 * int(rng.integers(0, 3)), replace=False)) / 10.0
                events += [(float(a), float(b), label) for a, b in edges.reshape(-1, 2)]
            for on, off, label in events:
                values[(borders[:-1] >= on) & (borders[1:] <= off), classes.index(label)] += 0.3
            values = np.round(values * levels) / levels if levels else values
            clips[f"clip{i}"] = (values, borders, events)
        scores = {n: create_score_dataframe(v, b, classes) for n, (v, b, _) in clips.items()}
        truth = {n: e for n, (_, _, e) in clips.items()}
        durations = dict.fromkeys(clips, 10.0)
        names = ("dtc_threshold", "gtc_threshold", "cttc_threshold", "alpha_ct", "alpha_st", "max_efpr")
        settings = {
            "psds1": (0.7, 0.7, None, 0.0, 1.0, 100.0),
            "psds2": (0.1, 0.1, 0.3, 0.5, 1.0, 100.0),
            "psds2021": (0.5, 0.5, None, 0.0, 0.0, 800.0),
            # A large limit, so that curves are compared beyond their first steps.
            "wide": (0.5, 0.3, 0.2, 1.0, 0.5, 3000.0),
        }
        result = {}
        for name, values in settings.items():
            value, per_class, roc, _ = sse.intersection_based.psds(
                scores, truth, durations, **dict(zip(names, values, strict=True))
            )
            result[name] = {"value": value, "classes": per_class, "tpr": list(roc[0]), "efpr": list(roc[1])}
        collar = sse.collar_based.best_fscore(
            scores, truth, onset_collar=0.2, offset_collar=0.2, offset_collar_rate=0.2
        )[0]
        segment = sse.segment_based.best_fscore(scores, truth, durations, segment_length=1.0)[0]
        cases.append(
            {
                "clips": {
                    n: {"scores": v.tolist(), "borders": b.tolist(), "events": e} for n, (v, b, e) in clips.items()
                },
                "psds": result,
                "collar": {c: collar[c] for c in classes},
                "segment": {c: segment[c] for c in classes},
            }
        )
    write("psds.json", cases)


def generative() -> None:
    """Two point clouds, scored by prdc, vendi_score and scipy's matrix root."""
    import prdc
    import scipy.linalg
    from vendi_score import vendi

    rng = np.random.default_rng(22)
    real = rng.standard_normal((60, 5)).round(4)
    fake = (rng.standard_normal((45, 5)) @ (np.eye(5) + 0.2 * rng.standard_normal((5, 5))) + 0.4).round(4)
    unit = fake / np.linalg.norm(fake, axis=1, keepdims=True)
    cov = np.cov(fake.T), np.cov(real.T)
    shift = fake.mean(axis=0) - real.mean(axis=0)
    root = scipy.linalg.sqrtm(cov[0] @ cov[1]).real
    expected = {
        "prdc": prdc.compute_prdc(real, fake, nearest_k=5),
        "vendi": vendi.score_K(unit @ unit.T),
        "fd": shift @ shift + np.trace(cov[0] + cov[1] - 2 * root),
    }
    expected["prdc"] = {k: float(v) for k, v in expected["prdc"].items()}
    write("generative.json", {"real": real.tolist(), "fake": fake.tolist(), **expected})


def annotation() -> None:
    """A JAMS file as the jams package writes it."""
    import jams

    jam = jams.JAMS()
    jam.file_metadata.duration = 12.0
    for namespace, rows in {
        "tempo": [(0, 12, 120.0, 0.9)],
        "key_mode": [(0, 12, "F#:minor", None)],
        "chord": [(0, 2, "F#:min", 1.0), (2, 2, "D:maj7/3", 0.5), (4, 8, "N", None)],
        "beat": [(0.5 * i, 0, i % 4 + 1, None) for i in range(24)],
    }.items():
        jam.annotations.append(jams.Annotation(namespace=namespace, time=0, duration=12))
        for time, duration, value, confidence in rows:
            jam.annotations[-1].append(time=time, duration=duration, value=value, confidence=confidence)
    jam.save(str(HERE / "reference.jams"))


def captions() -> None:
    """A few captions, scored by pycocoevalcap and nltk."""
    from nltk.translate.meteor_score import meteor_score
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    texts = [
        ("a slow piano ballad in f minor", ["a slow ballad in f minor played on piano", "sad piano song"]),
        ("fast drums and a fast bass line", ["fast drums with a busy bass line", "drum and bass loop at high speed"]),
        ("acoustic guitar strumming", ["someone strums an acoustic guitar while a man sings softly"]),
        ("the the the the the the", ["the cat is on the mat", "there is a cat on the mat"]),
        ("jazz trio with brushed drums and walking bass in a small club", ["a jazz trio walking bass brushed drums"]),
        ("synths", ["bright synths over a steady beat", "synth pop"]),
    ]
    candidates = {i: [c] for i, (c, _) in enumerate(texts)}
    references = {i: r for i, (_, r) in enumerate(texts)}
    bleu, _ = Bleu(4).compute_score(references, candidates, verbose=0)
    _, rouge = Rouge().compute_score(references, candidates)
    _, cider = Cider().compute_score(references, candidates)

    class NoWords:
        def synsets(self, word: str) -> list[object]:
            return []

    meteor = [meteor_score([r.split() for r in rs], c.split(), wordnet=NoWords()) for c, rs in texts]
    # Java is needed for the tokenizer.
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    told = [*PLAIN, *(t for c, rs in texts for t in (c, *rs))]
    java = PTBTokenizer().tokenize({i: [{"caption": t}] for i, t in enumerate(told)})
    ptb = [[t, java[i][0].split()] for i, t in enumerate(told)]
    full = {i: [c] for i, c in enumerate(PLAIN[::2])}, {i: [c] for i, c in enumerate(PLAIN[1::2])}
    tokens = [PTBTokenizer().tokenize({i: [{"caption": c[0]}] for i, c in side.items()}) for side in full]
    _, full_cider = Cider().compute_score(tokens[1], tokens[0])
    write("ptb.json", {"tokens": ptb, "cider": list(full_cider)})
    write("captions.json", {"texts": texts, "bleu": bleu, "rouge": list(rouge), "cider": list(cider), "meteor": meteor})


def write(name: str, value: object) -> None:
    (HERE / name).write_text(json.dumps(value, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    trec()
    psds()
    generative()
    annotation()
    captions()
