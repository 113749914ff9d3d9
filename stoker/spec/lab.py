"""The settings of a lab: what `stoker.toml` may say. One class a section, one home for each default.

`stoker config schema` prints this page's descriptions; `stoker config set` checks against it. Values that depend
on the model or the machine are "auto" here and become numbers in the run's resolved `job.json`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from stoker.spec.alerting import AlertsSpec
from stoker.spec.base import Spec
from stoker.spec.costs import CostSpec
from stoker.spec.guarding import GuardSpec
from stoker.spec.hardware import HardwareSpec
from stoker.spec.place import PlaceSpec
from stoker.spec.presets import PRESETS
from stoker.spec.recovery import RecoverSpec
from stoker.spec.reports import ReportSpec
from stoker.spec.serving import ServeSpec
from stoker.spec.watching import WatchSpec

Auto = Literal["auto"]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class ModelSpec(Spec):
    """[model]: what is trained, and how its weights change."""

    base: str = Field(
        "tiny", description='Base model: a hub id, a model folder, or "tiny" (made from scratch, offline).'
    )
    revision: str = Field("main", description="Commit, tag or branch of a hub base; a commit pins it.")
    name: str = Field("main", pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$", description="Name of the model line.")
    method: Literal["auto", "full", "lora", "qlora"] = Field(
        "auto", description='Which weights are trained; "auto": full for tiny, LoRA otherwise. qlora needs a GPU.'
    )
    lora_rank: int = Field(16, ge=1, le=1024, description="Rank of the LoRA matrices.")
    lora_alpha: float = Field(32.0, gt=0, le=4096, description="LoRA scale; the update is multiplied by alpha / rank.")
    lora_dropout: float = Field(0.0, ge=0, lt=1, description="Dropout before the LoRA matrices, a probability.")
    lora_targets: str | tuple[str, ...] = Field(
        "all-linear", description='Module names that get LoRA matrices, or "all-linear".'
    )


class IntakeSpec(Spec):
    """[intake]: how files come in."""

    settle_seconds: float = Field(
        2.0, ge=0, le=3600, description="A file is taken once its size and mtime stood still this long (seconds)."
    )
    force_polling: bool = Field(False, description="Poll the inbox instead of file events: for network mounts.")
    poll_seconds: float = Field(
        1.0, gt=0, le=3600, description="How often the inbox is looked at when polling (seconds)."
    )
    max_file_megabytes: float = Field(4096.0, gt=0, description="A larger file is rejected (megabytes).")
    max_expansion: float = Field(
        200.0,
        ge=1,
        description="A packed file that unpacks to more than 64 MB and this many times its size is rejected.",
    )
    max_line_megabytes: float = Field(8.0, gt=0, le=1024, description="A longer line is quarantined (megabytes).")
    encoding: str = Field(
        "auto",
        description='What a text file that is neither UTF-8 nor UTF-16 is read as, for example "cp1252". "auto": it is rejected, with a preview.',
    )
    memory_megabytes: int = Field(
        4096, ge=256, description="Address space of the process that parses files (megabytes)."
    )
    allow_unproven: bool = Field(
        False, description="Train on a file too small to hold anything out in a lab that has nothing else to judge by."
    )

    @field_validator("encoding")
    @classmethod
    def _is_an_encoding(cls, value: str) -> str:
        if value != "auto":
            try:
                "".encode(value)
            except LookupError:
                raise ValueError(f"{value!r} is no known encoding; for example cp1252") from None
        return value


class CheckSpec(Spec):
    """[check]: what a file must be like. Its score is 100 less what each finding costs."""

    stop_below: int = Field(
        70, ge=0, le=100, description="A file with a lower score waits for a person: data approve ID."
    )
    warn_below: int = Field(90, ge=0, le=100, description="A file with a lower score trains, with a warning.")
    task: Literal["auto", "extraction", "generation"] = Field(
        "auto",
        description='Whether answers may stand in the prompt: "extraction" yes, "generation" no, "auto" as most rows do.',
    )
    repair_mojibake: bool = Field(
        False, description="Repair text that was decoded with the wrong encoding, and say so."
    )


class SplitSpec(Spec):
    """[split]: the sealed share of each file. Applies to files accepted from now on; what is sealed stays sealed."""

    fraction: Share = Field(0.05, description="Share of a file's clusters that is sealed.")
    min_clusters: int = Field(16, ge=0, description="At least this many clusters of a file are sealed.")
    max_clusters: int = Field(500, ge=0, description="At most this many clusters of a file are sealed.")
    similarity: Share = Field(0.7, description="Rows whose Jaccard similarity reaches this are near duplicates.")
    boilerplate_share: Share = Field(
        0.2, description="Word sequences in more than this share of the rows are boilerplate and do not count."
    )


class TrainSpec(Spec):
    """[train]: one run. A preset fills what is not set."""

    preset: Literal["fast", "balanced", "thorough"] = Field(
        "balanced", description="Named set of values for these keys."
    )
    epochs: int = Field(1, ge=1, le=100, description="How often each new row is trained, exactly.")
    replay: float = Field(
        0.5, ge=0, le=10, description="Earlier rows mixed in, as a share of the number of new rows times epochs."
    )
    max_length: Annotated[int, Field(ge=16, le=1_048_576)] | Auto = Field(
        "auto",
        description='Longest row in tokens; longer rows are quarantined, never cut. "auto": the model\'s context, at most 4096.',
    )
    learning_rate: Annotated[float, Field(gt=0, le=1.0)] | Auto = Field(
        "auto", description='Peak rate; typical LoRA 1e-5 to 5e-4. "auto": 2e-4 for LoRA, 2e-5 for full, 5e-3 for tiny.'
    )
    batch_tokens: Annotated[int, Field(ge=16, le=16_777_216)] | Auto = Field(
        "auto",
        description='Tokens in one optimizer step, padding included. "auto": 8192 on a GPU, 4096 on a CPU, 1024 for tiny.',
    )
    batch_size: Annotated[int, Field(ge=1, le=65_536)] | Auto = Field(
        "auto", description='Rows in one optimizer step, whatever their length. "auto": as many as batch_tokens holds.'
    )
    accumulation: Annotated[int, Field(ge=1, le=1024)] | Auto = Field(
        "auto",
        description="Parts a step is split into; doubled on out-of-memory. "
        '"auto": parts of about 2048 tokens on a CPU, whose caches they suit; 1 on a GPU.',
    )
    warmup_fraction: Share = Field(0.03, description="Share of the steps in which the rate rises to its peak.")
    decay_fraction: Share = Field(0.2, description="Last share of the steps in which the rate falls to zero.")
    weight_decay: float = Field(0.01, ge=0, le=1, description="AdamW weight decay.")
    max_grad_norm: float = Field(1.0, gt=0, description="Gradients are scaled down to this global norm.")
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of order, dropout and initial weights.")
    precision: Literal["auto", "bf16", "fp32"] = Field("auto", description="bf16 where the hardware has it, else fp32.")
    threads: Annotated[int, Field(ge=1, le=1024)] | Auto = Field(
        "auto", description='CPU threads of the training worker. "auto": every core.'
    )
    packing: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Rows packed end to end without attending to each other; auto: on a GPU with variable-length attention.",
    )
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2"] = Field(
        "auto", description="Attention kernel; auto: eager on a CPU, flash attention where installed, else sdpa."
    )
    gradient_checkpointing: Literal["auto", "on", "off"] = Field(
        "auto", description="Recompute activations to save memory; auto: only when memory needs it."
    )
    checkpoint_seconds: float = Field(120.0, gt=0, description="A checkpoint at least this often (seconds).")
    checkpoint_steps: int = Field(0, ge=0, description="Also a checkpoint every so many steps; 0: by time alone.")
    max_skipped_steps: int = Field(3, ge=1, description="This many non-finite steps in a row end the run.")
    layer_norms_every: int = Field(
        10, ge=0, description="Gradient norms of each layer every so many steps, before clipping; 0: never."
    )
    eval_every: Annotated[int, Field(ge=0)] | Auto = Field(
        "auto",
        description="Held-out loss every so many steps and after the last one; 0: never. "
        '"auto": about ten times a run, less often or never where that would take more than half of watch_share.',
    )
    eval_rows: int = Field(64, ge=1, description="At most so many sealed rows are measured, the same ones each time.")
    sample_every: Annotated[int, Field(ge=0)] | Auto = Field(
        "auto",
        description='Sealed rows are answered every so many steps and after the last one; 0: never. "auto": ten times a run.',
    )
    sample_rows: int = Field(4, ge=0, le=256, description="How many sealed rows are answered, the same ones each time.")
    sample_tokens: int = Field(96, ge=1, le=4096, description="Longest answer of a sample (tokens).")
    watch_share: Share = Field(
        0.02,
        description="What is measured beside training, samples and automatic evaluations included, takes at most this share of the "
        "steps' time; 1: whatever it costs.",
    )
    early_stopping: int = Field(
        0,
        ge=0,
        description="The run ends after so many evaluations in a row without a gain, with the best weights; 0: off. "
        "They are made whatever they cost.",
    )
    early_stopping_on: str = Field(
        "heldout",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        description='What a run stops early by: "heldout" loss, or the score on the benchmark of this name.',
    )
    min_delta: float = Field(
        0.0,
        ge=0,
        description="An evaluation is a gain when it is better than the best by more than this (nats per token, or score).",
    )

    @field_validator("early_stopping")
    @classmethod
    def _has_evaluations(cls, value: int, info: ValidationInfo) -> int:
        if value and info.data.get("eval_every") == 0:
            raise ValueError("needs evaluations to go by, and train.eval_every is 0")
        return value

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {**PRESETS.get(str(given.get("preset", "balanced")), {}), **given}


class EvaluateSpec(Spec):
    """[evaluate]: what decides whether a version is better."""

    target: str = Field("heldout", description='What a version must win on: "heldout" or a benchmark\'s name.')
    guards: tuple[str, ...] = Field((), description="Benchmarks a version must not lose on.")
    forgetting: Literal["off", "tell", "guard"] = Field(
        "tell",
        description='Whether each version answers the basics (small tasks that ship with Stoker): "tell": what it has forgotten '
        'is told. "guard": it also keeps the version back. "off": not asked.',
    )
    margin: float = Field(
        0.02, ge=0, description="A guard may fall by this much (score points; nats for NLL) and still hold."
    )
    confidence: float = Field(
        0.95, gt=0.5, lt=1, description="Level of intervals; 1 - confidence is the error rate of a verdict."
    )
    resamples: int = Field(10_000, ge=200, le=1_000_000, description="Bootstrap resamples.")
    max_new_tokens: int = Field(512, ge=1, description="Longest answer generated (tokens).")
    batch_size: int = Field(32, ge=1, description="Prompts answered at once.")
    heldout_answers: int = Field(
        64, ge=0, description="How many held-out rows are also answered and compared as text; all are scored by NLL."
    )
    run_code: Literal["off", "sandbox"] = Field(
        "off",
        description='Whether the scorer "code" may run what a model wrote: in bubblewrap, without network and files.',
    )
    code_seconds: float = Field(10.0, gt=0, le=600, description="Longest run of one answer's code (seconds).")
    code_megabytes: int = Field(512, ge=64, description="Memory of one answer's code (megabytes).")


class RetentionSpec(Spec):
    """[retention]: how long state is kept. Versions, pinned or not, are never deleted by themselves."""

    checkpoints: int = Field(2, ge=1, description="Valid checkpoints kept per run, besides the best.")
    disk_share: float = Field(
        0.5, gt=0, le=1, description="Checkpoints of ended runs go when the lab uses more of the disk."
    )


class WorkerSpec(Spec):
    """[worker]: the processes that train and evaluate."""

    idle_seconds: float = Field(300.0, ge=0, description="A worker without work stays warm this long (seconds).")
    growth_megabytes: int = Field(1024, ge=64, description="A worker whose memory grew by more than this is replaced.")
    other_nice: int = Field(15, ge=0, le=19, description="Niceness of everything that runs beside training.")
    max_attempts: int = Field(3, ge=1, description="Crashes without progress after which a job is parked.")
    backoff_seconds: float = Field(5.0, ge=0, description="Wait before the first retry of a crash; doubles each time.")


class LabSpec(Spec):
    """The whole of stoker.toml."""

    lab: PlaceSpec = PlaceSpec()
    model: ModelSpec = ModelSpec()
    intake: IntakeSpec = IntakeSpec()
    check: CheckSpec = CheckSpec()
    split: SplitSpec = SplitSpec()
    train: TrainSpec = TrainSpec()
    evaluate: EvaluateSpec = EvaluateSpec()
    retention: RetentionSpec = RetentionSpec()
    worker: WorkerSpec = WorkerSpec()
    guard: GuardSpec = GuardSpec()
    watch: WatchSpec = WatchSpec()
    report: ReportSpec = ReportSpec()
    hardware: HardwareSpec = HardwareSpec()
    cost: CostSpec = CostSpec()
    alerts: AlertsSpec = AlertsSpec()
    recover: RecoverSpec = RecoverSpec()
    serve: ServeSpec = ServeSpec()
