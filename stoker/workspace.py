"""Every path of a lab, in one place. It creates folders and finds labs; it reads no file's content."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stoker.errors import NotFound

SETTINGS = "stoker.toml"


@dataclass(frozen=True)
class Workspace:
    """The paths of the lab at `root` (absolute)."""

    root: Path

    @classmethod
    def find(cls, start: Path | None = None) -> Workspace:
        """Return the lab that holds `start` (default: the current folder); NotFound when there is none."""
        start = (start or Path.cwd()).resolve()
        for folder in (start, *start.parents):
            if (folder / SETTINGS).is_file():
                return cls(folder)
        raise NotFound(f"no lab at {start}", f"a lab is a folder with {SETTINGS}", "run: stoker init DIR")

    @property
    def settings(self) -> Path:
        return self.root / SETTINGS

    @property
    def inbox(self) -> Path:
        return self.root / "inbox"

    @property
    def rejected(self) -> Path:
        return self.root / "rejected"

    @property
    def benchmarks(self) -> Path:
        return self.root / "benchmarks"

    @property
    def reports(self) -> Path:
        return self.root / "reports"

    @property
    def state(self) -> Path:
        """Everything Stoker owns."""
        return self.root / ".stoker"

    @property
    def store(self) -> Path:
        return self.state / "store.db"

    @property
    def store_copy(self) -> Path:
        """The last copy of the store, for the day it is lost."""
        return self.state / "store-copy.db"

    @property
    def lock(self) -> Path:
        return self.state / "lock"

    @property
    def supervisor(self) -> Path:
        """What the running supervisor says of itself (JSON: pid, started_at, fence)."""
        return self.state / "supervisor.json"

    @property
    def supervisor_log(self) -> Path:
        return self.state / "supervisor.log"

    @property
    def intents(self) -> Path:
        return self.state / "intents"

    @property
    def files(self) -> Path:
        return self.state / "files"

    @property
    def datasets(self) -> Path:
        return self.state / "datasets"

    @property
    def reviews(self) -> Path:
        """What people decided about single rows, a file for each dataset."""
        return self.state / "reviews"

    @property
    def bases(self) -> Path:
        return self.state / "bases"

    @property
    def runs(self) -> Path:
        return self.state / "runs"

    @property
    def evaluations(self) -> Path:
        return self.state / "evaluations"

    @property
    def answers(self) -> Path:
        """Item results kept per model weights, reused by every later evaluation."""
        return self.state / "answers"

    @property
    def benches(self) -> Path:
        """What models scored on benchmarks by hand, a folder for each model, benchmark and settings."""
        return self.state / "benches"

    @property
    def basics(self) -> Path:
        """The benchmark that shows what a version has forgotten, frozen when it was first asked for."""
        return self.state / "basics"

    @property
    def serving(self) -> Path:
        """What the inference API keeps: keys, share links, requests, feedback."""
        return self.state / "serving"

    @property
    def tokens(self) -> Path:
        """Tokenised rows, keyed by dataset, tokenizer and template; may be deleted at any time."""
        return self.state / "tokens"

    @property
    def models(self) -> Path:
        return self.state / "models"

    @property
    def workers(self) -> Path:
        return self.state / "workers"

    @property
    def mappings(self) -> Path:
        """What files with unknown columns mean, by their columns."""
        return self.state / "mappings.json"

    @property
    def alerts(self) -> Path:
        """What the senders of alerts said of each, a journal and a lock for each channel."""
        return self.state / "alerts"

    @property
    def tasks(self) -> Path:
        """Folders of the small tasks (generate, merge, verify) that people ask for by hand."""
        return self.state / "tasks"

    def file(self, sha256: str) -> Path:
        """The folder of an accepted file's immutable copy."""
        return self.files / sha256

    def dataset(self, dataset_id: str) -> Path:
        return self.datasets / dataset_id

    def review(self, dataset_id: str) -> Path:
        return self.reviews / f"{dataset_id}.jsonl"

    def run(self, run_id: str) -> Path:
        return self.runs / run_id

    def evaluation(self, evaluation_id: str) -> Path:
        return self.evaluations / evaluation_id

    def version(self, model: str, version: int) -> Path:
        return self.models / model / f"v{version}"

    def worker(self, worker_id: str) -> Path:
        return self.workers / worker_id

    def create(self) -> None:
        """Make the folders of a lab; those that exist stay as they are."""
        for folder in (self.inbox, self.rejected, self.benchmarks, self.reports):
            folder.mkdir(parents=True, exist_ok=True)
        self.state.mkdir(mode=0o700, exist_ok=True)
        for folder in (
            self.intents, self.files, self.datasets, self.bases, self.runs, self.evaluations,
            self.answers, self.tokens, self.models, self.workers, self.tasks, self.alerts,
        ):  # fmt: skip
            folder.mkdir(exist_ok=True)
