"""Answering items with models and scoring the answers: what the evaluation task of a worker does."""
