"""What is wrong with rows: each finding is found where it is planted, and not in clean rows."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoker.data.checks import rules
from stoker.data.checks.checker import Checker
from stoker.data.checks.columns import ignored_keys
from stoker.data.checks.finding import MAX_SHOWN, Findings
from stoker.data.checks.rules import RULES
from stoker.data.checks.score import score_of
from stoker.data.checks.text import find_secret, suspects, text_findings
from stoker.data.formats.recognise import convert
from stoker.data.sealing.shingles import RowWords
from stoker.data.sealing.words import Vocabulary
from stoker.spec.lab import CheckSpec

NOUNS = [
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
]


def clean_rows(num: int, seed: int = 0) -> list[dict[str, Any]]:
    draw = random.Random(seed)
    return [
        {
            "question": f"What did the {draw.choice(NOUNS)} number {i} say to the {draw.choice(NOUNS)}?",
            "answer": f"It spoke of a {draw.choice(NOUNS)} and a {draw.choice(NOUNS)}, {draw.randint(2, 900)} times.",
        }
        for i in range(num)
    ]


def check(rows: list[dict[str, Any]], **settings: Any) -> Findings:
    checker = Checker("rows.jsonl", CheckSpec(**settings))
    converted = [convert(record, line)[0] for line, record in enumerate(rows, 1)]
    checker.add_rows(converted, RowWords.of(converted, Vocabulary()))
    return checker.finish()


def planted(answers: list[str], **settings: Any) -> Findings:
    rows = clean_rows(200)
    for row, answer in zip(rows[100:], answers, strict=False):
        row["answer"] = answer
    return check(rows, **settings)


def test_clean_rows_have_no_finding() -> None:
    assert check(clean_rows(300)).to_json() == []


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("mojibake", "The cafÃ© was closed, she said, and that itâ€™s late."),
        ("replacement-characters", "The caf\ufffd was closed."),
        ("control-characters", "The cafe\x07 was closed."),
        ("placeholders", "Dear {{ customer_name }}, we are closed."),
        ("placeholders", "Dear [YOUR NAME], we are closed."),
        ("refusals", "I'm sorry, but I can't help with that request."),
        ("refusals", "As an AI language model, I have no opinion on rivers."),
        ("secrets", "Use AKIAIOSFODNN7EXAMPLE as the key."),
        ("secrets", "Write to anna.smith@firm.co.uk today."),
        ("secrets", "-----BEGIN RSA PRIVATE KEY-----\nMIIE"),
        ("secrets", "Pay with 4539 1488 0343 6467 please."),
    ],
)
def test_what_is_planted_is_found_with_its_line(code: str, text: str) -> None:
    findings = planted([text])
    assert findings.counts == {code: 1}
    (found,) = findings.to_json()
    assert (found["code"], found["line"], found["severity"]) == (code, 101, RULES[code].severity)
    assert found["remedy"]


@pytest.mark.parametrize(
    "text",
    [
        "Zoë's façade café — “naïve” über Straße, 100 € in São Paulo, señor.",
        "Die Größe beträgt 5 m². Ça va? Ľudovít Štúr. Привет. こんにちは。",
        "I'm sorry for your loss; the river took it.",
        "Call 0049 30 123456 between 10 and 12, order 1234567890123 of 2024-10-11.",
        "In Jinja, write {% if x %}; in C, write a[i] < b[j].",
        "Mail to someone@example.com, as the manual says.",
        "Order 6643028190374 and 5676012345678 of lot 6129000000002, please.",
        "In Vue you write ```<li>{{ lamp.name }}</li>``` and in Go `{{ .Name }}`.",
        "{% for lamp in lamps %}{{ lamp.name }}{% endfor %}",
    ],
)
def test_good_words_are_left_alone(text: str) -> None:
    assert planted([text]).counts == {}


SUSPICIOUS = [
    "Use AKIAIOSFODNN7EXAMPLE now", "ASIA1234567890ABCDEF", "ghp_" + "a1" * 18, "github_pat_" + "a" * 22, "xoxb-1234567890-abc",
    "AIza" + "b" * 35, "hf_" + "a" * 32, "sk-proj-" + "a" * 24, "eyJhbGciOiJI.eyJzdWIiOiIxMjM0.SflKxwRJSM", "anna.smith@firm.co.uk",
    "é@firm.de", "a-@firm.de", "-----BEGIN RSA PRIVATE KEY-----", "4539 1488 0343 6467", "4539-1488-0343-6467", "45391488034364٦٧",
    "{{ name }}", "<INSERT A NAME>", "<YOUR NAME>", "<ADD_NAME>", "[INSERT NAME]", "[YOUR NAME]", "\ufffd", "\x00", "\x7f", "\x85",
    "cafÃ©", "itâ€™s", "ï»¿x Ð¿Ñ€Ð¸", "ðŸ˜€",
]  # fmt: skip


def test_what_is_passed_over_has_no_finding() -> None:
    clean = [str(row["question"]) for row in clean_rows(40)]
    texts = [*clean, *(f"Words before\n{bad} and after." for bad in SUSPICIOUS), *SUSPICIOUS]
    looked_at = suspects(texts)
    assert {place for place, text in enumerate(texts) if list(text_findings(text))} <= set(looked_at)
    assert not set(looked_at) & set(range(len(clean)))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(SUSPICIOUS), st.text(max_size=12)), max_size=4).map("".join))
def test_no_text_with_a_finding_is_passed_over(text: str) -> None:
    assert suspects([text]) or not list(text_findings(text))


def test_a_secret_is_not_repeated_in_the_finding() -> None:
    assert find_secret("token ghp_" + "a1B2c3D4e5" * 3 + "abcdef") == "a GitHub token: ghp_a1..."


def test_the_same_question_with_different_answers_is_a_conflict() -> None:
    rows = clean_rows(100)
    rows += [{**rows[3], "answer": "Nothing at all, I am told."}, {**rows[5]}]
    findings = check(rows)
    assert findings.counts == {"conflicting-answers": 2}
    assert [found["line"] for found in findings.to_json()] == [4, 101]


def test_long_answers_and_preference_pairs_of_one_prompt_are_no_conflict() -> None:
    rows = clean_rows(100)
    story = "and so the river went on past the harbour " * 6
    assert check([*rows, {**rows[3], "answer": story}, {**rows[3], "answer": story + "at night"}]).counts == {}
    pairs = [{"prompt": "What now?", "chosen": f"Well, {word}.", "rejected": "No."} for word in NOUNS]
    assert check(pairs).counts == {}


def leaking(num: int) -> list[dict[str, Any]]:
    rows = clean_rows(200)
    return [
        {**row, "question": f"{row['question']} Answer: {row['answer']}"} if i < num else row
        for i, row in enumerate(rows)
    ]


def test_an_answer_in_its_prompt_is_found_unless_the_task_is_to_extract() -> None:
    assert check(leaking(20)).counts == {"answer-in-prompt": 20}
    assert check(leaking(150)).counts == {}
    assert check(leaking(150), task="generation").counts == {"answer-in-prompt": 150}
    assert check(leaking(20), task="extraction").counts == {}


def test_labels_are_told_and_a_single_one_is_warned_of() -> None:
    def labelled(num_spam: int) -> Findings:
        rows = [{**row, "answer": "spam" if i < num_spam else "ham"} for i, row in enumerate(clean_rows(200))]
        return check(rows)

    assert labelled(100).counts == {"labels": 200}
    assert labelled(198).counts == {"labels": 200, "one-label": 198}


def test_answers_cut_at_one_length_are_found() -> None:
    long = "and so the river went on past the harbour " * 20
    findings = planted([long[i : i + 400] for i in range(0, 30, 3)])
    assert findings.counts["cut-answers"] == 10
    assert "cut-answers" not in planted([long[:400] + "."] * 10).counts


def test_writing_systems_are_told() -> None:
    findings = planted(["Река говорила о лампе и о саде, долго и тихо, много раз подряд. " * 3] * 60)
    assert "Cyrillic 30%" in findings.to_json()[0]["excerpt"]


GERMAN = "Die alte Lampe erzählte lange von dem kalten Winter, dem Fluss und den vielen Gärten hinter der Brücke"


def test_languages_are_told_by_their_words() -> None:
    (found,) = planted([f"{GERMAN} Nummer {n}." for n in range(60)]).to_json()
    assert (found["code"], found["line"], found["excerpt"]) == ("languages", None, "en 70%, de 30%")


def test_a_row_in_another_language_than_the_rest_is_told_with_its_line() -> None:
    (found,) = planted([GERMAN]).to_json()
    assert (found["code"], found["line"]) == ("stray-language", 101) and found["excerpt"].startswith("de, where")
    assert (
        planted(
            ["x = {'die': [1, 2], 'der': {3: 4}}; y = x['die'] + [z for z in x['der'].values()]; print(y, x, z)"]
        ).counts
        == {}
    )


def test_sentences_that_many_answers_share_are_told() -> None:
    findings = planted([f"Sure! Here is lamp {n}, as asked.\n\nI hope this helps you!" for n in range(50)])
    assert [found["excerpt"] for found in findings.to_json()] == [
        "25% of the answers begin with 'Sure!'",
        "25% of the answers end with 'I hope this helps you!'",
    ]
    assert planted([f"Sure! Here is lamp {n}, as asked." for n in range(10)]).counts == {}


def test_a_sample_is_the_same_in_every_order_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stoker.data.checks.sample.SAMPLE_ROWS", 60)
    rows = clean_rows(150)
    for n, row in enumerate(rows[::3]):
        row["answer"] = f"{GERMAN} Nummer {n}."
    assert check(rows).to_json() == check(rows[::-1]).to_json()


def test_examples_are_limited_and_counts_are_not() -> None:
    findings = planted([f"As an AI, I pass. {i}" for i in range(90)])
    shown = [found for found in findings.to_json() if found["code"] == "refusals"]
    assert findings.counts["refusals"] == 90 and len(shown) == MAX_SHOWN


def test_the_score_is_what_the_deductions_leave() -> None:
    assert score_of({}, 100) == (100, [])
    score, deductions = score_of({"refusals": 10, "secrets": 1, "labels": 100}, 100)
    assert [(one.code, one.points) for one in deductions] == [("refusals", 10.0), ("secrets", 2.0)]
    assert score == 88
    assert score_of({"unusable-rows": 90, "mojibake": 90, "refusals": 90}, 100)[0] == 0


def test_the_score_does_not_depend_on_the_order_of_rows() -> None:
    rows = leaking(20)
    for row in rows[50:60]:
        row["answer"] = "I'm sorry, but I cannot help with this."
    counts = check(rows).counts
    shuffled = rows[:]
    random.Random(1).shuffle(shuffled)
    assert check(shuffled).counts == counts


def test_every_rule_is_found_by_something() -> None:
    package = Path(rules.__file__).parents[1]
    code = "\n".join(path.read_text("utf-8") for path in package.rglob("*.py") if path.name != "rules.py")
    assert [name for name in RULES if f'"{name}"' not in code and name != rules.UNUSABLE.code] == []


def test_misspelt_keys_and_labels_beside_text_are_told() -> None:
    misspelt = list(ignored_keys({"ouput": 9, "anwser": 9, "id": 9, "source": 9, "prompt_id": 9}, {"alpaca": 9}))
    assert misspelt == [
        ("'anwser' is not read; was 'answer' meant?", 9),
        ("'ouput' is not read; was 'output' meant?", 9),
    ]
    assert [rows for _, rows in ignored_keys({"label": 9}, {"text": 5, "messages": 4})] == [5]
    assert list(ignored_keys({"label": 9}, {"query-response": 9})) == []


def test_the_rarest_label_is_told() -> None:
    labels = [*"abcdefg"] * 28 + ["h"] * 4
    findings = check([{**row, "answer": label} for row, label in zip(clean_rows(200), labels, strict=True)])
    assert findings.to_json()[0]["excerpt"].endswith("... 'h' 2.0%")
