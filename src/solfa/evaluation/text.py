"""Scores of captions against references: BLEU, ROUGE-L, CIDEr, METEOR, SPIDEr, vocabulary, novelty, BERTScore, CLAP.

Conventions
-----------
Candidates and references are lists of tokens, one candidate and one or more references per item; `words` makes tokens,
and tokens of any other tokeniser are taken as well. Published captioning numbers use the Java PTB tokeniser, which
splits contractions; on plain captions the difference is small, but it is one. Scores are per item [shape=(I,)] where a
metric has such a thing; BLEU is of the whole set. Every metric of tokens refuses what `check_items` refuses, and all
others raise InputError for sets that are empty or differ in number or shape.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from solfa.core.errors import InputError, need
from solfa.encoders.checkpoints import config, reading
from solfa.evaluation.ranking import Floats, Vectors
from solfa.evaluation.similarity import unit_rows

Tokens = Sequence[str]
References = Sequence[Sequence[Tokens]]


def words(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation; chords, metres and decimals remain whole.

    >>> words("In F# minor, 4/4 at 92.5 BPM: lo-fi, don't rush.")
    ['in', 'f#', 'minor', '4/4', 'at', '92.5', 'bpm', 'lo-fi', "don't", 'rush']
    """
    return re.findall(r"[\w#♯♭]+(?:[./'’&-][\w#♯♭]+)*", text.lower())


_PTB_DROPPED = {"''", "'", "``", "`", "?", "!", ",", ":", "-", "--", ";"}
# Brackets remain, as the reference drops them in upper case only, after all has been put to lower case.
_PTB_NAMES = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
_PTB_PARTED = (
    (r"[’‘]", "'"), (r"[“”\"]", " \" "), (r"[–—]", " -- "), (r"=", " = "),
    (r"(?<=\w)/(?=\s)|(?<=\s)/(?=\w)", " / "), (r"(?<=\s)-(?=\w)|(?<=\w)-(?=\s)", " - "),
    # What the reference keeps in one token (R&B, F#, @home) and nltk parts.
    (r"(?<=\b\w)&(?=\w\b)", "\ue000"), (r"(?<=\w)&(?=\w)", " & "), (r"@(?=\w)", "\ue002"),
    (r"(?<!\w)'(?=\d0s\b)", "\ue003"),
    (r"(?<=\b[A-Ga-g])#(\w)", "\ue001 \\1"), (r"(?<=\b[A-Ga-g])#", "\ue001"),
)  # fmt: skip
_PTB_KEPT = str.maketrans({"\ue000": "&", "\ue001": "#", "\ue002": "@", "\ue003": "'", "\ue004": "."})
_ABBREVIATED = re.compile(r"(?:[a-z]\.)*[a-z]|dr|mrs?|ms|vs|st|jr|sr|prof|etc|feat|no")


def ptb_words(text: str) -> list[str]:
    """Tokens as COCO's caption metrics count them: Penn Treebank's, in lower case, without punctuation.

    nltk's tokenizer, with full stops parted inside a text as well. On 3,000 MusicCaps texts the tokens are those of the
    Java tokenizer that ``pycocoevalcap`` runs but for rare forms (docs/evaluation.md).

    Raises MissingExtra if nltk is not installed.

    >>> ptb_words("It's slow, don't rush. Lo-fi drums!")
    ['it', "'s", 'slow', 'do', "n't", 'rush', 'lo-fi', 'drums']
    """
    nltk = need("nltk.tokenize", "Treebank tokens", "pip install 'solfa[eval]'")

    def stop(match: re.Match[str]) -> str:
        kept = _ABBREVIATED.fullmatch(match[1].lower())
        return f"{match[1]}\ue004" if kept else f"{match[1]} . "

    for pattern, by in _PTB_PARTED:
        text = re.sub(pattern, by, text)
    parted = re.sub(r"([^\s.]+(?:\.[^\s.]+)*)\.(?=[\s\"')\]]|$)", stop, text)
    tokens = [_PTB_NAMES.get(t, t.lower().translate(_PTB_KEPT)) for t in nltk.NLTKWordTokenizer().tokenize(parted)]
    return [t for t in tokens if t not in _PTB_DROPPED and t.strip(".")]


def check_items(candidates: Sequence[Tokens], references: References) -> None:
    """Nothing, if every candidate has a reference and none is empty.

    Raises InputError if there are no items, numbers differ, an item has no reference, or a text has no word.
    """
    if not candidates or len(candidates) != len(references):
        raise InputError(
            f"{len(candidates)} candidates for {len(references)} sets of references; an empty or uneven set."
        )
    for i, (candidate, own) in enumerate(zip(candidates, references, strict=True)):
        if not own or not all(own):
            raise InputError(f"item {i} has no reference, or an empty one.")
        if not candidate:
            raise InputError(f"item {i}: the candidate has no word. Score an empty answer as 0, or drop it.")


