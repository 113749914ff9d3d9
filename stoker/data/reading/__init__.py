"""From bytes to records: containers, encodings, and one reader for each kind of file."""
