"""The lab's database: one SQLite file, one writer (the process that holds the lab's lock), any number of readers."""
