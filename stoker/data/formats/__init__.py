"""From records to canonical rows: which format a row is in, and its conversion."""
