"""`python -m stoker.serve LAB`: the gateway of a lab, as its settings say, until SIGTERM."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from stoker.errors import StokerError
from stoker.serve.gateway import run
from stoker.spec.reading import read_settings
from stoker.workspace import Workspace


def main(arguments: list[str] | None = None) -> int:
    """Serve; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m stoker.serve")
    parser.add_argument("lab", type=Path)
    parser.add_argument("--with-lab", action="store_true", help="End when no supervisor holds the lab any more.")
    options = parser.parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True
    )
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    workspace = Workspace(options.lab.absolute())
    try:
        run(workspace, read_settings(workspace.settings), is_with_lab=options.with_lab)
    except StokerError as error:
        logging.getLogger("stoker.serve").error("%s", error)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
