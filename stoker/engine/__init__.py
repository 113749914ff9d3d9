"""The engine process: one model, answering many requests at once, `python -m stoker.engine FOLDER`."""
