"""Training: a run's order, rate, guard, checkpoints and segments, on Hugging Face's Trainer. It judges no version."""
