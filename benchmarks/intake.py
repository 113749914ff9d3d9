"""Intake: each stage beside the library most would use for it, interleaved, and a file of a million chats taken in.

Stages run in one process with one thread each, on `--peer-rows` rows, in turn, medians over rounds. The path of those stages and the
whole intake (`python -m stoker.data`: every check, the sealed split and the published dataset too) then run once over `--rows` rows,
each in a process of its own, whose processor time and peak memory count.

    python benchmarks/intake.py [--rows 1000000] [--peer-rows 20000] [--rounds 3]
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ[name] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"

import argparse
import gc
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
import models
from chats import write_chats
from sides import intake_side, peer_side

LIMIT_PATH, LIMIT_PEERS, LIMIT_PARSE, LIMIT_MEGABYTES = 30_000, 10, 4, 2_000
_READ = "read the lines"
_STAGES = ("parse and check the structure", "row ids, exact duplicates", "near duplicates", "lengths in tokens")


def main() -> None:
    args = _arguments()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = models.make_model(folder / "model", "5m")
        write_chats(folder / "few.jsonl", args.peer_rows)
        rounds = [_round(folder / "few.jsonl", model, folder) for _ in range(args.rounds)]
        write_chats(folder / "many.jsonl", args.rows)
        size = (folder / "many.jsonl").stat().st_size / args.rows
        path, whole = (_child(mode, folder / "many.jsonl", model, folder) for mode in ("run_path", "run_whole"))
    body = _body(args, rounds, size, path, whole)
    harness.write_section("Intake", " ".join(["python benchmarks/intake.py", *sys.argv[1:]]), body)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--peer-rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def _round(file: Path, model: Path, folder: Path) -> dict[str, float]:
    """Return processor seconds a row of every stage, Stoker's and the peers' in turn."""
    ours, peers = intake_side.Stages(file, model), peer_side.Peers(file, model, folder)
    turns: list[tuple[str, Callable[[], Any]]] = [
        (_READ, ours.read_lines), (_STAGES[0], ours.parse), ("msgspec, decoded to types", peers.msgspec),
        ("orjson alone", peers.orjson), ("datasets.load_dataset", peers.load_dataset),
        (_STAGES[1], ours.find_duplicates), (_STAGES[2], ours.find_neighbours),
        ("rensa (signatures alone)", peers.rensa), ("datasketch", peers.datasketch),
        (_STAGES[3], ours.measure), ("Hugging Face tokenizer", peers.tokenize),
    ]  # fmt: skip
    seconds: dict[str, float] = {}
    for name, turn in turns:
        if turn == ours.find_duplicates:
            ours.keep_contents()
        gc.collect()
        gc.freeze()
        started = time.process_time()
        turn()
        seconds[name] = (time.process_time() - started) / ours.num_rows
    print({name: round(1e6 * value, 2) for name, value in seconds.items()}, file=sys.stderr)
    return seconds


def _child(mode: str, file: Path, model: Path, folder: Path) -> dict[str, float]:
    """Run one side over the whole file in a process of its own."""
    command = [sys.executable, intake_side.__file__, mode, file, model, folder / mode]
    (folder / mode).mkdir()
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, text=True, check=True)
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - started
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    result = {"wall": wall, "cpu": processor, **json.loads(done.stdout.strip().splitlines()[-1])}
    print(mode, result, file=sys.stderr)
    return result


def _body(
    args: argparse.Namespace, rounds: list[dict[str, float]], size: float, path: dict[str, Any], whole: dict[str, Any]
) -> str:
    rates = {name: [1 / one[name] for one in rounds] for name in rounds[0]}
    table = harness.table(("stage", "rows per core-second"), [(name, harness.spread(rates[name])) for name in rates])
    ours = [sum(one[stage] for stage in _STAGES) for one in rounds]
    theirs = [
        sum(one[name] for name in ("datasets.load_dataset", "datasketch", "Hugging Face tokenizer")) for one in rounds
    ]
    times = statistics.median(b / a for a, b in zip(ours, theirs, strict=True))
    parse = statistics.median(one[_STAGES[0]] / one[_READ] for one in rounds)
    path_rate, whole_rate = args.rows / path["cpu"], args.rows / whole["cpu"]
    lines = [
        f"Rows of {size:.0f} bytes, 1 % exact and 1 % near duplicates; stages on {args.peer_rows:,} rows, medians of {args.rounds} rounds.",
        "", table, "",
        f"- The path (parse, structure, exact and near duplicates, lengths) of {args.rows:,} rows: {path_rate:,.0f} rows per core-second, "
        f"{path['wall']:.0f} s by the clock, {path['megabytes']:,.0f} MB at its peak ({_verdict(path_rate >= LIMIT_PATH)} of {LIMIT_PATH:,}; "
        f"memory {_verdict(path['megabytes'] < LIMIT_MEGABYTES)} of {LIMIT_MEGABYTES:,} MB).",
        f"- The same path on {args.peer_rows:,} rows is {times:.1f} times as fast as datasets.load_dataset, the Hugging Face tokenizer and "
        f"datasketch together ({_verdict(times >= LIMIT_PEERS)} of {LIMIT_PEERS} times).",
        f"- Parsing with the structure check takes {parse:.1f} times as long as reading the lines ({_verdict(parse <= LIMIT_PARSE)} of {LIMIT_PARSE}).",
        f"- The whole intake of {args.rows:,} rows, every check, the sealed split, the ledger and the published dataset too: "
        f"{whole_rate:,.0f} rows per core-second, {whole['wall']:.0f} s by the clock, {whole['megabytes']:,.0f} MB at its peak "
        f"(memory {_verdict(whole['megabytes'] < LIMIT_MEGABYTES)} of {LIMIT_MEGABYTES:,} MB); {whole['near']:,.0f} near duplicates and "
        f"{whole['exact']:,.0f} exact ones found.",
    ]  # fmt: skip
    return "\n".join(lines)


def _verdict(is_met: bool) -> str:
    return "limit met" if is_met else "limit missed"


if __name__ == "__main__":
    main()
