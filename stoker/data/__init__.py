"""From a file's bytes to a dataset: read, check, deduplicate, seal. Every input row is accounted for, with a reason.

Formats never change a row's words: what is trained is what the file says. No model and no tokenizer is needed here.
"""
