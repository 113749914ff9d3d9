"""`stoker chat`: talk to a model, its answers as they are made. What is said is kept nowhere unless /save is asked."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stoker.cli.console import note
from stoker.cli.generate import Key, MaxTokens, Model, Seed, Stop, System, Temperature, TopK, TopP, make_sampling
from stoker.cli.lab import open_reader
from stoker.errors import StokerError, UserError

if TYPE_CHECKING:
    from stoker.cli.chat_partners import Partner
    from stoker.spec.jobs import Sampling

_HELP = """\
/reset         begin anew; the system prompt stays
/system TEXT   set the system prompt; without TEXT there is none
/undo          take back the last question and its answer
/save FILE     write the conversation as a line of JSON, as a file of rows has it
/help          this
/exit          end (also: Ctrl-D); Ctrl-C ends an answer
//TEXT         say /TEXT"""


def chat(
    model: Model = "@champion",
    max_tokens: MaxTokens = 512,
    system: System = "",
    temperature: Temperature = 0.0,
    top_p: TopP = 1.0,
    top_k: TopK = 0,
    seed: Seed = 0,
    stop: Stop = None,
    key: Key = "",
) -> None:
    """Talk to a model; /help lists what can be done besides talking."""
    from stoker.cli.references import bench_model

    reader = open_reader()
    found = bench_model(reader, model, key)
    sampling = make_sampling(max_tokens, temperature, top_p, top_k, seed, stop)
    note(f"loading {found.label} ..." if found.endpoint is None else f"asking {found.label}")
    partner: Partner
    if found.endpoint is not None:
        from stoker.cli.chat_partners import EndpointPartner

        partner = EndpointPartner(reader.workspace, found.endpoint)
    else:
        from stoker.cli.chat_partners import LoadedPartner
        from stoker.spec.reading import read_settings

        assert found.model is not None
        partner = LoadedPartner(reader.workspace, found.model, read_settings(reader.workspace.settings).train)
    with contextlib.closing(partner):
        Conversation(partner, sampling, system).hold()


class Conversation:
    """The history and the loop over what is typed."""

    def __init__(self, partner: Partner, sampling: Sampling, system: str) -> None:
        self._partner, self._sampling, self._system = partner, sampling, system
        self._messages: list[dict[str, Any]] = []
        self._is_terminal = sys.stdin.isatty()

    def hold(self) -> None:
        """Answer line by line until the end of input or /exit."""
        if self._is_terminal:
            note("/help lists what can be done besides talking")
            with contextlib.suppress(ImportError):
                import readline  # noqa: F401  (input() then edits and remembers lines)
        while (line := self._read()) is not None:
            if not line.strip():
                continue
            if line.startswith("/") and not line.startswith("//"):
                if not self._command(line.strip()):
                    return
            else:
                self._say(line[1:] if line.startswith("//") else line)

    def _read(self) -> str | None:
        """Return a line, "" for one that was given up, None at the end."""
        if not self._is_terminal:
            line = sys.stdin.readline()
            return line.rstrip("\n").rstrip("\r") if line else None
        try:
            return input("> ")
        except EOFError:
            print()
            return None
        except KeyboardInterrupt:
            note("\n(Ctrl-D or /exit ends the chat)")
            return ""

    def _say(self, text: str) -> None:
        """Ask, print the answer as it comes, and keep both; a question that can't be answered is taken back."""
        try:
            text.encode()
        except UnicodeEncodeError:
            note("(this is not UTF-8 and was not asked)")
            return
        turn = len(self._messages) // 2
        sampling = self._sampling.model_copy(update={"seed": self._sampling.seed + turn})
        asked = [*self._messages, {"role": "user", "content": text}]
        pieces: list[str] = []
        try:
            for piece in self._partner.ask(self._with_system(asked), sampling):
                pieces.append(piece)
                print(piece, end="", flush=True)
        except KeyboardInterrupt:
            self._partner.hush()
            note(" (ended)")
            if not pieces:
                return
        except UserError as error:
            self._refuse(error, has_text=bool(pieces))
            return
        else:
            print(flush=True)
        self._messages = [*asked, {"role": "assistant", "content": "".join(pieces)}]

    def _refuse(self, error: StokerError, *, has_text: bool) -> None:
        if has_text:
            print(flush=True)
        words = [part for part in (getattr(error, "what", str(error)), getattr(error, "why", "")) if part]
        note(f"({'; '.join(words)}. The question was taken back; /undo or /reset makes room)")

    def _with_system(self, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{"role": "system", "content": self._system}, *messages] if self._system else messages

    def _command(self, line: str) -> bool:
        """Carry out a command; False when the chat is over."""
        name, _, rest = line.partition(" ")
        rest = rest.strip()
        if name in ("/exit", "/quit"):
            return False
        if name == "/reset":
            self._messages = []
            note("(begun anew)")
        elif name == "/system":
            self._system = rest
            note("(system prompt set)" if rest else "(no system prompt)")
        elif name == "/undo":
            note("(the last question is taken back)" if self._messages else "(there is nothing to take back)")
            self._messages = self._messages[:-2]
        elif name == "/save":
            self._save(rest)
        elif name == "/help":
            note(_HELP)
        else:
            note(f"(no command {name}; /help lists them, and //{line[1:]} says it to the model)")
        return True

    def _save(self, name: str) -> None:
        import orjson

        if not name or not self._messages:
            note("(/save FILE)" if not name else "(there is nothing to save yet)")
            return
        path = Path(name).expanduser()
        row = orjson.dumps({"messages": self._with_system(self._messages)}) + b"\n"
        try:
            with path.open("xb") as file:
                file.write(row)
        except FileExistsError:
            note(f"({path} exists and is not overwritten)")
        except OSError as error:
            note(f"({path} can't be written: {error.strerror})")
        else:
            note(f"(saved as {path})")
