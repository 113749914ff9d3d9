"""Code that a model wrote: run where it can reach nothing, within its limits."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from stoker.bench.sandbox import require_sandbox, run_code
from stoker.errors import InvalidInput

CODE = "def double(x):\n    return 2 * x\n"


@pytest.fixture(autouse=True)
def _needs_a_sandbox() -> None:
    try:
        require_sandbox()
    except InvalidInput as error:
        pytest.skip(str(error))


def is_passed(code: str, tests: str = "assert double(3) == 6", seconds: float = 10.0) -> bool:
    return run_code(code, tests, seconds=seconds, megabytes=512).is_passed


def test_right_code_passes_and_wrong_code_does_not() -> None:
    assert is_passed(CODE)
    assert not is_passed(CODE.replace("2", "3"))
    assert not is_passed("this is no Python")


@pytest.mark.parametrize(
    "code",
    [
        "raise SystemExit(0)",
        "import os; os._exit(0)",
        "import sys; sys.exit()",
        "print('x' * 100)\nraise SystemExit",
        "import os; os.kill(os.getpid(), 9)",
    ],
)
def test_a_program_that_ends_before_its_tests_does_not_pass(code: str) -> None:
    assert not is_passed(code, "pass")


def test_a_program_can_reach_neither_files_nor_network_nor_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    monkeypatch.setenv("STOKER_TEST_SECRET", "x")
    tests = f"""
import os
assert not any(os.path.exists(path) for path in ({str(secret)!r}, {__file__!r}, "/etc/passwd"))
assert "STOKER_TEST_SECRET" not in os.environ
"""
    assert is_passed("", tests)
    with socket.create_server(("127.0.0.1", 0)) as server:
        connect = f"import socket\nsocket.create_connection(('127.0.0.1', {server.getsockname()[1]}), 2)"
        assert not is_passed(connect, "pass")
    assert not is_passed("open('/usr/evil', 'w')", "pass")
    assert is_passed("open('/tmp/own', 'w').write('x')", "import os\nassert os.path.exists('/tmp/own')")
    assert not Path("/tmp/own").exists()


def test_a_program_that_hangs_or_takes_memory_ends_and_leaves_nothing_running() -> None:
    assert run_code("while True: pass", "pass", seconds=1, megabytes=512).reason == "time"
    assert run_code("import time\ntime.sleep(1000)", "pass", seconds=1, megabytes=512).reason == "time"
    assert not is_passed("x = bytearray(1 << 30)", "pass")
    marker = f"7{os.getpid()}"
    child = f"import subprocess\nsubprocess.Popen(['/usr/bin/sleep', '{marker}'])\n" + CODE
    assert is_passed(child)
    assert marker not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
