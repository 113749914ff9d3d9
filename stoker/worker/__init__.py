"""The warm worker: one process that takes tasks in order and keeps models between them. It decides nothing."""
