"""Twenty files that nothing is wrong with, each of another kind, made from a seed: the gate must leave them in peace.

They have what honest data has and a careless check would blame: braces in code, quotes of e-mail headers, refusal-like
words in dialogues, short labels, answers that stand in the text they are extracted from, six scripts, templates.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import orjson

Record = dict[str, Any]
Make = Callable[[random.Random, int], Record]

NAMES = [
    "Ana",
    "Bela",
    "Chidi",
    "Dana",
    "Emeka",
    "Farid",
    "Gita",
    "Hana",
    "Ivo",
    "Jun",
    "Kofi",
    "Lena",
    "Mila",
    "Noor",
    "Otto",
    "Pia",
]
PLACES = ["Porto", "Lagos", "Kyoto", "Quito", "Tartu", "Pune", "Oslo", "Cusco", "Hanoi", "Split", "Accra", "Ghent"]
THINGS = [
    "apple",
    "notebook",
    "ladder",
    "ticket",
    "lamp",
    "basket",
    "bicycle",
    "kettle",
    "brick",
    "seed",
    "scarf",
    "coin",
    "pencil",
    "drum",
]
VERBS = [
    "repaired",
    "carried",
    "painted",
    "sold",
    "borrowed",
    "counted",
    "cleaned",
    "measured",
    "lost",
    "found",
    "wrapped",
    "ordered",
]
ADJECTIVES = [
    "heavy",
    "bright",
    "quiet",
    "narrow",
    "old",
    "cheap",
    "fragile",
    "green",
    "warm",
    "strange",
    "simple",
    "broken",
]
TIMES = [
    "in the morning",
    "before the rain",
    "after the concert",
    "on Tuesday",
    "during lunch",
    "in late winter",
    "at noon",
    "last summer",
]
TOPICS = [
    "tides",
    "bread",
    "glaciers",
    "chess openings",
    "bees",
    "bridges",
    "violins",
    "tax forms",
    "maps",
    "vaccines",
    "compost",
    "orbits",
]


def _clause(draw: random.Random) -> str:
    who, what = draw.choice(NAMES), draw.choice(THINGS)
    return draw.choice((
        f"{who} {draw.choice(VERBS)} the {draw.choice(ADJECTIVES)} {what} {draw.choice(TIMES)}",
        f"the {draw.choice(ADJECTIVES)} {what} from {draw.choice(PLACES)} cost {draw.randint(3, 400)} coins",
        f"nobody in {draw.choice(PLACES)} knew why {who} {draw.choice(VERBS)} a {what}",
        f"{who} asked {draw.choice(NAMES)} whether {draw.choice(TOPICS)} matter {draw.choice(TIMES)}",
        f"with {draw.randint(2, 90)} {what}s in the cellar, {who} felt {draw.choice(ADJECTIVES)} and went to {draw.choice(PLACES)}",
    ))  # fmt: skip


def _prose(draw: random.Random, num: int) -> str:
    sentences = (_clause(draw) for _ in range(num))
    return " ".join(sentence[0].upper() + sentence[1:] + "." for sentence in sentences)


def _ask(question: str, answer: str, **more: Any) -> Record:
    return {"question": question, "answer": answer, **more}


def _word_problem(draw: random.Random, i: int) -> Record:
    a, b, c = draw.randint(3, 900), draw.randint(2, 60), draw.randint(2, 30)
    who, what, where = draw.choice(NAMES), draw.choice(THINGS), draw.choice(PLACES)
    asked = draw.choice((
        f"{who} has {a} {what}s and buys {b} boxes of {c} at the market in {where}. How many {what}s does {who} have now?",
        f"At {where}, {b} friends share {a * b} {what}s and then each finds {c} more {draw.choice(TIMES)}. How many has each?",
        f"A {draw.choice(ADJECTIVES)} shop in {where} sells {what}s for {a} coins. {who} buys {b} and pays {c} for the bag. What is the price?",
    ))  # fmt: skip
    return _ask(asked, f"First {b} times {c} is {b * c}. Then {a} and {b * c} make {a + b * c}.\n#### {a + b * c}")


def _dialogue(draw: random.Random, i: int) -> Record:
    turns = []
    for _ in range(draw.randint(1, 4)):
        turns.append(
            {
                "role": "user",
                "content": f"{_prose(draw, draw.randint(1, 2))} What do you make of {draw.choice(TOPICS)}?",
            }
        )
        turns.append({"role": "assistant", "content": _prose(draw, draw.randint(1, 5))})
    return {"messages": turns}


def _code(draw: random.Random, i: int) -> Record:
    a, b, n = draw.choice(THINGS), draw.choice(VERBS), draw.randint(2, 999)
    body = draw.choice((
        f"def {b}_{a}s(items: list[dict[str, int]], limit: int = {n}) -> dict[str, int]:\n    return {{item['{a}']: item['n'] * {n} for item in items if item['n'] < limit}}",
        f"const {a}s = rows.filter((row) => row.{b} > {n}).map((row) => ({{ ...row, {a}: `${{row.name}}[${{i}}]` }}));",
        f"SELECT {a}, count(*) FROM {b} WHERE price < {n} GROUP BY {a} HAVING count(*) > {n % 7};",
        f"#include <vector>\ntemplate <typename T> T {b}(std::vector<T> &{a}) {{ return {a}[{n}] << 2; }}",
        f"{{% for {a} in {b} %}}<li class=\"{a}-{n}\">{{{{ {a}.name }}}}</li>{{% endfor %}}" if i % 50 == 0 else f"for {a} in $(seq {n}); do echo \"<{a}>\" >> {b}.txt; done",
    ))  # fmt: skip
    return {
        "instruction": f"Write code that handles {a}s which were {b}, up to {n}, for {draw.choice(NAMES)} in {draw.choice(PLACES)}.",
        "input": "",
        "output": f"```\n{body}\n```",
    }


_GERMAN = {"apple": "Apfel", "notebook": "Heft", "ladder": "Leiter", "ticket": "Fahrkarte", "lamp": "Lampe", "basket": "Korb", "bicycle": "Fahrrad", "kettle": "Kessel", "brick": "Ziegel", "seed": "Samen", "scarf": "Schal", "coin": "Münze", "pencil": "Bleistift", "drum": "Trommel"}  # fmt: skip


def _translation(draw: random.Random, i: int) -> Record:
    who, what, where, n = draw.choice(NAMES), draw.choice(THINGS), draw.choice(PLACES), draw.randint(2, 500)
    return {
        "prompt": f"Translate into German: {who} saw {n} people with a {what} in {where}, {draw.choice(TIMES)}, and said nothing of {draw.choice(TOPICS)}.",
        "completion": f"{who} sah in {where} {n} Leute mit einem Gegenstand ({_GERMAN[what]}) und schwieg über alles Übrige, größtenteils.",
    }


def _sentiment(draw: random.Random, i: int) -> Record:
    return {
        "prompt": f"{_prose(draw, draw.randint(2, 4))} I {draw.choice(('loved', 'hated', 'forgot'))} it.",
        "completion": draw.choice(("positive", "negative", "neutral")),
    }


def _topic(draw: random.Random, i: int) -> Record:
    return {
        "instruction": "Name the topic of the text with one word.",
        "input": _prose(draw, 3),
        "output": draw.choice(("sports", "travel", "trade", "science", "music")),
    }


def _extraction(draw: random.Random, i: int) -> Record:
    wanted = _clause(draw)
    return {
        "instruction": "Copy the sentence that names the price or the person, word for word.",
        "input": f"{_prose(draw, 2)} {wanted}. {_prose(draw, 2)}",
        "output": wanted,
    }


def _entities(draw: random.Random, i: int) -> Record:
    who, where, n = draw.choice(NAMES), draw.choice(PLACES), draw.randint(100, 9999)
    said = f"{_prose(draw, 1)} Invoice {n} goes to {who} in {where}. {_prose(draw, 1)}"
    return {
        "prompt": f"Extract name, place and invoice as JSON.\n\n{said}",
        "completion": orjson.dumps({"name": who, "place": where, "invoice": n}).decode(),
    }


def _tool_call(draw: random.Random, i: int) -> Record:
    arguments = {"city": draw.choice(PLACES), "days": draw.randint(1, 14), "what": draw.choice(TOPICS)}
    tool = {
        "type": "function",
        "function": {
            "name": "forecast",
            "description": "Tell the weather.",
            "parameters": {"type": "object", "properties": {}},
        },
    }
    call = {
        "id": f"c{i}",
        "type": "function",
        "function": {"name": "forecast", "arguments": orjson.dumps(arguments).decode()},
    }
    return {
        "messages": [
            {"role": "user", "content": f"{_prose(draw, 1)} Will it rain in {arguments['city']} within {arguments['days']} days?"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "content": orjson.dumps({"rain_mm": draw.randint(0, 90), "wind": draw.randint(0, 30)}).decode(), "tool_call_id": f"c{i}"},
            {"role": "assistant", "content": f"In {arguments['city']} {draw.choice(('yes', 'no', 'perhaps'))}: {_clause(draw)}."},
        ],
        "tools": [tool],
    }  # fmt: skip


def _templated(draw: random.Random, i: int) -> Record:
    rules = "You are given an order. Check the stock, compute the total with tax, and answer with one line: total, then days until delivery."
    n, price = draw.randint(2, 90), draw.randint(3, 4000)
    return {
        "prompt": f"{rules}\nItem: {draw.choice(ADJECTIVES)} {draw.choice(THINGS)}\nAmount: {n}\nPrice: {price}\nTown: {draw.choice(PLACES)}\nCustomer: {draw.choice(NAMES)} {i}",
        "completion": f"{round(n * price * 1.2)}, {draw.randint(1, 30)} days",
    }


_LINES = {
    "ru": ("Что видели в городе {p} номер {n}?", "Там видели {k} старых домов и тихую реку у моста, говорит {w}."),
    "ja": ("{p}の{n}番には何がありますか。", "そこには{k}軒の古い家と静かな川があると{w}は言いました。"),
    "ar": ("ماذا يوجد في مدينة {p} رقم {n}؟", "هناك {k} بيوت قديمة ونهر هادئ كما قال {w}."),
    "el": ("Τι υπάρχει στην πόλη {p}, αριθμός {n};", "Υπάρχουν {k} παλιά σπίτια και ένα ήσυχο ποτάμι, λέει ο {w}."),
    "hi": ("{p} शहर के नंबर {n} पर क्या है?", "वहाँ {k} पुराने घर और एक शांत नदी है, {w} ने कहा।"),
    "fr": ("Qu'y a-t-il à {p}, au numéro {n} ?", "Il y a {k} vieilles maisons et une rivière très calme, d'après {w} : « c'est l'été »."),
}  # fmt: skip


def _multilingual(draw: random.Random, i: int) -> Record:
    asked, answer = _LINES[draw.choice(sorted(_LINES))]
    values = {
        "p": draw.choice(PLACES),
        "n": i * 37 % 10007,
        "k": draw.randint(2, 9000),
        "w": f"{draw.choice(NAMES)} {i}",
    }
    return _ask(asked.format(**values), answer.format(**values))


def _german(draw: random.Random, i: int) -> Record:
    what, n = _GERMAN[draw.choice(THINGS)], draw.randint(2, 5000)
    return _ask(
        f"Wie viele Stücke ({what}) lagen {draw.choice(('früh', 'spät', 'gestern', 'heute'))} im Lager {i} von {draw.choice(PLACES)}, laut {draw.choice(NAMES)}?",
        f"Es waren {n} Stück; die übrigen {n * 3 % 701} hat {draw.choice(NAMES)} für {draw.randint(3, 99)} € über die Straße geschickt.",
    )  # fmt: skip


def _long_text(draw: random.Random, i: int) -> Record:
    return {"text": "\n\n".join(_prose(draw, draw.randint(6, 12)) for _ in range(draw.randint(3, 9)))}


def _summary(draw: random.Random, i: int) -> Record:
    sentences = [_clause(draw) for _ in range(12)]
    return {
        "instruction": "Summarise.",
        "input": ". ".join(sentences) + ".",
        "output": f"A report of {len(sentences)} events: {_clause(draw)}, and {_clause(draw)}.",
    }


def _reading(draw: random.Random, i: int) -> Record:
    who, what, where = draw.choice(NAMES), draw.choice(THINGS), draw.choice(PLACES)
    context = f"{_prose(draw, 3)} {who} left the {what} in {where}. {_prose(draw, 2)}"
    return {
        "context": context,
        "question": f"Where did {who} leave the {what} of story {i}?",
        "answers": {"text": [where], "answer_start": [context.index(where)]},
    }


def _choice(draw: random.Random, i: int) -> Record:
    options = draw.sample(THINGS, 4)
    shown = "\n".join(f"{letter}) {option}" for letter, option in zip("ABCD", options, strict=True))
    return {
        "question": f"{_prose(draw, 2)} What did {draw.choice(NAMES)} need?\n{shown}",
        "answer": draw.choice("ABCD"),
    }


def _story(draw: random.Random, i: int) -> Record:
    return {
        "prompt": f"Tell a story about {draw.choice(TOPICS)} and a {draw.choice(ADJECTIVES)} {draw.choice(THINGS)} in {draw.choice(PLACES)} for {draw.choice(NAMES)}.",
        "completion": f"“{_clause(draw).capitalize()}” — so began {draw.choice(NAMES)}’s tale… {_prose(draw, 9)}",
    }


def _feelings(draw: random.Random, i: int) -> Record:
    opening = draw.choice(
        (
            "I'm sorry for your loss, truly.",
            "Sorry to hear that.",
            "I can't imagine how that feels.",
            "I am glad you wrote.",
            "That sounds hard.",
        )
    )
    return {"conversations": [
        {"from": "human", "value": f"My friend {draw.choice(NAMES)} is gone. {_prose(draw, 2)}"},
        {"from": "gpt", "value": f"{opening} {_prose(draw, 2)} Would you tell me about {draw.choice(TOPICS)}?"},
    ]}  # fmt: skip


def _mail(draw: random.Random, i: int) -> Record:
    who, where = draw.choice(NAMES), draw.choice(PLACES)
    return {
        "prompt": f"Reply to this letter:\n\nFrom: {who} <{who.lower()}@example.com>\nOrder: {draw.randint(10**12, 10**13)}\nTel: 0{draw.randint(100, 999)} {draw.randint(10**6, 10**7)}\n\n{_prose(draw, 3)}",
        "completion": f"Dear {who},\n\n{_prose(draw, 2)}\n\nKind regards from {where}\n{draw.choice(NAMES)}",
    }


def _sums(draw: random.Random, i: int) -> Record:
    a, b = draw.randint(1, 99_999), draw.randint(1, 99_999)
    return _ask(f"{a} + {b} =", str(a + b))


def _preference(draw: random.Random, i: int) -> Record:
    return {
        "prompt": f"{_prose(draw, 1)} Who should pay for the {draw.choice(THINGS)}?",
        "chosen": _prose(draw, 2),
        "rejected": _prose(draw, 1),
    }


CLEAN: dict[str, Make] = {
    "word-problems": _word_problem, "dialogues": _dialogue, "code": _code, "translation": _translation,
    "topics": _topic, "extraction": _extraction, "entities": _entities, "tool-calls": _tool_call,
    "templated": _templated, "multilingual": _multilingual, "german": _german, "long-texts": _long_text,
    "summaries": _summary, "reading": _reading, "multiple-choice": _choice, "stories": _story,
    "feelings": _feelings, "mails": _mail, "sums": _sums, "preferences": _preference, "sentiment": _sentiment,
}  # fmt: skip


def clean_file(name: str, num_rows: int, seed: int = 0) -> bytes:
    """Return a clean file as JSONL."""
    draw = random.Random(f"{name} {seed}")
    return b"".join(orjson.dumps(CLEAN[name](draw, i)) + b"\n" for i in range(num_rows))
