"""Basics, the built-in guard against forgetting: small things that a model could do before it was fine-tuned.

`generate` makes the items from a seed, `score` marks answers by each item's own rule, `install` freezes them as a benchmark.
"""
