import orjson
import pytest
import torch
from train_lab import as_parent, assert_same_version, losses, make_dataset, make_job, messages, tensors, train

from stoker.durable import read_manifest, verify_folder
from stoker.errors import InvalidInput, NotAllowed, WorkerExit
from stoker.mailbox.control import send_control
from stoker.model.resident import Resident
from stoker.train import conductor, line
from stoker.train.plan import load_plan

LORA = {"method": "lora", "model": {"lora_dropout": 0.1}}


def stop_after(monkeypatch, step, kind="pause"):
    """Have the run asked to end after a step, as a person would."""
    report = conductor.Conductor._report

    def then_ask(self, loss, norm):
        facts = report(self, loss, norm)
        if self.progress.step == step:
            send_control(self._outbox.folder, kind)
        return facts

    monkeypatch.setattr(conductor.Conductor, "_report", then_ask)


def test_a_run_publishes_a_version_that_verifies_and_says_what_it_is(lab, first):
    job, folder = make_job(lab, "facts", [first], epochs=2)
    assert train(job, folder) is WorkerExit.DONE
    facts = verify_folder(job.output)
    plan = load_plan(folder / "plan.npz")
    assert facts["run"] == "facts" and facts["datasets"] == [first.id] and facts["method"] == "full"
    assert facts["rows"] == 96 and facts["steps"] == plan.total_steps == len(losses(folder))
    assert facts["settings"]["learning_rate"] == 5e-3 and facts["settings"]["batch_tokens"] == 192
    assert facts["versions"]["torch"] == torch.__version__ and len(facts["tokenizer_sha256"]) == 64
    steps = messages(folder, "step")
    assert sum(step["rows"] for step in steps) == 96
    assert sum(step["tokens"] for step in steps) == int(plan.tokens.sum())
    assert steps[-1]["loss"] < 0.8 * steps[0]["loss"] and steps[-1]["epoch"] == 2.0
    assert "⟦" in (folder / "mask_proof.txt").read_text()
    last = messages(folder)[-1]
    assert last["kind"] == "finished" and last["exit"] == 0 and last["output"] == str(job.output)
    assert messages(folder, "result")[0]["weights_sha256"] == facts["weights_sha256"]


def test_the_same_job_gives_the_same_weights_and_another_seed_others(lab, first):
    outputs = []
    for run, seed in (("same-a", 0), ("same-b", 0), ("same-c", 1)):
        job, folder = make_job(lab, run, [first], seed=seed)
        train(job, folder)
        outputs.append(job.output)
    assert_same_version(outputs[0], outputs[1])
    assert read_manifest(outputs[0])["weights_sha256"] != read_manifest(outputs[2])["weights_sha256"]


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("full", {}),
        ("lora", LORA),
        ("split", {"accumulation": 3}),
        ("recomputed", {"gradient_checkpointing": "on"}),
    ],
)
def test_a_paused_run_goes_on_bit_for_bit(lab, first, second, monkeypatch, name, settings):
    replay = [first] if name != "split" else []
    whole, whole_folder = make_job(lab, f"whole-{name}", [second], replay=replay, **settings)
    assert train(whole, whole_folder) is WorkerExit.DONE
    run = f"cut-{name}"
    for fence, cut in ((1, 2), (2, 5), (3, None)):
        cut_job, cut_folder = make_job(lab, run, [second], replay=replay, fence=fence, **settings)
        with monkeypatch.context() as patch:
            if cut:
                stop_after(patch, cut)
            assert train(cut_job, cut_folder) is (WorkerExit.PAUSED if cut else WorkerExit.DONE)
        assert cut is None or messages(cut_folder)[-1]["reason"] == "pause"
    assert [m["resumed_from"] for m in messages(cut_folder, "started")] == [None, 2, 5]
    assert len(messages(cut_folder, "step")) == len(losses(cut_folder)), "no step was done twice"
    assert losses(cut_folder) == losses(whole_folder)
    assert_same_version(whole.output, cut_job.output)


def test_a_stop_says_so(lab, second, monkeypatch):
    job, folder = make_job(lab, "stopped", [second])
    stop_after(monkeypatch, 2, "stop")
    assert train(job, folder) is WorkerExit.PAUSED
    assert messages(folder)[-1]["reason"] == "stop"


