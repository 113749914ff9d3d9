"""The command line: one file per command, which parses, calls and renders.

Data goes to stdout, everything else to stderr. Nothing here imports the training stack, and nothing heavy is
imported before a command needs it. `main` is the only place where an error becomes words and an exit code.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

INTERRUPTED = 130


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the `stoker` command and exit."""
    sys.exit(run(sys.argv[1:] if args is None else args))


def run(args: Sequence[str]) -> int:
    """Run one command and return its exit code; no exception leaves unless STOKER_DEBUG=1."""
    from stoker.cli.app import build

    try:
        code = build().main(args=list(args), prog_name="stoker", standalone_mode=False)
        sys.stdout.flush()
        return int(code or 0)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone; stdout must not fail a second time when Python closes it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    # The process boundary: whatever went wrong below, a person gets words and a code.
    except Exception as error:
        if os.environ.get("STOKER_DEBUG") == "1":
            raise
        from stoker.cli.failure import report

        return report(error)
