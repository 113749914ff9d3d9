"""An exception as three lines on stderr - what, why, remedy - and an exit code. A traceback is for STOKER_DEBUG=1."""

from __future__ import annotations

import sys

from stoker.errors import StokerError, UserError


def report(error: Exception) -> int:
    """Print the error and return the exit code."""
    if isinstance(error, UserError):
        return _print(error.what, error.why, error.remedy, error.exit_code)
    if isinstance(error, StokerError):
        return _print(str(error), "", "", error.exit_code)
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return _print(f"{where}{error.strerror.lower()}", "", "", 1)
    if hasattr(error, "format_message"):
        return _print_usage(error)
    what = f"{type(error).__name__}: {error}"
    return _print(what, "this is a defect of Stoker", "set STOKER_DEBUG=1 and run it again to see where", 1)


def _print(what: str, why: str, remedy: str, exit_code: int) -> int:
    print(f"error: {what}", file=sys.stderr)
    if why:
        print(f"  why: {why}", file=sys.stderr)
    if remedy:
        print(f"  {remedy}" if remedy.startswith("run: ") else f"  try: {remedy}", file=sys.stderr)
    return exit_code


def _print_usage(error: Exception) -> int:
    """A mistake in the command's words, found by the parser. No arguments at all asks for help and gets it."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "stoker"
    if type(error).__name__ == "NoArgsIsHelpError":
        print(context.get_help() if context is not None else "", file=sys.stderr)
        return 2
    message = error.format_message()  # type: ignore[attr-defined]
    return _print(message[:1].lower() + message[1:], "", f"run: {path} --help", getattr(error, "exit_code", 2))