def test_a_line_goes_on_in_memory_exactly_as_from_disk(lab, first, second):
    for name, settings, method in (("full", {}, "full"), ("lora", LORA, "lora")):
        parent, parent_folder = make_job(lab, f"parent-{name}", [first], **settings)
        resident = Resident()
        train(parent, parent_folder, resident)
        ref = as_parent(parent, method)
        warm, warm_folder = make_job(lab, f"warm-{name}", [second], parent=ref, version=2, replay=[first], **settings)
        train(warm, warm_folder, resident)
        assert any("in memory" in m["text"] for m in messages(warm_folder, "event"))
        line.forget_live()
        cold, cold_folder = make_job(lab, f"cold-{name}", [second], parent=ref, version=2, replay=[first], **settings)
        train(cold, cold_folder)
        assert not any("in memory" in m["text"] for m in messages(cold_folder, "event"))
        assert losses(warm_folder) == losses(cold_folder)
        assert_same_version(warm.output, cold.output)


def test_the_parents_moments_are_continued(lab, first, second):
    parent, parent_folder = make_job(lab, "with-moments", [first])
    train(parent, parent_folder)
    child, child_folder = make_job(lab, "child", [second], parent=as_parent(parent), version=2)
    train(child, child_folder)
    steps = {name: value for name, value in tensors(child.output).items() if ":step." in name}
    total = read_manifest(parent.output)["steps"] + read_manifest(child.output)["steps"]
    assert {int(value) for value in steps.values()} == {total}


def test_evaluation_finds_the_trained_model_in_memory_with_the_numbers_of_a_fresh_load(lab, first):
    job, folder = make_job(lab, "resident", [first])
    resident = Resident()
    train(job, folder, resident)
    from stoker.model.device import resolve_hardware

    hardware = resolve_hardware(job.train)
    kept = resident.get(as_parent(job), job.base_folder, hardware)
    fresh = Resident().get(as_parent(job), job.base_folder, hardware)
    ids = torch.arange(20)[None]
    assert torch.equal(kept.model(ids).logits, fresh.model(ids).logits)


def test_a_version_that_is_already_there_is_not_trained_again(lab, first):
    job, folder = make_job(lab, "twice", [first])
    train(job, folder)
    before = len(messages(folder, "step"))
    again, folder = make_job(lab, "twice", [first], fence=2)
    assert train(again, folder) is WorkerExit.DONE
    assert len(messages(folder, "step")) == before
    assert messages(folder)[-1]["exit"] == 0 and messages(folder, "result")[-1]["steps"] == before
    other, other_folder = make_job(lab, "other", [first])
    with pytest.raises(NotAllowed, match="already published by twice"):
        train(other.model_copy(update={"output": job.output}), other_folder)


def test_a_damaged_version_is_published_again_from_the_last_checkpoint(lab, first):
    job, folder = make_job(lab, "redo", [first])
    train(job, folder)
    weights = read_manifest(job.output)["weights_sha256"]
    (job.output / "model.safetensors").write_bytes(b"half")
    steps = len(messages(folder, "step"))
    assert train(job, folder) is WorkerExit.DONE
    assert verify_folder(job.output)["weights_sha256"] == weights
    assert len(messages(folder, "step")) == steps
    assert messages(folder, "damaged")[0]["file"] == "model.safetensors"


def test_rows_that_do_not_fit_are_quarantined_with_their_line_and_never_cut(lab):
    data = make_dataset(lab, 9, rows=40, longest=60)
    job, folder = make_job(lab, "long", [data], max_length=120)
    assert train(job, folder) is WorkerExit.DONE
    told = messages(folder, "quarantined")[0]
    assert told["dataset"] == data.id and {row["code"] for row in told["rows"]} == {"too-long"}
    assert all(row["line"] >= 1 and "never cut" in row["reason"] for row in told["rows"])
    assert read_manifest(job.output)["rows"] == 40 - len(told["rows"]) > 0
    none, none_folder = make_job(lab, "none-fit", [data], max_length=16)
    with pytest.raises(InvalidInput, match=r"no row of file9\.jsonl"):
        train(none, none_folder)


def test_checkpoints_come_by_steps_and_only_the_wanted_ones_stay(lab, first):
    job, folder = make_job(lab, "often", [first], checkpoint_steps=3)
    train(job, folder)
    total = read_manifest(job.output)["steps"]
    steps = [m["step"] for m in messages(folder, "checkpoint")]
    assert steps == [*range(3, total, 3), *([total] if total % 3 == 0 else []), *([total] if total % 3 else [])]
    kept = sorted(int(path.name[5:]) for path in (folder / "checkpoints").glob("step-*"))
    best = [m["step"] for m in messages(folder, "checkpoint") if m["is_best"]][-1]
    assert kept == sorted({*steps[-2:], best})


