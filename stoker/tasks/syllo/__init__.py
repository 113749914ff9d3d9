"""SYLLO, the built-in task: recover the words behind N clues from a shuffled bank of syllable tiles.

words.tsv (words, syllables, clues) -> `generate` (puzzles) -> `install` (training files, frozen benchmarks); `score` marks answers.
"""
