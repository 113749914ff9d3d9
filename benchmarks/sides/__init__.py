"""One program per side of benchmarks/training.py, each in a process of its own so that threads and imports are clean."""
