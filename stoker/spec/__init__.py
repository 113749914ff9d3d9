"""Settings and job files as frozen pydantic models: every key with its default, unit and range. No logic."""
