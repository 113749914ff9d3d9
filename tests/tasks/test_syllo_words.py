"""The word list: syllables join, clues give nothing away, unseen words stay out of everything that trains."""

import re
from collections import Counter
from importlib import resources

from stoker.tasks.syllo.words import all_words, training_words, unseen_words

SMALL_WORDS = {"and", "are", "for", "from", "has", "not", "one", "the", "who"}


def clue_words(clue: str) -> list[str]:
    return re.findall(r"[a-z]+", clue.lower())


def test_the_file_is_sorted_ascii_without_duplicates():
    lines = resources.files("stoker.tasks.syllo").joinpath("words.tsv").read_bytes().decode("ascii").splitlines()
    assert lines[0].split("\t") == ["word", "syllables", "clue", "use"]
    texts = [line.split("\t")[0] for line in lines[1:]]
    assert texts == sorted(set(texts))
    assert {line.split("\t")[3] for line in lines[1:]} == {"train", "unseen"}


def test_the_list_is_large_and_mixes_lengths():
    counts = Counter(len(word.tiles) for word in all_words())
    assert len(all_words()) >= 440
    assert set(counts) == {2, 3, 4}
    assert counts[2] >= 150
    assert counts[3] >= 120
    assert counts[4] >= 40


def test_syllables_are_letters_and_join_to_the_word():
    for word in all_words():
        assert "".join(word.tiles) == word.text
        assert all(re.fullmatch(r"[a-z]+", tile) for tile in word.tiles), word


def test_every_syllable_has_a_vowel():
    for word in all_words():
        assert all(re.search(r"[aeiouy]", tile) for tile in word.tiles), word


def test_clues_are_unique_and_short():
    clues = Counter(word.clue for word in all_words())
    assert [clue for clue, count in clues.items() if count > 1] == []
    assert [word for word in all_words() if not 4 <= len(word.clue.split()) <= 9] == []


def test_no_clue_gives_its_answer_away():
    for word in all_words():
        for other in clue_words(word.clue):
            assert not other.startswith(word.text[:4]), word
            assert word.text not in other, word
            is_telling = len(other) >= 3 and other not in SMALL_WORDS
            assert not (is_telling and other in word.text), word


def test_unseen_words_are_a_tenth_and_of_every_length():
    assert 36 <= len(unseen_words()) <= 50
    assert set(Counter(len(word.tiles) for word in unseen_words())) == {2, 3, 4}
    assert len(training_words()) + len(unseen_words()) == len(all_words())


def test_no_training_clue_or_word_holds_an_unseen_word():
    unseen = {word.text for word in unseen_words()}
    for word in training_words():
        assert not any(text in other for text in unseen for other in [word.text, *clue_words(word.clue)]), word
