"""Running a program that a model wrote, where it can do no harm: bubblewrap, with limits.

The program sees the system's Python, an empty /tmp and nothing else of the disk; no network, no other process, no
environment. It ends with its limits of time and memory, and everything it started ends with it. What it prints is
dropped. Passing means that its tests ran to their end.
"""

from __future__ import annotations

import functools
import resource
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stoker.errors import InvalidInput

_MEGABYTE = 1 << 20
_MOST_FILE_BYTES = 16 * _MEGABYTE
_MOST_OUTPUT = 4096
_SYSTEM = ("/usr", "/lib", "/lib64", "/lib32", "/bin", "/sbin")
# The program comes by standard input, in its parts: nothing of it is written anywhere.
_HARNESS = """
import sys
code, tests, word = sys.stdin.read().split(sys.argv[1])
space = {"__name__": "__main__"}
out, sys.stdin = sys.stdout, None
class Nowhere:
    def write(self, text): return len(text)
    def flush(self): pass
sys.stdout = sys.stderr = Nowhere()
exec(compile(code, "answer.py", "exec"), space)
exec(compile(tests, "tests.py", "exec"), space)
out.write(word)
out.flush()
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether the tests passed, and if not why, in a word: "failed", "time" or "memory"."""

    is_passed: bool
    reason: str = ""


def run_code(code: str, tests: str, *, seconds: float, megabytes: int) -> Outcome:
    """Run `code`, then `tests` in the same module; InvalidInput when this machine has no sandbox."""
    require_sandbox()
    fence, word = secrets.token_hex(16), secrets.token_hex(16)
    # Python itself is found by its own folder: a virtual environment's is a link to the system's.
    command = [*_sandbox(), str(Path(sys.executable).resolve()), "-I", "-S", "-B", "-c", _HARNESS, fence]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        preexec_fn=_limits(seconds, megabytes), start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = process.communicate(fence.join((code, tests, word)).encode("utf-8", "replace"), timeout=seconds + 2)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return Outcome(False, "time")
    if output[-_MOST_OUTPUT:].decode("utf-8", "replace") == word:
        return Outcome(True)
    return Outcome(False, "time" if process.returncode in (-9, -24, 137, 152) else "failed")


@functools.cache
def require_sandbox() -> None:
    """Raise InvalidInput unless bubblewrap works here."""
    why = "bubblewrap (bwrap) is not installed"
    if shutil.which("bwrap"):
        found = subprocess.run([*_sandbox(), "/usr/bin/env", "true"], capture_output=True, timeout=30, check=False)
        if found.returncode == 0:
            return
        why = f"bubblewrap does not work here: {found.stderr.decode('utf-8', 'replace').strip()[:200]}"
    raise InvalidInput(
        'the scorer "code" has no sandbox on this machine',
        why,
        "install bubblewrap (Debian: apt-get install bubblewrap)",
    )


def _sandbox() -> list[str]:
    bound = [option for folder in _SYSTEM if Path(folder).exists() for option in ("--ro-bind", folder, folder)]
    prefix = str(Path(sys.executable).resolve().parents[1])
    if not prefix.startswith("/usr"):
        bound += ["--ro-bind", prefix, prefix]
    return [
        "bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--clearenv", "--setenv", "PATH", "/usr/bin:/bin",
        *bound, "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--chdir", "/tmp", "--cap-drop", "ALL",
    ]  # fmt: skip


def _limits(seconds: float, megabytes: int) -> Callable[[], None]:
    def set_limits() -> None:
        cpu = max(1, int(seconds + 0.999))
        for kind, most in (
            (resource.RLIMIT_CPU, cpu),
            (resource.RLIMIT_AS, megabytes * _MEGABYTE),
            (resource.RLIMIT_FSIZE, _MOST_FILE_BYTES),
            (resource.RLIMIT_CORE, 0),
        ):
            resource.setrlimit(kind, (most, most))

    return set_limits
