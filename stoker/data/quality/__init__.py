"""Quality per example: what speaks against single rows, and what a person decided about them. Torch is not needed."""
