"""The sealed split: shingles, near neighbours, and which side a row is on."""
