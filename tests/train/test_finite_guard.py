import math

import pytest
import torch
from train_lab import losses, make_job, messages, tensors, train

from stoker.errors import NonFinite, WorkerExit
from stoker.spec.recovery import RecoverSpec
from stoker.train import conductor, segment
from stoker.train.optimizer import GuardedAdamW
from stoker.train.tensors import write_tensors
from stoker.train.trainer import SegmentTrainer


def in_the_loss(model, bad, step):
    compute = SegmentTrainer.compute_loss

    def spoiled(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        loss = compute(self, model, inputs, return_outputs, num_items_in_batch)
        return loss * bad if step() else loss

    return SegmentTrainer, "compute_loss", spoiled


def in_a_gradient(model, bad, step):
    def spoil(gradient):
        return torch.where(torch.arange(gradient.numel()).view_as(gradient) == 3, bad, gradient) if step() else gradient

    model.get_parameter("model.layers.1.mlp.up_proj.weight").register_hook(spoil)


def in_the_data(model, bad, step):
    def spoil(module, arguments, output):
        return output.index_fill(1, torch.tensor([0]), bad) if step() else output

    model.get_input_embeddings().register_forward_hook(spoil)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("where", [in_the_loss, in_a_gradient, in_the_data])
def test_a_step_that_is_not_finite_changes_no_weight_and_is_told(lab, first, monkeypatch, where, bad):
    seen = {}

    def step_is_bad():
        return seen["conductor"].progress.step in (2, 4)

    prepare, report = segment._train_segment, conductor.Conductor._report

    def spoil_then_train(run, guide, put_generators):
        seen["conductor"], seen["run"] = guide, run
        spoiled = where(run.loaded.model, bad, step_is_bad)
        if spoiled:
            monkeypatch.setattr(*spoiled)
        prepare(run, guide, put_generators)

    def compare(self, loss, norm):
        weights = {name: p.detach().clone() for name, p in seen["run"].optimizer.named.items()}
        if self.progress.step in (2, 4):
            assert all(torch.equal(weights[name], seen["weights"][name]) for name in weights)
        elif "weights" in seen:
            assert any(not torch.equal(weights[name], seen["weights"][name]) for name in weights)
        seen["weights"] = weights
        return report(self, loss, norm)

    monkeypatch.setattr(segment, "_train_segment", spoil_then_train)
    monkeypatch.setattr(conductor.Conductor, "_report", compare)
    job, folder = make_job(lab, f"{where.__name__}-{bad}", [first], checkpoint_steps=4)
    assert train(job, folder) is WorkerExit.DONE
    assert [m["step"] for m in messages(folder, "skipped")] == [3, 5]
    steps = messages(folder, "step")
    assert [step["step"] for step in steps if step["grad_norm"] is None] == [3, 5]
    assert len(losses(folder)) == steps[-1]["total_steps"]
    for checkpoint in (*(folder / "checkpoints").iterdir(), job.output):
        assert all(
            torch.isfinite(torch.from_numpy(value)).all()
            for name, value in tensors(checkpoint).items()
            if "rng" not in name
        )
    rates = [step["learning_rate"] for step in steps]
    assert rates[2] == rates[1] and rates[-1] < rates[0], "the schedule goes on over a skipped step"
    counts = {int(v) for name, v in tensors(job.output).items() if ":step." in name}
    assert counts == {len(steps) - 2}


def test_three_in_a_row_end_the_run_and_the_last_checkpoint_stays(lab, first, monkeypatch):
    prepare = segment._train_segment

    def spoil_then_train(run, guide, put_generators):
        in_the_data(run.loaded.model, math.nan, lambda: guide.progress.step >= 4)
        prepare(run, guide, put_generators)

    monkeypatch.setattr(segment, "_train_segment", spoil_then_train)
    job, folder = make_job(lab, "three", [first], checkpoint_steps=4, max_skipped_steps=3)
    job = job.model_copy(update={"recover": RecoverSpec(non_finite="skip-then-fail")})
    assert train(job, folder) is WorkerExit.NON_FINITE
    assert [m["step"] for m in messages(folder, "skipped")] == [5, 6, 7]
    last = messages(folder)[-1]
    assert last["kind"] == "finished" and last["exit"] == 77 and "max_skipped_steps" in last["reason"]
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["step-00000004"]
    assert not job.output.exists()


def test_max_skipped_steps_is_heeded(lab, first, monkeypatch):
    prepare = segment._train_segment

    def spoil_then_train(run, guide, put_generators):
        in_the_data(run.loaded.model, math.nan, lambda: guide.progress.step >= 2)
        prepare(run, guide, put_generators)

    monkeypatch.setattr(segment, "_train_segment", spoil_then_train)
    job, folder = make_job(lab, "one", [first], max_skipped_steps=1)
    job = job.model_copy(update={"recover": RecoverSpec(non_finite="skip-then-fail")})
    assert train(job, folder) is WorkerExit.NON_FINITE
    assert len(messages(folder, "skipped")) == 1


def test_the_optimizer_refuses_a_step_that_nobody_watches():
    optimizer = GuardedAdamW(
        {"w": torch.nn.Parameter(torch.zeros(2))}.items(), lr=1, betas=(0.9, 0.999), weight_decay=0
    )
    with pytest.raises(AssertionError):
        optimizer.step()


def test_weights_that_are_not_finite_are_not_written(tmp_path):
    with pytest.raises(NonFinite, match="layer holds"):
        write_tensors(tmp_path / "w.safetensors", {"layer": torch.tensor([1.0, math.nan])}, {})
    assert not (tmp_path / "w.safetensors").exists()
