"""Models and tokenizers: loading, chat templates, tokenising, the mask proof, batches, loss, likelihood, generation.

Shared by the worker packages; the lowest layer that imports torch and transformers. It trains and judges nothing.
"""