def _ngrams(tokens: Tokens, n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))


def bleu(candidates: Sequence[Tokens], references: References, *, max_n: int = 4) -> tuple[float, ...]:
    """Corpus BLEU-1 to BLEU-``max_n`` (Papineni et al. 2002), the closest reference length counting.

    Equal to ``pycocoevalcap`` up to its smoothing constant of 1e-9.

    >>> bleu([["a", "b", "c"]], [[["a", "b", "d"]]], max_n=2)
    (0.6666666666666666, 0.5773502691896257)
    """
    check_items(candidates, references)
    matched, total, length, reference_length = np.zeros(max_n), np.zeros(max_n), 0, 0
    for candidate, own in zip(candidates, references, strict=True):
        length += len(candidate)
        reference_length += min((abs(len(r) - len(candidate)), len(r)) for r in own)[1]
        for n in range(1, max_n + 1):
            grams = _ngrams(candidate, n)
            most: Counter[tuple[str, ...]] = Counter()
            for r in own:
                most |= _ngrams(r, n)
            matched[n - 1] += (grams & most).total()
            total[n - 1] += grams.total()
    brevity = math.exp(min(0.0, 1.0 - reference_length / length))
    precision = np.where(total > 0, matched / np.maximum(total, 1), 0.0)
    return tuple(float(brevity * np.prod(precision[:n]) ** (1 / n)) for n in range(1, max_n + 1))


def _common_subsequence(a: Tokens, b: Tokens) -> int:
    row = [0] * (len(b) + 1)
    for x in a:
        diagonal = 0
        for j, y in enumerate(b, start=1):
            diagonal, row[j] = row[j], diagonal + 1 if x == y else max(row[j], row[j - 1])
    return row[-1]


def rouge_l(candidates: Sequence[Tokens], references: References, *, beta: float = 1.2) -> Floats:
    """ROUGE-L of every item: F of the longest common subsequence, recall weighing ``beta`` times precision.

    1.2 is COCO's choice, 1 that of Hugging Face; the best precision and the best recall over references are taken, as
    ``pycocoevalcap`` does.
    """
    check_items(candidates, references)
    scores = np.zeros(len(candidates))
    for i, (candidate, own) in enumerate(zip(candidates, references, strict=True)):
        common = [_common_subsequence(r, candidate) for r in own]
        precision = max(common) / len(candidate)
        recall = max(c / len(r) for c, r in zip(common, own, strict=True))
        if precision > 0:
            scores[i] = (1 + beta**2) * precision * recall / (recall + beta**2 * precision)
    return scores


def cider(candidates: Sequence[Tokens], references: References, *, clipped: bool = True, sigma: float = 6.0) -> Floats:
    """CIDEr-D of every item, or CIDEr if not ``clipped`` (Vedantam et al. 2015): tf-idf n-gram cosine, times 10.

    Document frequencies come from the references given, so that numbers of different sets of items are not comparable
    (and of a single item are 0). Equal to ``pycocoevalcap``, whose "CIDEr" is CIDEr-D. ``clipped`` cuts n-gram counts
    at the reference's and penalises a difference in length; ``sigma`` is the width of that penalty in words.
    """
    check_items(candidates, references)
    frequency = Counter(g for own in references for g in {g for r in own for n in range(1, 5) for g in _ngrams(r, n)})
    log_items = math.log(len(references))

    def weigh(tokens: Tokens) -> list[dict[tuple[str, ...], float]]:
        return [
            {g: c * (log_items - math.log(max(1, frequency[g]))) for g, c in _ngrams(tokens, n).items()}
            for n in range(1, 5)
        ]

    scores = np.zeros(len(candidates))
    for i, (candidate, own) in enumerate(zip(candidates, references, strict=True)):
        mine = weigh(candidate)
        for reference in own:
            similarity = sum(_tfidf_cosine(a, b, clipped) for a, b in zip(mine, weigh(reference), strict=True)) / 4
            if clipped:
                similarity *= math.exp(-((len(candidate) - len(reference)) ** 2) / (2 * sigma**2))
            scores[i] += 10 * similarity / len(own)
    return scores


def _tfidf_cosine(mine: dict[tuple[str, ...], float], theirs: dict[tuple[str, ...], float], clipped: bool) -> float:
    norm = math.sqrt(sum(v * v for v in mine.values()) * sum(v * v for v in theirs.values()))
    if norm == 0:
        return 0.0
    return sum((min(v, theirs[g]) if clipped else v) * theirs[g] for g, v in mine.items() if g in theirs) / norm


