"""The published outputs of LP-MusicCaps scored by our metrics, beside the scores that were published for these files.

    python benchmarks/published_captions.py FOLDER [--wordnet DICT]

FOLDER has ``lp-musiccaps-mc-{writing,summary,paraphrase,attribute}.json`` (or ``.json.xz``): lists of objects
with ``prediction`` and ``ground_truth``. DICT has WordNet 3.0's files (``data.noun``, ...), for METEOR's synonyms;
without it METEOR matches words and stems. A row has the tokens of ``solfa eval captions`` (Treebank, as COCO's tools),
one those of Hugging Face's evaluate: mteval 13a for BLEU, whose case and punctuation count; nltk's words of each
sentence for METEOR; letters and digits for ROUGE-L, of which it takes F1.
"""

from __future__ import annotations

import argparse
import json
import lzma
import re
from collections.abc import Callable, Collection
from functools import cache
from pathlib import Path

import numpy as np
from nltk.tokenize import NLTKWordTokenizer

from solfa.evaluation import text

# github.com/seungheondoh/lp-music-caps, table of the tag-to-caption results: BLEU-1 to 4, METEOR, ROUGE-L.
PUBLISHED = {
    "writing": (0.3684, 0.1985, 0.1137, 0.0674, 0.3144, 0.2536),
    "summary": (0.2612, 0.1458, 0.0880, 0.0552, 0.2758, 0.2583),
    "paraphrase": (0.3651, 0.1873, 0.1033, 0.0587, 0.3036, 0.2340),
    "attribute": (0.3526, 0.1816, 0.0969, 0.0541, 0.3409, 0.2319),
}
_13A = ((r"([{-~\[-` -&(-+:-@/])", r" \1 "), (r"([^0-9])([.,])", r"\1 \2 "), (r"([.,])([^0-9])", r" \1 \2"),
        (r"([0-9])(-)", r"\1 \2 "))  # fmt: skip


def mteval_13a(line: str) -> list[str]:
    """The tokens of NIST's mteval-v13a, which sacreBLEU and Hugging Face's bleu use."""
    line = " ".join(line.splitlines())
    for pattern, by in _13A:
        line = re.sub(pattern, by, f" {line} ").strip()
    return line.split()


def nltk_words(line: str) -> list[str]:
    """Treebank tokens of each sentence, punctuation among them; nltk puts them to lower case itself."""
    return [t for part in re.split(r"(?<=[.!?])\s+", line) for t in NLTKWordTokenizer().tokenize(part)]


def letters_and_digits(line: str) -> list[str]:
    """The tokens of the package rouge-score, without stems."""
    return re.findall(r"[a-z0-9]+", line.lower())


ENDINGS = {
    "noun": {
        "s": "",
        "ses": "s",
        "ves": "f",
        "xes": "x",
        "zes": "z",
        "ches": "ch",
        "shes": "sh",
        "men": "man",
        "ies": "y",
    },
    "verb": {"s": "", "ies": "y", "es": "", "ed": "", "ing": ""} | {"ed ": "e", "ing ": "e", "es ": "e"},
    "adj": {"er": "", "est": "", "er ": "e", "est ": "e"},
    "adv": {},
}  # WordNet's rules of detachment; a space parts two rules for one ending


def synonyms_of(folder: Path) -> Callable[[str], Collection[str]]:
    """The words of all synsets of a word or of its base form, from WordNet's own files."""
    senses: dict[str, set[tuple[str, int]]] = {}
    lemmas: dict[tuple[str, int], list[str]] = {}
    bases: dict[tuple[str, str], str] = {}
    for pos in ENDINGS:
        for line in (folder / f"index.{pos}").read_text().splitlines():
            if not line.startswith(" "):
                lemma, _, count, *rest = line.split()
                senses.setdefault(f"{pos} {lemma}", set()).update((pos, int(n)) for n in rest[-int(count) :])
        for line in (folder / f"data.{pos}").read_text().splitlines():
            if not line.startswith(" "):
                offset, _, _, count, *rest = line.split()
                lemmas[pos, int(offset)] = [w.partition("(")[0] for w in rest[: 2 * int(count, 16) : 2]]
        for line in (folder / f"{pos}.exc").read_text().splitlines():
            bases[pos, line.split()[0]] = line.split()[1]

    @cache
    def synonyms(word: str) -> Collection[str]:
        found = set[str]()
        for pos, endings in ENDINGS.items():
            cut = [word[: -len(e.strip())] + to for e, to in endings.items() if word.endswith(e.strip())]
            own = [bases[pos, word]] if (pos, word) in bases else cut
            found |= {n for base in (word, *own) for s in senses.get(f"{pos} {base}", ()) for n in lemmas[s]}
        return frozenset(n for n in found if "_" not in n)

    return synonyms


def read(folder: Path, name: str) -> list[dict[str, str]]:
    plain = folder / f"lp-musiccaps-mc-{name}.json"
    packed = plain.with_suffix(".json.xz")
    rows: list[dict[str, str]] = json.loads(
        plain.read_bytes() if plain.exists() else lzma.decompress(packed.read_bytes())
    )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--wordnet", type=Path)
    given = parser.parse_args()
    synonyms: Callable[[str], Collection[str]] = synonyms_of(given.wordnet) if given.wordnet else lambda word: ()
    columns = "".join(f"{name:>9}" for name in ("B1", "B2", "B3", "B4", "METEOR", "ROUGE-L"))
    print(f"{'file':12}{'tokens':20}{columns}")
    ptb = text.ptb_words
    systems = {
        "solfa eval captions": (ptb, ptb, ptb, 1.2),
        "as the authors": (mteval_13a, nltk_words, letters_and_digits, 1.0),
    }
    for name, published in PUBLISHED.items():
        rows = read(given.folder, name)
        print(f"{name:12}{'published':20}" + "".join(f"{score:9.4f}" for score in published))
        for system, (*tokens, beta) in systems.items():
            pairs = [([t(r["prediction"]) for r in rows], [[t(r["ground_truth"])] for r in rows]) for t in tokens]
            found = [*text.bleu(*pairs[0]), float(np.mean(text.meteor(*pairs[1], synonyms=synonyms)))]
            found.append(float(np.mean(text.rouge_l(*pairs[2], beta=beta))))
            print(f"{'':12}{system:20}" + "".join(f"{score:9.4f}" for score in found), flush=True)


if __name__ == "__main__":
    main()
