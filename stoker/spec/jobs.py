"""The resolved files a worker or the intake process starts from: `job.json` in the task's folder.

Written once by the supervisor or the command line, read by the worker, never changed: what is in it is what ran.
Paths are absolute. `kind` tells the worker which station takes it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from stoker.spec.base import Spec
from stoker.spec.lab import Auto, CheckSpec, EvaluateSpec, IntakeSpec, ModelSpec, RetentionSpec, SplitSpec, TrainSpec
from stoker.spec.recovery import RecoverSpec
from stoker.spec.watching import WatchSpec

JOB = "job.json"


class DatasetRef(Spec):
    """A dataset version on disk."""

    id: str
    folder: Path
    name: str = Field(description="Name of the file it came from.")
    kept_by: tuple[Path, ...] | None = Field(
        None, description="Set where it is not in force: only rows that one of these datasets has too count."
    )
    is_rolled_back: bool = Field(False, description="Its rows do not train, so a new file may bring them again.")
    removed: tuple[str, ...] = Field((), description="Ids of rows that a person removed by review: they don't train.")


class BaseRef(Spec):
    """What a model line starts from. `folder` is None for a hub id until it is downloaded."""

    name: str = Field(description='Hub id, folder, or "tiny".')
    revision: str = "main"
    folder: Path | None = None


class TokenizerRef(Spec):
    """The tokenizer that intake measures rows with: that of the lab's base, and how long a row may be."""

    name: str = Field(description="The base's name.")
    folder: Path | None = Field(None, description="None: not on this machine yet.")
    max_length: int | Auto = Field("auto", description="train.max_length.")


class ColumnMapping(Spec):
    """What a file with exactly these columns means: for each field of a row a template over the columns."""

    columns: tuple[str, ...] = Field(description="Sorted names.")
    fields: dict[str, str] = Field(description='Field to template, "{column}" or "{title}\\n{body}".')


class IntakeJob(Spec):
    """Read an accepted file into a dataset version. Runs as `python -m stoker.data FOLDER`."""

    kind: Literal["intake"] = "intake"
    dataset: DatasetRef = Field(description="Where to publish; `folder` does not exist yet.")
    file: Path = Field(description="The immutable copy.")
    file_sha256: str
    earlier: tuple[DatasetRef, ...] = Field((), description="Datasets accepted before, oldest first.")
    benchmarks: tuple[Path, ...] = ()
    intake: IntakeSpec = IntakeSpec()
    mappings: tuple[ColumnMapping, ...] = ()
    check: CheckSpec = CheckSpec()
    split: SplitSpec = SplitSpec()
    tokenizer: TokenizerRef | None = Field(None, description="None: rows are not measured in tokens.")


class ModelRef(Spec):
    """A model to load: a version folder, or the base when `folder` is None."""

    label: str = Field(description='What results are filed under: "main/v3" or "base".')
    base: BaseRef
    folder: Path | None = None
    method: Literal["full", "lora", "qlora"] = "full"
    weights_sha256: str = Field(description="Identity of the weights: of the version's weights file, or of the base.")


class Request(Spec):
    """What was asked of a run, by a person or by its recovery: parameters to set, or a step to go back to."""

    id: str = Field(description="The same one is carried out once.")
    kind: Literal["set", "rollback"]
    changes: dict[str, Any] = Field({}, description="set: name to value, all of them or none.")
    to: int | Literal["best"] = Field("best", description="rollback: the checkpoint's step.")


