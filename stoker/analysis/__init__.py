"""Pure decisions from numbers: paired statistics, the verdict on a version, remaining time. No torch, no files."""
