"""How alike two texts are, from 0 to 1, by the measures that the service names.

Words are runs of letters and digits of any script, in lower case; a text without a word is like
nothing. Knows texts only.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from rapidfuzz import fuzz

from finetune_api.graders import SimilarityMetric

_WORD = re.compile(r"[^\W_]+")

Measure = Callable[[list[str], list[str]], float]


def similarity(metric: SimilarityMetric, text: str, reference: str) -> float:
    """How like the reference a text is."""
    if metric == SimilarityMetric.FUZZY_MATCH:
        return float(fuzz.ratio(text, reference)) / 100
    words, wanted = _words(text), _words(reference)
    if not words or not wanted:
        return 0.0
    return _MEASURES[metric](words, wanted)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _rouge(size: int) -> Measure:
    def measure(words: list[str], wanted: list[str]) -> float:
        found, needed = _grams(words, size), _grams(wanted, size)
        return _f1((found & needed).total(), found.total(), needed.total())

    return measure


def _grams(words: list[str], size: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(words[i:] for i in range(size)), strict=False))


def _f1(common: int, found: int, needed: int) -> float:
    return 2 * common / (found + needed) if common else 0.0


def _rouge_l(words: list[str], wanted: list[str]) -> float:
    # The longest common subsequence, one row of the table at a time.
    row = [0] * (len(wanted) + 1)
    for word in words:
        diagonal = 0
        for i, other in enumerate(wanted, start=1):
            above = row[i]
            row[i] = diagonal + 1 if word == other else max(above, row[i - 1])
            diagonal = above
    return _f1(row[-1], len(words), len(wanted))


# NLTK is kept well and has these three; it takes a second to load, so only who needs it pays.
def _bleu(words: list[str], wanted: list[str]) -> float:
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

    # Short answers have no 4-grams: smoothed, or they would all score 0.
    smooth = SmoothingFunction().method1
    score = sentence_bleu([wanted], words, smoothing_function=smooth, auto_reweigh=True)
    return float(score)


def _gleu(words: list[str], wanted: list[str]) -> float:
    from nltk.translate.gleu_score import sentence_gleu

    return float(sentence_gleu([wanted], words))


class _NoSynonyms:
    """METEOR's third stage needs WordNet, which is data to be downloaded: it finds none here."""

    def synsets(self, _word: str) -> list[Any]:
        return []


def _meteor(words: list[str], wanted: list[str]) -> float:
    from nltk.translate.meteor_score import single_meteor_score

    return float(single_meteor_score(wanted, words, wordnet=_NoSynonyms()))


_MEASURES: Mapping[SimilarityMetric, Measure] = MappingProxyType(
    {
        SimilarityMetric.BLEU: _bleu,
        SimilarityMetric.GLEU: _gleu,
        SimilarityMetric.METEOR: _meteor,
        SimilarityMetric.ROUGE_1: _rouge(1),
        SimilarityMetric.ROUGE_2: _rouge(2),
        SimilarityMetric.ROUGE_3: _rouge(3),
        SimilarityMetric.ROUGE_4: _rouge(4),
        SimilarityMetric.ROUGE_5: _rouge(5),
        SimilarityMetric.ROUGE_L: _rouge_l,
    }
)