class TrainJob(Spec):
    """Continue `parent` (or the base) on the new datasets and publish `output`."""

    kind: Literal["train"] = "train"
    run: str
    fence: int = Field(description="Grows with each start of a worker on this run; older workers are not heard.")
    base: BaseRef
    base_folder: Path = Field(description='Where a "tiny" base is made, or was.')
    parent: ModelRef | None = Field(None, description="The version continued; None: the base itself.")
    new: tuple[DatasetRef, ...]
    replay: tuple[DatasetRef, ...] = Field((), description="Earlier datasets to draw replay rows from, oldest first.")
    output: Path = Field(description="Version folder to publish.")
    model_name: str
    version: int
    model: ModelSpec
    train: TrainSpec
    retention: RetentionSpec
    tokens: Path = Field(description="Folder of tokenised rows (Workspace.tokens).")
    least_accumulation: int = Field(
        1,
        ge=1,
        description="A step is split into at least so many parts: raised when the kernel ended the worker for memory.",
    )
    watch: WatchSpec = WatchSpec()
    recover: RecoverSpec = RecoverSpec()
    asked: tuple[Request, ...] = Field((), description="Asked while no worker had the run: taken up at its start.")
    benchmarks: Path | None = Field(None, description="Folder of benchmarks, for train.early_stopping_on.")


class ItemSet(Spec):
    """Items to answer: a benchmark file, or the sealed rows of datasets."""

    name: str = Field(description='"heldout" or the benchmark\'s name.')
    benchmark: Path | None = None
    heldout: tuple[DatasetRef, ...] = ()


class EvaluateJob(Spec):
    """Answer item sets with the candidate and what it is compared with, then reach the verdict."""

    kind: Literal["evaluate"] = "evaluate"
    evaluation: str
    run: str | None = None
    candidate: ModelRef
    against: tuple[ModelRef, ...] = Field(description="Parent first (when there is one), then the base.")
    num_branches: int = Field(0, description="A trial: the first so many of candidate and against meet each other.")
    sets: tuple[ItemSet, ...]
    trained: tuple[DatasetRef, ...] = Field(
        (), description="Datasets whose rows were trained: overlapping items do not count."
    )
    evaluate: EvaluateSpec
    train: TrainSpec = Field(description="Precision, threads and max_length, as in training.")
    answers: Path = Field(description="Folder of item results by weights (Workspace.answers).")
    tokens: Path
    root: Path = Field(Path(), description="The lab: where files are that a benchmark's judge has its key in.")


class PrepareJob(Spec):
    """Tokenise the next run's rows while the worker would wait: its first step then comes at once."""

    kind: Literal["prepare"] = "prepare"
    job: TrainJob


Conversation = tuple[dict[str, Any], ...]
"""Messages as a row has them: role, content."""


class Sampling(Spec):
    """How an answer is made."""

    max_new_tokens: int = Field(200, ge=1, description="Longest answer (tokens).")
    temperature: float = Field(0.0, ge=0, description="0: greedy.")
    top_p: float = Field(1.0, gt=0, le=1, description="Draw from the likeliest tokens of this share.")
    top_k: int = Field(0, ge=0, description="Draw from so many of the likeliest tokens; 0: all.")
    seed: int = Field(0, ge=0, description="Seed of the draw.")
    stop: tuple[str, ...] = Field((), description="Texts before which an answer ends.")


class GenerateJob(Spec):
    """Answer conversations: many at once, or one after the other with each piece of text as a message."""

    kind: Literal["generate"] = "generate"
    model: ModelRef
    conversations: tuple[Conversation, ...]
    sampling: Sampling = Sampling()
    is_streamed: bool = False
    batch_size: int = Field(32, ge=1, description="Answered at once when not streamed.")
    train: TrainSpec


class ChatJob(Spec):
    """Keep a model loaded and answer what comes by `say` (mailbox/control) until `end`."""

    kind: Literal["chat"] = "chat"
    model: ModelRef
    train: TrainSpec


class PreviewJob(Spec):
    """Show rows as they are trained: rendered, tokenised, trained tokens marked. No weights are loaded."""

    kind: Literal["preview"] = "preview"
    base: BaseRef
    dataset: DatasetRef = Field(description="Where the rows are from; a tiny base that is not made yet is made of it.")
    rows: tuple[dict[str, Any], ...] = Field(description="Records of the dataset's files of rows.")
    train: TrainSpec = Field(description="max_length and seed, as in training.")


