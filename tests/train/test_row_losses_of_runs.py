import numpy as np
import pytest
from train_lab import as_parent, assert_same_version, history, losses, make_job, messages, train

from stoker.data.dataset import Dataset
from stoker.durable import read_manifest
from stoker.errors import InvalidInput, WorkerExit
from stoker.mailbox.row_losses import ROW_LOSSES
from stoker.train import conductor
from stoker.train.row_losses import row_losses


def ids(dataset):
    return {int(row.id, 16) for row in Dataset(dataset.folder).train_rows()}


def test_a_rows_sequences_in_a_step_are_one_visit():
    owners = [(0, "a", 2), (1, "a", 1), (0, "b", 0), (0, "a", 1)]
    found = row_losses(owners, np.array([1.0, 2.0, 4.0, 8.0], np.float32))
    assert found == [(0, "a", 11.0, 3), (1, "a", 4.0, 1)]


@pytest.mark.parametrize(
    "settings", [{}, {"accumulation": 3}, {"packing": "on", "attention": "sdpa"}], ids=["whole", "parts", "packed"]
)
def test_every_visit_of_every_row_is_recorded_and_adds_up_to_the_steps_loss(lab, first, second, settings):
    name = "visits-" + "-".join(settings)
    job, folder = make_job(lab, name, [second], replay=[first], epochs=2, **settings)
    assert train(job, folder) is WorkerExit.DONE
    visits = history(folder, second)
    assert sorted(row for row, *_ in visits) == sorted([*ids(second)] * 2)
    replayed = history(folder, first)
    assert {row for row, *_ in replayed} <= ids(first) and len(replayed) == 36
    by_step: dict[int, list[tuple[float, int]]] = {}
    for _, step, nll, tokens in [*visits, *replayed]:
        by_step.setdefault(step, []).append((nll, tokens))
    for step, loss in losses(folder).items():
        nll, tokens = (sum(column) for column in zip(*by_step[step], strict=True))
        assert nll / tokens == pytest.approx(loss, rel=1e-4)


def test_a_run_that_dies_between_checkpoints_records_each_visit_once(lab, first, second, monkeypatch):
    whole, whole_folder = make_job(lab, "whole-history", [second], replay=[first])
    train(whole, whole_folder)
    job, folder = make_job(lab, "cut-history", [second], replay=[first], checkpoint_steps=3)

    class Dead(BaseException):
        pass

    def die(self, loss, norm):
        facts = report(self, loss, norm)
        if self.progress.step == 6:
            raise Dead
        return facts

    report = conductor.Conductor._report
    with monkeypatch.context() as patch:
        patch.setattr(conductor.Conductor, "_report", die)
        with pytest.raises(Dead):
            train(job, folder)
    assert max(step for _, step, _, _ in history(folder, second)) == 5
    with (folder / ROW_LOSSES).open("ab") as file:
        file.write(b'{"step":6,"rows":[[0,"')
    again, folder = make_job(lab, "cut-history", [second], replay=[first], fence=2)
    assert train(again, folder) is WorkerExit.DONE
    assert [m["resumed_from"] for m in messages(folder, "started")] == [None, 3]
    for dataset in (first, second):
        assert history(folder, dataset) == history(whole_folder, dataset)
    assert_same_version(whole.output, again.output)


def test_a_row_removed_by_review_is_trained_neither_as_new_nor_as_replay(lab, first, second):
    gone = sorted(f"{row:016x}" for row in ids(first))[:20]
    first_less = first.model_copy(update={"removed": tuple(gone)})
    gone_new = sorted(f"{row:016x}" for row in ids(second))[:5]
    second_less = second.model_copy(update={"removed": tuple(gone_new)})
    parent, parent_folder = make_job(lab, "less", [first_less])
    assert train(parent, parent_folder) is WorkerExit.DONE
    assert {row for row, *_ in history(parent_folder, first)} == ids(first) - {int(row, 16) for row in gone}
    assert read_manifest(parent.output)["rows"] == 28
    assert messages(parent_folder, "quarantined") == [], "they are counted already"
    job, folder = make_job(lab, "less-replay", [second_less], replay=[first_less], parent=as_parent(parent), version=2)
    assert train(job, folder) is WorkerExit.DONE
    replayed = {row for row, *_ in history(folder, first)}
    assert replayed and replayed <= ids(first) - {int(row, 16) for row in gone}
    assert {row for row, *_ in history(folder, second)} == ids(second) - {int(row, 16) for row in gone_new}


def test_a_removal_changes_the_proof_and_a_run_that_had_begun_keeps_its_rows(lab, first):
    job, folder = make_job(lab, "full-proof", [first])
    train(job, folder)
    gone = tuple(sorted(f"{row:016x}" for row in ids(first))[:47])
    less, less_folder = make_job(lab, "less-proof", [first.model_copy(update={"removed": gone})])
    train(less, less_folder)
    assert (folder / "mask_proof.txt").read_text() != (less_folder / "mask_proof.txt").read_text()
    everything = first.model_copy(update={"removed": tuple(f"{row:016x}" for row in ids(first))})
    none, none_folder = make_job(lab, "no-proof", [everything])
    with pytest.raises(InvalidInput, match="removed by review"):
        train(none, none_folder)
