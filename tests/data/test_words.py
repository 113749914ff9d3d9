"""Words hashed by the thousand are those that are folded one text at a time."""

from __future__ import annotations

import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from stoker.data.sealing.words import Vocabulary, words_of

ODD = [
    "",
    " ",
    "?!",
    "... !",
    "—",
    "?— x",
    "a_b",
    "It's 3.5",
    "今日は good 天気",
    "Ⅷ ½ ﬁne ẞ İstanbul",
    "a\x00b\x1fc",
    "\u2028",
    "é",
    "é ?",
]
TEXTS = st.lists(
    st.one_of(st.text(max_size=30), st.sampled_from(ODD), st.text("ab _.!é今\n", max_size=20)), max_size=12
)


def one_by_one(texts: list[str]) -> tuple[list[int], list[int]]:
    words = [words_of(text) for text in texts]
    return [xxhash.xxh3_64_intdigest(word.encode()) for some in words for word in some], [len(some) for some in words]


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_hashing_many_texts_is_hashing_each(texts: list[str]) -> None:
    hashes, sizes = Vocabulary().hash_texts(texts)
    assert (hashes.tolist(), sizes.tolist()) == one_by_one(texts)


def test_odd_texts_are_hashed_as_alone() -> None:
    hashes, sizes = Vocabulary().hash_texts([*ODD, *ODD])
    assert (hashes.tolist(), sizes.tolist()) == one_by_one([*ODD, *ODD])
