"""Stoker: an always-on fine-tuning lab for small language models on your own GPU."""

__version__ = "0.1.0"
