"""The supervisor as a service: what it tells the manager, on a real datagram socket, and the unit that starts it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stoker.errors import InvalidInput
from stoker.launchers.local import FIRST_TO_GO, environment, start
from stoker.supervisor.service import Service
from stoker.supervisor.supervisor import SAVE_GRACE_SECONDS
from stoker.supervisor.unit import unit_name, unit_text
from stoker.workspace import Workspace


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """A service manager's socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(tmp_path / "notify"))
        channel.settimeout(60)
        yield channel


def test_up_tells_that_it_is_ready_alive_and_ending(tmp_path: Path, manager: socket.socket) -> None:
    root = tmp_path / "lab"
    run = [sys.executable, "-m", "stoker"]
    subprocess.run([*run, "init", str(root)], check=True, capture_output=True)
    variables = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "3000000"}
    process = subprocess.Popen([*run, "--lab", str(root), "up"], env=variables, stderr=subprocess.DEVNULL)
    try:
        first = manager.recv(4096).decode()
        assert first.splitlines()[0] == "READY=1" and f"MAINPID={process.pid}" in first
        assert {manager.recv(4096) for _ in range(3)} == {b"WATCHDOG=1"}
        process.send_signal(signal.SIGTERM)
        told = manager.recv(4096)
        while told == b"WATCHDOG=1":
            told = manager.recv(4096)
        assert told.startswith(b"STOPPING=1")
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()


def test_without_a_manager_nothing_is_told_and_nothing_fails(tmp_path: Path) -> None:
    Service({}).ready("lab")
    deaf = Service({"NOTIFY_SOCKET": str(tmp_path / "nobody"), "WATCHDOG_USEC": "1000"})
    deaf.ready("lab")
    deaf.alive()
    deaf.stopping("")


def test_a_watchdog_of_another_process_is_not_fed(tmp_path: Path, manager: socket.socket) -> None:
    variables = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}
    manager.setblocking(False)
    Service(variables).alive()
    with pytest.raises(BlockingIOError):
        manager.recv(10)
    Service({**variables, "WATCHDOG_PID": str(os.getpid())}).alive()
    assert manager.recv(100) == b"WATCHDOG=1"


def test_workers_do_not_speak_to_the_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/x")
    assert "NOTIFY_SOCKET" not in environment(threads=None, is_training=True)


def test_the_unit_waits_for_the_checkpoint_and_is_fed_and_restarted(tmp_path: Path) -> None:
    text = unit_text(Workspace(tmp_path / "my lab 100%"), is_system=False, python="/usr/bin/python3")
    lines = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    assert lines["ExecStart"] == f'"/usr/bin/python3" -m stoker --lab "{tmp_path}/my lab 100%%" up'
    assert (lines["Type"], lines["KillMode"], lines["Restart"]) == ("notify", "mixed", "on-failure")
    assert int(lines["TimeoutStopSec"]) > SAVE_GRACE_SECONDS and int(lines["WatchdogSec"]) > 0
    assert lines["RestartPreventExitStatus"].split() == ["2", "3", "4", "5"]
    assert "OOMScoreAdjust" not in lines and lines["WantedBy"] == "default.target"
    system = unit_text(Workspace(tmp_path), is_system=True, user="ada")
    assert "OOMScoreAdjust=-500\nUser=ada\n" in system and "WantedBy=multi-user.target" in system
    assert unit_name(Workspace(tmp_path / "my lab 100%")) == "stoker-my-lab-100.service"
    with pytest.raises(InvalidInput):
        unit_text(Workspace(tmp_path / "a\nb"), is_system=False)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    path = tmp_path / "stoker-lab.service"
    path.write_text(unit_text(Workspace(tmp_path), is_system=True, user="root"))
    found = subprocess.run(["systemd-analyze", "verify", str(path)], capture_output=True, text=True)
    assert found.returncode == 0 and "Unknown" not in found.stderr, found.stderr


@pytest.mark.skipif(not Path("/proc/self/oom_score_adj").exists(), reason="no such file on this system")
def test_the_kernel_takes_a_worker_before_anything_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "waits_here.py").write_text("import time; time.sleep(60)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    process = start("waits_here", tmp_path, log=tmp_path / "log")
    assert process.child is not None
    try:
        assert int(Path(f"/proc/{process.pid}/oom_score_adj").read_text()) == FIRST_TO_GO
    finally:
        process.child.kill()
        process.child.wait()
