"""Processes of this machine: their environment, finding them again, ending them."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

from stoker.launchers import local


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make an importable module that sleeps, or dumps its environment when asked."""
    (tmp_path / "sleeper.py").write_text(
        "import os, signal, sys, time, pathlib\n"
        "if 'stubborn' in sys.argv: signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "pathlib.Path(sys.argv[1], 'environment').write_text(repr(dict(os.environ)))\n"
        "if 'quick' in sys.argv: sys.exit(7)\n"
        "time.sleep(60)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "sleeper"


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists() or not path.stat().st_size:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_process_is_started_found_by_its_command_and_ended_by_its_id(tmp_path: Path, module: str) -> None:
    process = local.start(module, tmp_path, log=tmp_path / "log.txt")
    wait_for(tmp_path / "environment")
    assert local.find(module, tmp_path) == [local.Process(process.pid, process.started_at)]
    assert local.find(module, tmp_path / "other") == []
    assert os.getsid(process.pid) == process.pid
    assert process.memory_bytes() > 1 << 20
    local.stop(process)
    assert not process.is_alive()
    assert process.exit_status() == -signal.SIGTERM
    assert local.find(module, tmp_path) == []


def test_a_process_that_ignores_the_request_is_killed_after_the_grace(tmp_path: Path, module: str) -> None:
    process = local.start(module, tmp_path, "stubborn", log=tmp_path / "log.txt")
    wait_for(tmp_path / "environment")
    local.stop(process, grace_seconds=0.1)
    assert process.exit_status() == -signal.SIGKILL


def test_a_process_gets_a_short_environment_without_secrets(
    tmp_path: Path, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "STOKER_FAULT", "SOME_PASSWORD"):
        monkeypatch.setenv(name, f"value-of-{name}")
    process = local.start(module, tmp_path, "quick", log=tmp_path / "log.txt", threads=3, is_training=False)
    wait_for(tmp_path / "environment")
    text = (tmp_path / "environment").read_text()
    assert "value-of-AWS" not in text and "value-of-SOME" not in text and "value-of-HF" not in text
    assert "value-of-STOKER_FAULT" in text and "'OMP_NUM_THREADS': '3'" in text
    assert "'TOKENIZERS_PARALLELISM': 'false'" in text
    assert "HF_TOKEN" in local.environment(threads=None, is_training=True)
    local.kill(process)


def test_a_worker_keeps_its_memory_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
    assert local.environment(threads=1, is_training=True)["MALLOC_TRIM_THRESHOLD_"] == str(2**30)
    assert "MALLOC_TRIM_THRESHOLD_" not in local.environment(threads=1, is_training=False)
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "0")
    assert local.environment(threads=1, is_training=True)["MALLOC_TRIM_THRESHOLD_"] == "0"


def test_a_worker_spins_briefly_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    assert local.environment(threads=2, is_training=True)["GOMP_SPINCOUNT"] == "1000"
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    assert local.environment(threads=2, is_training=True)["GOMP_SPINCOUNT"] == "7"
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    assert "GOMP_SPINCOUNT" not in local.environment(threads=2, is_training=True)


def test_the_exit_status_of_a_child_is_known(tmp_path: Path, module: str) -> None:
    process = local.start(module, tmp_path, "quick", log=tmp_path / "log.txt")
    while process.is_alive():
        time.sleep(0.01)
    assert process.exit_status() == 7
    local.stop(process)


def test_niceness_is_lowered(tmp_path: Path, module: str) -> None:
    process = local.start(module, tmp_path, log=tmp_path / "log.txt", nice=7)
    assert psutil.Process(process.pid).nice() >= 7
    group = Path(f"/proc/{process.pid}/autogroup")
    assert not group.exists() or group.read_text().split()[-1] == "7"
    local.kill(process)


def test_a_reused_process_id_is_not_the_process() -> None:
    started_at = psutil.Process().create_time()
    assert local.Process(os.getpid(), started_at).is_alive()
    assert not local.Process(os.getpid(), started_at - 100).is_alive()
    assert local.Process(os.getpid(), started_at).exit_status() is None


def test_the_command_line_is_this_python(tmp_path: Path) -> None:
    assert local.command_line("stoker.worker", tmp_path, "--once") == [
        sys.executable, "-m", "stoker.worker", str(tmp_path), "--once"
    ]  # fmt: skip
