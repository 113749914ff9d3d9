"""Benchmarks asked by hand, without a model: which items in which words, scoring into results, endpoints. No torch."""