def test_checkpoints_come_by_time(lab, second):
    job, folder = make_job(lab, "by-time", [second], checkpoint_seconds=1e-6)
    train(job, folder)
    assert [m["step"] for m in messages(folder, "checkpoint")] == list(range(1, read_manifest(job.output)["steps"] + 1))


def test_parts_of_a_step_change_nothing_but_rounding(lab, first):
    found = []
    for parts in (1, 4):
        job, folder = make_job(lab, f"parts-{parts}", [first], accumulation=parts)
        train(job, folder)
        found.append(list(losses(folder).values()))
    assert found[0] == pytest.approx(found[1], rel=2e-3)


def test_packed_steps_train_too(lab, first):
    job, folder = make_job(lab, "packed", [first], packing="on", attention="sdpa")
    assert train(job, folder) is WorkerExit.DONE
    found = list(losses(folder).values())
    assert found[-1] < 0.8 * found[0]
    assert messages(folder, "plan")[0]["fill"] == 1.0


@pytest.mark.parametrize(
    ("setting", "value", "where"),
    [
        ("learning_rate", 1e-4, "loss"),
        ("weight_decay", 0.5, "weights"),
        ("max_grad_norm", 0.01, "weights"),
        ("warmup_fraction", 0.5, "rate"),
        ("decay_fraction", 0.9, "rate"),
    ],
)
def test_each_setting_of_the_optimizer_changes_the_run(lab, first, by_default, setting, value, where):
    job, folder = make_job(lab, f"set-{setting}", [first], **{setting: value})
    train(job, folder)
    assert outcome(job, folder)[where] != by_default[where]


@pytest.fixture(scope="module")
def by_default(lab, first):
    line.forget_live()
    job, folder = make_job(lab, "by-default", [first])
    train(job, folder)
    return outcome(job, folder)


def outcome(job, folder):
    steps = messages(folder, "step")
    return {
        "loss": [step["loss"] for step in steps],
        "rate": [step["learning_rate"] for step in steps],
        "weights": read_manifest(job.output)["weights_sha256"],
    }


def test_another_plan_begins_the_run_anew_and_says_so(lab, first, monkeypatch):
    job, folder = make_job(lab, "replanned", [first])
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        train(job, folder)
    other, folder = make_job(lab, "replanned", [first], fence=2, seed=5)
    assert train(other, folder) is WorkerExit.DONE
    assert any(m["code"] == "plan.changed" for m in messages(folder, "event"))
    assert "plan_sha256" in messages(folder, "damaged")[0]["reason"]
    assert [m["resumed_from"] for m in messages(folder, "started")] == [None, None]


def test_the_manifest_is_strict_json(lab, first):
    job, folder = make_job(lab, "json", [first])
    train(job, folder)
    orjson.loads((job.output / "manifest.json").read_bytes())


def test_rows_that_the_current_version_of_their_file_lacks_are_neither_trained_nor_replayed(lab, first, second):
    rows = [orjson.loads(line) for line in (first.folder / "rows.jsonl").read_bytes().splitlines()]
    keeper = lab / "keeper"
    keeper.mkdir()
    kept = [{"row": row["id"], "state": "duplicate", "line": 1} for row in rows[:5]]
    kept.append({"row": rows[7]["id"], "state": "quarantined", "line": 2})
    (keeper / "ledger.jsonl").write_bytes(b"\n".join(map(orjson.dumps, kept)) + b"\n")
    replaced = first.model_copy(update={"kept_by": (keeper,)})
    job, folder = make_job(lab, "replaced", [second], replay=[replaced])
    assert train(job, folder) is WorkerExit.DONE
    facts = read_manifest(job.output)
    assert facts["replay_rows"] > 5
    plan = load_plan(folder / "plan.npz")
    replayed = {sequence for step in range(plan.total_steps) for dataset, sequence in plan.items(step) if dataset == 1}
    assert replayed == {0, 1, 2, 3, 4}
    told = [message for message in messages(folder, "event") if message["code"] == "rows.replaced"]
    assert [message["data"]["rows"] for message in told] == [len(rows) - 5]
    alone, alone_folder = make_job(lab, "alone", [replaced])
    train(alone, alone_folder)
    assert read_manifest(alone.output)["rows"] == 5
