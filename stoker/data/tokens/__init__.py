"""Rows to tokens as far as no model is needed: a tokenizer folder's chat template, its pieces, and how long rows are."""
