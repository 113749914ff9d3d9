"""Every finding there is: its code, how bad it is, what it costs the score, and what to do about it.

`points` is what a file loses when `full_share` of its rows (or more) have the finding; less of them cost in proportion.
The weights are our judgement of how much a defect hurts a fine-tuned model, not a measurement; `docs/score.md` says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from stoker.data.findings import REMEDIES

Severity = Literal["block", "warn", "note"]


@dataclass(frozen=True, slots=True)
class Rule:
    """What a finding of `code` means. Severity is per row; a file is stopped by its score, or by a finding that blocks."""

    code: str
    severity: Severity
    title: str
    why: str
    remedy: str
    points: float = 0.0
    full_share: float = 1.0


def _rules(*rules: Rule) -> dict[str, Rule]:
    assert len({rule.code for rule in rules}) == len(rules)
    return {rule.code: rule for rule in rules}


def _of_row_problems() -> list[Rule]:
    """Return a rule for each reason to quarantine a row; what it costs is `unusable-rows`."""
    return [
        Rule(code, "warn", code.replace("-", " "), _WHY.get(code, _UNUSABLE_WHY), remedy)
        for code, remedy in REMEDIES.items()
    ]


_UNUSABLE_WHY = "the row can't be trained on, so it is quarantined"
_MEMORY = "a test of rows that were trained measures memory"
_TWICE = "what is said twice is learned twice as much, so one copy trains"
_WHY = {
    "sealed-copy": _MEMORY, "near-sealed": _MEMORY, "benchmark-overlap": _MEMORY,
    "duplicate-in-file": _TWICE, "duplicate-of-earlier": _TWICE,
}  # fmt: skip

UNUSABLE = Rule(
    "unusable-rows", "warn", "rows that can't be used",
    "a file of which many rows are quarantined was probably written for another purpose, or by a broken program",
    "look at the reasons of the quarantined rows", points=70, full_share=0.5,
)  # fmt: skip

RULES = _rules(
    *_of_row_problems(),
    UNUSABLE,
    Rule(
        "repeated-rows", "warn", "exact duplicates in the file",
        "the first copy counts and the others don't train, so this costs nothing but says something about the source",
        "find out why rows repeat", points=10, full_share=0.5,
    ),
    Rule(
        "near-duplicates", "warn", "rows that are nearly the same",
        "what is said often is learned more, and a test set of near copies measures memory",
        "keep one row of each cluster", points=15, full_share=0.5,
    ),
    Rule(
        "conflicting-answers", "warn", "the same question with different short answers",
        "the model learns an average of answers that contradict each other",
        "keep the right answer, or say in the prompt what makes them differ", points=25, full_share=0.2,
    ),
    Rule(
        "answer-in-prompt", "warn", "the answer stands in the prompt",
        "the model learns to copy instead of to answer",
        'take it out of the prompt; for extraction tasks set check.task = "extraction"', points=30, full_share=0.2,
    ),
    Rule(
        "cut-answers", "warn", "answers that stop in the middle, at the same length",
        "a limit somewhere cut them, and the model learns to stop in the middle",
        "write the answers again without the limit", points=30, full_share=0.1,
    ),
    Rule(
        "mojibake", "warn", "text that was decoded with the wrong encoding",
        "the model learns to write what no one can read",
        "repair it where it was made, or set check.repair_mojibake = true", points=30, full_share=0.1,
    ),
    Rule(
        "replacement-characters", "warn", "characters that were lost (U+FFFD)",
        "what stood there is gone, and the model learns the sign for it",
        "export the source again with the right encoding", points=30, full_share=0.1,
    ),
    Rule(
        "control-characters", "warn", "control characters in the text",
        "they come from a broken export, and tokenizers give them tokens of their own",
        "strip them in the source", points=15, full_share=0.1,
    ),
    Rule(
        "placeholders", "warn", "templates that were not filled in",
        "the model learns to write {{name}}", "fill them in, or leave the rows out", points=20, full_share=0.1,
    ),
    Rule(
        "refusals", "warn", "answers that refuse",
        "the model learns to refuse, also where it should not",
        "leave them out, unless refusing is what you want to teach", points=20, full_share=0.2,
    ),
    Rule(
        "secrets", "warn", "keys, tokens or private data",
        "a model repeats what it has seen: keys, e-mail addresses, card numbers",
        "replace them in the source; revoke keys that were in it", points=10, full_share=0.05,
    ),
    Rule(
        "ignored-keys", "warn", "keys that look meant and are not read",
        "what stands there is not trained, and the rest may be taken for something else than it is",
        "name the key as a format does, or leave it out", points=40, full_share=0.5,
    ),
    Rule(
        "one-label", "warn", "nearly every answer is the same",
        "the model learns to give that answer whatever is asked",
        "add rows with the other answers, or leave some of the common one out", points=25, full_share=1.0,
    ),
    Rule(
        "too-long", "warn", "rows longer than the model is trained on",
        "a row of more than train.max_length tokens is quarantined when the run starts, never cut",
        "split the rows, or raise train.max_length", points=30, full_share=0.2,
    ),
    Rule(
        "template", "warn", "rows that the base's chat template refuses",
        "the template raises an error on them, so they are quarantined when the run starts",
        "look at the message; another base may take them", points=30, full_share=0.2,
    ),
    Rule(
        "low-score", "block", "the score is below check.stop_below",
        "a file this poor would cost a night", "mend it, or train it as it is: stoker data approve ID",
    ),
    Rule("labels", "note", "answers come from a short list", "this is a classification task", "nothing to do"),
    Rule("mixed-scripts", "note", "several writing systems", "the file mixes languages", "nothing to do, if it is meant"),
    Rule("languages", "note", "several languages", "the file mixes languages", "nothing to do, if it is meant"),
    Rule(
        "stray-language", "note", "rows in another language than the rest",
        "a few rows of another language teach the model to slip into it", "translate them or leave them out",
    ),
    Rule(
        "boilerplate-answers", "note", "answers that begin or end with the same sentence",
        "the model learns to say it always", "strip it in the source, unless it is wanted",
    ),
    Rule(
        "sealed-overlap", "note", "rows near sealed test rows",
        "they are held out, or the test would measure memory", "nothing to do",
    ),
    Rule(
        "few-rows", "warn", "too few rows to hold any out",
        "without held-out rows nothing can be proven about a version", "add rows, or a benchmark",
    ),
)  # fmt: skip
