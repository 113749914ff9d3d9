"""`python -m stoker.worker FOLDER [--idle-seconds N] [--once TASK]`: the warm worker's process.

Exit status: 0 after the exit task or too long without one; 75 when a signal ended it in the middle of a task or of its
list; with --once, the task's own exit.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import sys
import warnings
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Import what training needs, once, and work."""
    parser = argparse.ArgumentParser(prog="python -m stoker.worker")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--idle-seconds", type=float, default=300.0)
    parser.add_argument("--once", type=Path, metavar="TASK")
    options = parser.parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True
    )
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    from stoker.mailbox.control import pause_on_signals

    pause_on_signals()
    from stoker.worker.loop import Worker

    gc.collect()
    gc.freeze()  # the libraries' million objects never die; a collection between two runs would walk them all
    worker = Worker(options.folder.absolute(), options.idle_seconds)
    return worker.work_once(options.once.absolute()) if options.once else worker.work()


if __name__ == "__main__":
    sys.exit(main())
