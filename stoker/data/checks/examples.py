"""For every code an example that triggers it: what the reference shows, and what a test sends through the intake.

An example's rows stand among `clean_rows`, unless it is alone; "%d" in them is the number of the copy. `also` are the codes
that go along: what the ledger calls a row and what the finding is called differ where a row is held out or a copy.
Nothing here is used when a file is checked.
"""

from __future__ import annotations

from dataclasses import dataclass

ANY_ROW = "Nothing overrides it: a row that can't be used never trains. Mend it and add the file again; rows taken before are known."
ANY_WARNING = (
    "The rows train all the same. When the points bring the file below `check.stop_below` it waits, and `stoker data approve ID` "
    "trains it as it is; `check.stop_below` and `check.warn_below` move the gates of a lab."
)
A_NOTE = "It is a note and costs nothing."
SEALED = "Nothing overrides it: a row that trains can't test. To train on such rows, use another lab."

# Codes that no file triggers by itself: what they mean, and how to override them.
ELSEWHERE = {
    "too-long": (
        "It depends on the base's tokenizer: a row with more tokens than `train.max_length`.",
        "Raise `train.max_length`, as far as the model and the memory go; a row is never cut to fit.",
    ),
    "template": (
        "It depends on the base's chat template: one may insist on turns in pairs, another may know no tools.",
        ANY_ROW,
    ),
    "removed-by-review": (
        "It is a person's decision about a row, not something found in it.",
        "`stoker data review ID --undo` brings the row back.",
    ),
}


@dataclass(frozen=True, slots=True)
class Example:
    """`what` the finding means; the `text` that triggers it, `copies` times; how to `override` it."""

    what: str
    text: str
    override: str = ANY_ROW
    copies: int = 1
    also: tuple[str, ...] = ()
    name: str = "rows.jsonl"
    is_alone: bool = False  # no clean rows around it
    after: str = ""  # in words, why it matters that a file of clean rows was taken before; "": none was
    benchmark: str = ""  # an item that the lab's benchmark holds

    def lines(self) -> list[str]:
        return [self.text.replace("%d", str(copy)) for copy in range(self.copies)]


_THINGS = (
    "river",
    "lamp",
    "stone",
    "garden",
    "letter",
    "window",
    "song",
    "market",
    "bridge",
    "winter",
    "engine",
    "harbour",
)


def clean_rows(num: int = 60) -> list[dict[str, str]]:
    """Return rows that nothing is wrong with, always the same."""
    return [
        {
            "question": f"What did the {_THINGS[n % 12]} number {n * 37} say to the {_THINGS[n * 5 % 11]}?",
            "answer": f"It spoke of a {_THINGS[n * 7 % 12]}, {n * 11} times, and {n * 13} times of the {_THINGS[n * 3 % 10]}.",
        }
        for n in range(num)
    ]


def _chat(*turns: str) -> str:
    return '{"messages": [' + ", ".join(turns) + "]}"


_USER, _ASSISTANT = '{"role": "user", "content": "Is it late?"}', '{"role": "assistant", "content": "Yes."}'
# The fifth of the clean rows, which the seal's hash holds out.
_SEALED_ROW = '{"question": "What did the letter number 148 say to the winter?", "answer": "It spoke of a letter, 44 times, and 52 times of the stone."}'
_CUT = "It went on past the harbour and the market and over the bridge, where the lamps stood, and then " * 3

