"""Tasks that Stoker brings along: each makes its own training files and benchmarks, and marks answers to them."""
