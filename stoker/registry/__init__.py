"""Models and their versions: lines, lineage, the champion, and what may be deleted."""
