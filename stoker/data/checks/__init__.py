"""What is wrong with rows that could be trained: rules by code, checks of a row and of a file, and the score."""
