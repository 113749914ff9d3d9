import pytest
import torch
from train_lab import losses, make_dataset, make_job, messages, train

from stoker.errors import InvalidInput, WorkerExit
from stoker.spec.lab import TrainSpec
from stoker.train import fit, line, segment
from stoker.train.fit import at_least, is_out_of_memory, tighter
from stoker.train.progress import Memory
from stoker.train.trainer import SegmentTrainer


class Told:
    def __init__(self):
        self.texts = []

    def event(self, severity, code, text, **data):
        self.texts.append(text)


@pytest.fixture(autouse=True)
def forgotten():
    line.forget_live()
    fit._fitted.clear()


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return tmp_path_factory.mktemp("tight")


@pytest.fixture(scope="module")
def data(lab):
    return make_dataset(lab, 1)


def only_fits(num_rows, monkeypatch, is_checkpointing=None):
    """A machine whose memory holds so many rows at once, and says so as torch's CPU allocator does."""
    choose = segment.choose_loss

    def choose_in_little_memory(model, batch, hardware):
        inner = choose(model, batch, hardware)

        def loss(model, batch, num_items):
            recomputes = is_checkpointing is None or fit._is_checkpointing(model) == is_checkpointing
            if batch["input_ids"].shape[0] > num_rows or not recomputes:
                raise RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory")
            return inner(model, batch, num_items)

        return loss

    monkeypatch.setattr(segment, "choose_loss", choose_in_little_memory)


def test_what_fits_at_once_stays_as_it_is(lab, data):
    job, folder = make_job(lab, "roomy", [data])
    assert train(job, folder) is WorkerExit.DONE
    plan = messages(folder, "plan")[0]
    assert plan["accumulation"] == 1 and plan["gradient_checkpointing"] is False


@pytest.mark.parametrize(("settings", "parts"), [({}, 2), ({"accumulation": 1}, 1), ({"accumulation": 3}, 3)])
def test_a_large_step_is_computed_in_parts_that_suit_a_cpu(lab, data, settings, parts):
    job, folder = make_job(lab, f"large-{len(settings)}-{parts}", [data], batch_tokens=4096, **settings)
    assert train(job, folder) is WorkerExit.DONE
    assert messages(folder, "plan")[0]["accumulation"] == parts


def test_out_of_memory_recomputes_first_and_then_splits_and_trains_the_same(lab, data, monkeypatch):
    plain, plain_folder = make_job(lab, "plain", [data])
    train(plain, plain_folder)
    line.forget_live()
    fit._fitted.clear()
    only_fits(3, monkeypatch)
    job, folder = make_job(lab, "tight", [data])
    assert train(job, folder) is WorkerExit.DONE
    plan = messages(folder, "plan")[0]
    assert plan["gradient_checkpointing"] is True and plan["accumulation"] in (2, 4, 8)
    events = [m["text"] for m in messages(folder, "event") if m["code"] == "memory.tight"]
    assert "again in the backward" in events[0] and "split into 2" in events[1]
    assert list(losses(folder).values()) == pytest.approx(list(losses(plain_folder).values()), rel=2e-2)


def test_recomputing_alone_may_be_enough(lab, data, monkeypatch):
    only_fits(1000, monkeypatch, is_checkpointing=True)
    job, folder = make_job(lab, "recompute", [data])
    assert train(job, folder) is WorkerExit.DONE
    assert messages(folder, "plan")[0]["accumulation"] == 1


def test_gradient_checkpointing_off_is_heeded(lab, data, monkeypatch):
    only_fits(2, monkeypatch, is_checkpointing=False)
    job, folder = make_job(lab, "off", [data], gradient_checkpointing="off")
    assert train(job, folder) is WorkerExit.DONE
    assert messages(folder, "plan")[0]["gradient_checkpointing"] is False


def test_a_row_that_never_fits_is_refused_before_step_one(lab, data, monkeypatch):
    only_fits(0, monkeypatch)
    job, folder = make_job(lab, "hopeless", [data])
    with pytest.raises(InvalidInput, match="does not fit in memory"):
        train(job, folder)
    assert messages(folder, "step") == []


def test_out_of_memory_in_the_middle_begins_a_new_segment(lab, data, monkeypatch):
    job, folder = make_job(lab, "middle", [data])
    step = SegmentTrainer.training_step

    def fails_once(self, model, inputs, num_items_in_batch=None):
        if inputs.step == 4 and not fit._is_checkpointing(model):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return step(self, model, inputs, num_items_in_batch)

    monkeypatch.setattr(SegmentTrainer, "training_step", fails_once)
    assert train(job, folder) is WorkerExit.DONE
    assert [m["step"] for m in messages(folder, "step")] == list(
        range(1, messages(folder, "plan")[0]["total_steps"] + 1)
    )


def test_a_warm_process_does_not_fit_the_same_shape_twice(lab, data, monkeypatch):
    computed = []
    compute = fit._compute
    monkeypatch.setattr(fit, "_compute", lambda *args: (computed.append(1), compute(*args)))
    for run in ("fit-1", "fit-2"):
        job, folder = make_job(lab, run, [data])
        train(job, folder)
        line.forget_live()
        if run == "fit-1":
            once = len(computed)
    assert len(computed) == once >= 1


def test_other_errors_are_not_taken_for_memory():
    assert not is_out_of_memory(RuntimeError("shape mismatch"))
    assert not is_out_of_memory(ValueError("out of memory"))
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"))


def test_the_ladder_ends_in_a_refusal():
    spec, told = TrainSpec(), Told()
    memory = Memory(1, False)
    seen = [memory]
    with pytest.raises(InvalidInput, match="never cut"):
        while True:
            memory = tighter(memory, spec, 6, told)
            seen.append(memory)
    assert seen == [Memory(1, False), Memory(1, True), Memory(2, True), Memory(4, True), Memory(8, True)]


def test_a_run_whose_worker_ran_out_of_memory_has_more_parts_but_not_more_than_rows() -> None:
    assert at_least(Memory(2, True), 8, most_rows=100) == Memory(8, True)
    assert at_least(Memory(16, False), 8, most_rows=100) == Memory(16, False)
    assert at_least(Memory(1, False), 8, most_rows=5) == Memory(5, False)