EXAMPLES: dict[str, Example] = {
    # what the reader can't read
    "not-json": Example("A line is not valid JSON.", "{'question': 'Is it late?', 'answer': 'Yes.'}"),
    "not-object": Example("A line is JSON, but a list, a string or a number.", '["Is it late?", "Yes."]'),
    "line-too-long": Example(
        "A line is longer than `intake.max_line_megabytes` (8 MB).", '{"question": "Is it late?", "answer": "' + "x" * (8 << 20) + '"}',
        "Raise `intake.max_line_megabytes`.",
    ),
    "too-deep": Example(
        "A row is nested more than 64 levels deep.", '{"question": ' + '{"a": ' * 70 + "1" + "}" * 70 + ', "answer": "Yes."}'
    ),
    "ragged-row": Example(
        "A line of a delimited file has another number of fields than its header.", "Is it late, or early?,Yes.", name="rows.csv"
    ),
    # what no format knows
    "unknown-keys": Example(
        "The keys of a row belong to no known format.", '{"title": "Is it late?", "body": "Yes."}',
        "`stoker data map FILE` says which column is what, once for all files with these columns.",
    ),
    "no-prompt": Example("A preference pair has no prompt, and its two conversations begin differently.", '{"chosen": "Yes.", "rejected": "No."}'),
    "same-answers": Example("The two answers of a preference pair are the same.", '{"prompt": "Is it late?", "chosen": "Yes.", "rejected": "Yes."}'),
    "null-value": Example("A value that should be text is null.", '{"question": "Is it late?", "answer": null}'),
    "wrong-type": Example("A value that should be text is an object or a truth value.", '{"question": "Is it late?", "answer": {"value": "Yes."}}'),
    "empty-answer": Example("The answer holds no words.", '{"question": "Is it late?", "answer": " "}'),
    "empty-prompt": Example("The question holds no words.", '{"question": "", "answer": "Yes."}'),
    "empty-text": Example("A row of plain text holds no words.", '{"text": " "}'),
    # conversations
    "no-messages": Example("A conversation has no turns.", '{"messages": []}'),
    "bad-role": Example("A turn has a role that no model knows.", _chat('{"role": "king", "content": "Is it late?"}', _ASSISTANT)),
    "no-answer": Example("A conversation does not end with the assistant's turn.", _chat(_USER)),
    "roles-out-of-order": Example("Two turns follow each other that can't.", _chat(_USER, _USER, _ASSISTANT)),
    "unsupported-part": Example("A turn holds a picture or a sound.", _chat('{"role": "user", "content": [{"type": "image_url"}]}', _ASSISTANT)),
    "bad-weight": Example("The weight of a turn is neither 0 nor 1.", _chat(_USER, '{"role": "assistant", "content": "Yes.", "weight": 3}')),
    "nothing-trained": Example("Every turn of the assistant has the weight 0.", _chat(_USER, '{"role": "assistant", "content": "Yes.", "weight": 0}')),
    "bad-tool-call": Example(
        "A tool call has no name, or arguments that are no JSON object.",
        _chat(_USER, '{"role": "assistant", "content": null, "tool_calls": [{"type": "function", "function": {"name": "clock", "arguments": "now"}}]}'),
    ),
    "bad-tools": Example(
        "The tools of a row are not a list of JSON objects with names.", '{"messages": [' + _USER + ", " + _ASSISTANT + '], "tools": ["clock"]}'
    ),
    # copies, and what the test side holds
    "duplicate-in-file": Example(
        "The same row stands in the file before. The ledger calls the copy so; the finding is repeated-rows.",
        '{"question": "Is it late?", "answer": "Yes, it is late by now."}', A_NOTE, copies=2, also=("repeated-rows",),
    ),
    "repeated-rows": Example(
        "A row stands in the file more than once. Formats don't count: it is the content that is compared.",
        '{"question": "Is it late?", "answer": "Yes, it is late by now."}', ANY_WARNING, copies=2, also=("duplicate-in-file",),
    ),
    "duplicate-of-earlier": Example(
        "An earlier file of the lab has the same row; it is trained once.",
        '{"question": "What did the river number 0 say to the river?", "answer": "It spoke of a river, 0 times, and 0 times of the river."}',
        A_NOTE, after="an earlier file with this row", is_alone=True, also=("few-rows",),
    ),
    "near-duplicates": Example(
        "A row is nearly the same as another of the file: their word triples are alike by `split.similarity`, or a word is changed.",
        '{"question": "Which of the %d harbours in the north is open after dark?", "answer": "The one at the old bridge, by the lamp."}',
        ANY_WARNING + " `split.similarity` says how alike is near.", copies=2,
    ),
    "sealed-copy": Example(
        "The row is a held-out test row of an earlier file.", _SEALED_ROW, SEALED, after="an earlier file, where this row is held out", is_alone=True, also=("sealed-overlap", "few-rows")
    ),
    "near-sealed": Example(
        "The row is nearly a held-out test row, of this file or of an earlier one.", _SEALED_ROW.replace("winter", "summer"), SEALED, after="an earlier file, where this row with another season is held out", is_alone=True,
        also=("sealed-overlap", "few-rows"),
    ),
    "sealed-overlap": Example(
        "Rows equal held-out test rows or are nearly the same, and are held out as well.", _SEALED_ROW.replace("winter", "summer"), SEALED, after="an earlier file, where this row with another season is held out", is_alone=True,
        also=("near-sealed", "few-rows"),
    ),
    "benchmark-overlap": Example(
        "The row, or its prompt alone, is near an item of a benchmark of the lab.",
        '{"question": "Which harbour of the north is open after dark in winter?", "answer": "The old one."}',
        "Take the item out of the benchmark, or the benchmark out of `benchmarks/`: it can't test what was trained.",
        benchmark='{"prompt": "Which harbour in the north is open after dark in winter?", "answer": "The old one."}',
    ),
    # what the words give away
    "conflicting-answers": Example(
        "The same prompt has different answers of up to 200 characters. Preference pairs are exempt.",
        '{"question": "Which harbour?", "answer": "Number %d."}', ANY_WARNING, copies=2,
    ),
    "answer-in-prompt": Example(
        "An answer of five words or more stands word for word in its prompt. Where most rows are so, the task is to extract, and it is fine.",
        '{"question": "Which harbour is open? Hint: the old one at the bridge", "answer": "The old one at the bridge."}',
        ANY_WARNING + ' `check.task = "extraction"` switches it off, "generation" makes it look in every file.',
    ),
    "cut-answers": Example(
        "Many answers have exactly the greatest length of the file and stop in the middle of a sentence.",
        '{"question": "What did lamp %d do?", "answer": "' + _CUT[:250] + '"}', ANY_WARNING, copies=5, also=("near-duplicates",),
    ),
    "mojibake": Example(
        "Bytes were read with the wrong encoding at some time, and the wrong letters written.",
        '{"question": "Is it open?", "answer": "The cafÃ© was closed, she said, and that itâ€™s late."}',
        ANY_WARNING + " `check.repair_mojibake = true` puts it right where it is certain.",
    ),
    "replacement-characters": Example("A character was lost and stands as U+FFFD.", '{"question": "Is it open?", "answer": "The caf\ufffd was closed."}', ANY_WARNING),
    "control-characters": Example("The text holds control characters besides tab and line ends.", '{"question": "Is it open?", "answer": "The cafe\\u0007 was closed."}', ANY_WARNING),
    "placeholders": Example(
        "A template was not filled in. Code between backticks is exempt.", '{"question": "Is it open?", "answer": "Dear {{ customer_name }}, we are closed."}', ANY_WARNING
    ),
    "refusals": Example(
        "An answer begins as assistants refuse.", '{"question": "Is it open?", "answer": "I\'m sorry, but I can\'t help with that request."}', ANY_WARNING
    ),
    "secrets": Example(
        "The text holds a private key, an access token, an e-mail address or a card number. The finding never repeats it.",
        '{"question": "Whom do I write to?", "answer": "Write to anna.smith@firm.co.uk today."}', ANY_WARNING,
    ),
    # what the file is as a whole
    "labels": Example(
        "The answers come from a short list (at most 100, at most 5 % of the rows): the file is for classification.",
        '{"question": "Praise or complaint? %d letters of %d came late.", "answer": "praise"}', A_NOTE, copies=60, is_alone=True,
        also=("one-label",),
    ),
    "one-label": Example(
        "More than 95 % of a classification file's answers are the same.",
        '{"question": "Praise or complaint? %d letters of %d came late.", "answer": "praise"}', ANY_WARNING, copies=60, is_alone=True,
        also=("labels",),
    ),
    "mixed-scripts": Example(
        "Two writing systems or more have 5 % of the rows each.", '{"question": "Что сказала река номер %d лампе?", "answer": "Она сказала %d слов о зиме и %d о саде."}',
        A_NOTE, copies=30,
    ),
    "languages": Example(
        "Two languages or more have 5 % each of the answers that are long enough to tell, of at most 1,000 rows.",
        '{"question": "Was sagte die Lampe Nummer %d?", "answer": "Sie erzählte lange von dem Winter, dem Fluss und von %d Gärten."}',
        A_NOTE, copies=30,
    ),
    "stray-language": Example(
        "Nearly all answers are in one language and a few, of 80 letters or more, surely in another; at most 1,000 rows are looked at.",
        '{"question": "What did the lamp say?", "answer": "Die alte Lampe erzählte lange von dem kalten Winter, von dem Fluss und von den vielen Gärten hinter der Brücke."}',
        A_NOTE,
    ),
    "boilerplate-answers": Example(
        "A tenth of the answers or more begin or end with the same sentence, of at most 1,000 rows.",
        '{"question": "Where is harbour %d?", "answer": "Sure! It lies %d miles north of the bridge number %d and %d east."}', A_NOTE, copies=30,
    ),
    "ignored-keys": Example(
        "A key that no format reads looks like one that a format does, or is a label beside plain text.",
        '{"instruction": "Is harbour %d of %d open?", "ouput": "It was on day %d.", "text": "Harbour %d was open on day %d."}',
        ANY_WARNING, copies=30,
    ),
    "few-rows": Example(
        "The file has fewer clusters of different rows than twice `split.min_clusters`, so nothing of it is held out.",
        '{"question": "Is it late?", "answer": "Yes, it is late by now."}',
        "Without other held-out rows or a benchmark the file is refused; `intake.allow_unproven = true` trains it all the same.", is_alone=True,
    ),
    "unusable-rows": Example(
        "Rows are quarantined; each has its own finding, and together they cost points.", '{"question": "Is it late?", "answer": ""}', ANY_WARNING, also=("empty-answer",)
    ),
    "low-score": Example(
        "The score is below `check.stop_below`; the file waits for a person.",
        '{"question": "Is harbour %d open?", "answer": "As an AI, dear {{ name }}, I pass: %d."}', ANY_WARNING, copies=60, is_alone=True,
        also=("placeholders", "refusals", "boilerplate-answers"),
    ),
}  # fmt: skip