class BenchSettings(Spec):
    """How benchmarks are asked. Everything here is part of what a result is kept under."""

    shots: int = Field(0, ge=0, description="Solved examples shown before each question.")
    limit: int | None = Field(None, ge=1, description="So many items of each benchmark, drawn by the seed; None: all.")
    seed: int = Field(0, ge=0, description="Which examples are shown, and which items a limit leaves.")
    max_new_tokens: int = Field(512, ge=1, description="Longest answer (tokens).")


class EndpointRef(Spec):
    """A model behind an OpenAI-compatible API."""

    label: str = Field(description='"http://host:port/v1#name".')
    url: str = Field(description="Up to and with /v1.")
    model: str
    key: str = Field("", description="env:NAME or file:PATH that holds the API key; empty: none is sent.")


class BenchModel(Spec):
    """A model to bench: `model` is loaded, or `endpoint` is asked."""

    source: Literal["version", "base", "folder", "adapter", "endpoint"]
    model: ModelRef | None = None
    endpoint: EndpointRef | None = None
    trained: tuple[DatasetRef, ...] = Field(
        (), description="Datasets it was trained on: overlapping items do not count."
    )

    @property
    def label(self) -> str:
        found = self.model or self.endpoint
        assert found is not None
        return found.label


class Suite(Spec):
    """A task of lm-evaluation-harness, defined in a local folder of YAML files."""

    task: str
    folder: Path


class BenchJob(Spec):
    """Answer benchmarks and suites with models, each result published as it is done (mailbox/benches)."""

    kind: Literal["bench"] = "bench"
    models: tuple[BenchModel, ...]
    benchmarks: tuple[Path, ...] = Field((), description="Benchmark files.")
    suites: tuple[Suite, ...] = ()
    settings: BenchSettings = BenchSettings()
    again: bool = Field(False, description="Also what has a result already.")
    evaluate: EvaluateSpec = EvaluateSpec()
    train: TrainSpec = Field(TrainSpec(), description="Precision, threads and max_length, as in training.")
    answers: Path = Field(description="Folder of kept answers (Workspace.answers).")
    output: Path = Field(description="Folder of results (Workspace.benches).")
    root: Path = Field(description="The lab: where a key's file: begins.")


class InfluenceJob(Spec):
    """Measure what each dataset does to a model's loss on target items. Nothing is published, the model stays as it is."""

    kind: Literal["influence"] = "influence"
    model: ModelRef
    method: Literal["loss", "gradient"]
    datasets: tuple[DatasetRef, ...]
    targets: tuple[ItemSet, ...]
    trained: tuple[DatasetRef, ...] = Field(
        (), description="What the model was trained on: overlapping items don't count."
    )
    rows: int = Field(128, ge=6, description="Rows of each dataset, in each draw.")
    draws: int = Field(3, ge=1, description="loss: how often rows are drawn anew.")
    items: int = Field(200, ge=1, description="Most items of each target.")
    seed: int = Field(0, ge=0, description="Which rows and items are drawn.")
    evaluate: EvaluateSpec = EvaluateSpec()
    train: TrainSpec = Field(TrainSpec(), description="Threads and max_length, as in training.")


class MergeJob(Spec):
    """Fold an adapter into its base, check the outputs, publish plain weights."""

    kind: Literal["merge"] = "merge"
    model: ModelRef
    output: Path
    train: TrainSpec


Job = Annotated[
    IntakeJob
    | TrainJob
    | EvaluateJob
    | PrepareJob
    | GenerateJob
    | ChatJob
    | PreviewJob
    | BenchJob
    | InfluenceJob
    | MergeJob,
    Field(discriminator="kind"),
]
_adapter: TypeAdapter[Job] = TypeAdapter(Job)


def read_job(folder: Path) -> Job:
    """Return the job of a task folder."""
    return _adapter.validate_json((folder / JOB).read_bytes())
