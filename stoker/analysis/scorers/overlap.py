"""BLEU and chrF by sacrebleu, ROUGE by rouge-score: their own numbers, as shares of 1.

For each item the sentence's score, which pairs can be compared by; of the whole benchmark the corpus score, which is
what papers report and no mean of sentences. Sources: Papineni et al. 2002 and Post 2018 (BLEU), Popovic 2015 (chrF),
Lin 2004 (ROUGE).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from stoker.analysis.scorers.base import Meta, Scorer, accepted

_Scored = Sequence[tuple[Meta, str, str]]


def _bleu(meta: Meta, expected: str, answer: str) -> dict[str, float]:
    return {"bleu": _sentence_bleu().sentence_score(answer, accepted(meta, expected)).score / 100}


def _bleu_of_all(scored: _Scored) -> dict[str, float]:
    from sacrebleu.metrics import BLEU

    return {"bleu": BLEU().corpus_score(*_streams(scored)).score / 100}


def _chrf(meta: Meta, expected: str, answer: str) -> dict[str, float]:
    return {"chrf": _chrf_metric().sentence_score(answer, accepted(meta, expected)).score / 100}


def _chrf_of_all(scored: _Scored) -> dict[str, float]:
    return {"chrf": _chrf_metric().corpus_score(*_streams(scored)).score / 100}


def _rouge(meta: Meta, expected: str, answer: str) -> dict[str, float]:
    found = _rouge_scorer().score_multi(accepted(meta, expected), answer)
    return {name.lower(): found[name].fmeasure for name in ("rougeL", "rouge1", "rouge2")}


def _streams(scored: _Scored) -> tuple[list[str], list[list[str | None]]]:
    """Lay answers and references out as sacrebleu takes them: one stream for each place of a reference."""
    references = [accepted(meta, expected) for meta, expected, _ in scored]
    width = max(len(each) for each in references)
    streams = [[each[place] if place < len(each) else None for each in references] for place in range(width)]
    return [answer for _, _, answer in scored], streams


@functools.cache
def _sentence_bleu() -> Any:
    from sacrebleu.metrics import BLEU

    return BLEU(effective_order=True)  # sacrebleu's own advice for sentences


@functools.cache
def _chrf_metric() -> Any:
    from sacrebleu.metrics import CHRF

    return CHRF()


@functools.cache
def _rouge_scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=False)


BLEU_SCORER = Scorer("bleu", {"bleu": False}, _bleu, _bleu_of_all)
CHRF_SCORER = Scorer("chrf", {"chrf": False}, _chrf, _chrf_of_all)
ROUGE_SCORER = Scorer("rouge", {"rougel": False, "rouge1": False, "rouge2": False}, _rouge)