def meteor(
    candidates: Sequence[Tokens],
    references: References,
    *,
    synonyms: Callable[[str], Collection[str]] = lambda word: (),
) -> Floats:
    """METEOR of every item as ``nltk`` computes it (2005 form): exact words, Porter stems, then synonyms.

    LP-MusicCaps' numbers are this one with WordNet's synonyms; COCO's are METEOR 1.5 (Java, with paraphrases), which
    is another metric of the same name. The best reference counts. ``synonyms`` of a word are none by default, as
    WordNet is a separate download.

    Raises MissingExtra if nltk is not installed.
    """
    check_items(candidates, references)
    nltk = need("nltk.translate.meteor_score", "METEOR", "pip install 'solfa[eval]'")

    def synsets(word: str) -> list[Any]:
        return [SimpleNamespace(lemmas=lambda: [SimpleNamespace(name=lambda n=n: n) for n in synonyms(word)])]

    thesaurus = SimpleNamespace(synsets=synsets)  # the part of nltk's WordNet reader that its METEOR asks for
    pairs = zip(candidates, references, strict=True)
    return np.array([nltk.meteor_score(own, candidate, wordnet=thesaurus) for candidate, own in pairs], np.float64)


def tuple_f1(candidate: Iterable[Hashable], reference: Iterable[Hashable]) -> float:
    """SPICE's score of two sets of scene-graph tuples (Anderson et al. 2016): their F1; the parser is the caller's.

    >>> tuple_f1([("guitar",), ("guitar", "slow")], [("guitar",), ("voice",)])
    0.5
    """
    mine, theirs = set(candidate), set(reference)
    if not theirs:
        raise InputError("the reference has no tuples; such an item cannot be scored.")
    return 2 * len(mine & theirs) / (len(mine) + len(theirs))


def spider(cider_scores: Sequence[float] | Floats, spice_scores: Sequence[float] | Floats) -> Floats:
    """SPIDEr of every item: the mean of CIDEr-D and SPICE. SPICE needs a scene-graph parser and is the caller's."""
    if len(cider_scores) != len(spice_scores) or not len(cider_scores):
        raise InputError(f"{len(cider_scores)} CIDEr scores for {len(spice_scores)} SPICE scores.")
    return (np.asarray(cider_scores, np.float64) + np.asarray(spice_scores, np.float64)) / 2


def vocabulary(candidates: Sequence[Tokens], training: Sequence[Tokens]) -> dict[str, float]:
    """How varied and new captions are relative to the training captions (LP-MusicCaps).

    ``size`` different words; ``diversity`` = size / training size; ``novelty`` = share of the different captions that
    no training caption equals.
    """
    if not candidates or not any(training):
        raise InputError(f"{len(candidates)} candidates, {len(training)} training captions: nothing to compare.")
    different = {tuple(c) for c in candidates}
    size, known = (len({word for text in texts for word in text}) for texts in (candidates, training))
    novel = len(different - {tuple(t) for t in training}) / len(different)
    return {"size": size, "diversity": size / known, "novelty": novel}


def bert_score(candidates: Sequence[str], references: Sequence[Sequence[str]], folder: Path, *, layer: int) -> Floats:
    """BERTScore F1 of every item (Zhang et al. 2020) by the package of its authors; the best reference counts.

    ``folder`` is a BERT or RoBERTa as Hugging Face saves them, ``layer`` the hidden layer that is read. No idf weights
    and no rescaling. Numbers of different models and layers are not comparable: name them with the score.

    Raises WeightsError if the folder holds no such model with its tokenizer, or a damaged one; InputError if there are
    no candidates, one has no reference, the model has no such layer, or bert-score would take it for a T5 by its path,
    or not take a T5 for one; MissingExtra if the package is not installed.
    """
    if not candidates or len(candidates) != len(references) or not all(references):
        raise InputError(f"{len(candidates)} candidates for {len(references)} sets of references, none may be empty.")
    package, place = need("bert_score", "BERTScore", "pip install bert-score"), str(folder.resolve())
    kind = str(config(folder / "config.json").get("model_type"))
    if ("t5" in place) != ("t5" in kind):
        raise InputError(f"{place}: bert-score takes T5 from paths with 't5', got {kind!r}. Rename the folder.")
    try:
        with reading(folder, "a Hugging Face model with its tokenizer"):
            given = [*candidates], [[*own] for own in references]
            return np.asarray(package.score(*given, model_type=place, num_layers=layer, lang=None)[2], np.float64)
    except AssertionError as bad:
        raise InputError(f"{folder}: {bad}") from bad


def clap_score(audio_ID: Vectors, text_ID: Vectors) -> Floats:
    """CLAP score of every item: cosine of its audio with its text, -1..1."""
    audio, text = unit_rows(audio_ID, "audio"), unit_rows(text_ID, "text")
    if audio.shape != text.shape:
        raise InputError(f"audio {audio.shape} and text {text.shape} must be paired item by item.")
    return np.asarray(np.einsum("id,id->i", audio.astype(np.float64), text.astype(np.float64)))
