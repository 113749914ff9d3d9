"""The `stoker` command: one file per command, parse, call, render."""
