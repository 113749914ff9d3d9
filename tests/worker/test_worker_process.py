import os
import signal
import subprocess
import sys
import time

import pytest
from train_lab import as_parent, assert_same_version, history, losses, make_dataset, make_job, messages
from worker_child import Child

from stoker.durable import read_manifest, verify_folder
from stoker.errors import Busy, WorkerExit
from stoker.locks import FileLock, is_locked
from stoker.mailbox.control import send_control
from stoker.mailbox.worker_box import WORKER_LOCK, give_exit, give_task, read_card
from stoker.spec.jobs import JOB, GenerateJob, MergeJob, PrepareJob, Sampling
from stoker.spec.lab import TrainSpec

TRAIN = TrainSpec(threads=1, precision="fp32")


@pytest.fixture
def start():
    started = []

    def begin(folder, *arguments, **options):
        started.append(Child(folder, *arguments, **options))
        return started[-1]

    yield begin
    for process in started:
        if process.is_alive:
            process.kill()


@pytest.fixture(scope="module")
def second(lab):
    return make_dataset(lab, 2, rows=24)


LORA = {"method": "lora", "model": {"lora_dropout": 0.1}, "checkpoint_steps": 3}


@pytest.fixture(scope="module")
def uninterrupted(lab, first, second):
    """One run that nothing disturbed, to compare with; made by a worker too."""
    job, folder = make_job(lab, "whole", [second], replay=[first], **LORA)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "stoker.worker", str(lab / "workers" / "whole"), "--once", str(folder)]
    subprocess.run(command, env=environment, start_new_session=True, check=True, capture_output=True, timeout=300)
    return job, folder


def test_a_worker_takes_tasks_in_order_and_the_second_run_starts_at_once(lab, first, second, start):
    """Train, prepare the next, train it, ask it, merge it, and one that is wrong; then end."""
    one, one_folder = make_job(lab, "one", [first])
    worker = start(lab / "workers" / "w1")
    give_task(worker.folder, one_folder)
    worker.await_message(one_folder, lambda m: m["kind"] == "finished")
    assert is_locked(worker.folder / WORKER_LOCK)
    card = read_card(worker.folder)
    assert card is not None and card.pid == worker.pid and card.memory_bytes > 1 << 20
    with pytest.raises(Busy):
        FileLock(worker.folder / WORKER_LOCK).acquire()

    two, two_folder = make_job(lab, "two", [second], replay=[first], parent=as_parent(one), version=2)
    ready = lab / "tasks" / "prepare"
    ready.mkdir(parents=True)
    (ready / JOB).write_text(PrepareJob(job=two).model_dump_json())
    give_task(worker.folder, ready)
    worker.await_message(ready, lambda m: m["kind"] == "finished")
    assert messages(ready)[-1]["exit"] == 0
    given = time.time()
    give_task(worker.folder, two_folder)
    worker.await_message(two_folder, lambda m: m["kind"] == "finished")
    assert any("in memory" in m["text"] for m in messages(two_folder, "event"))
    assert messages(two_folder, "step")[0]["time"] - given < 2.0  # 0.5 on an idle machine: benchmarks/joins

    asked = lab / "tasks" / "generate"
    asked.mkdir()
    prompts = ("1: turn around oak elm", "1: turn around fir")
    conversations = tuple(({"role": "user", "content": prompt},) for prompt in prompts)
    (asked / JOB).write_text(
        GenerateJob(
            model=as_parent(two), conversations=conversations, sampling=Sampling(max_new_tokens=6), is_streamed=True,
            train=TRAIN,
        ).model_dump_json()
    )  # fmt: skip
    merged = lab / "tasks" / "merge"
    merged.mkdir()
    (merged / JOB).write_text(MergeJob(model=as_parent(two), output=lab / "plain", train=TRAIN).model_dump_json())
    wrong = lab / "tasks" / "wrong"
    wrong.mkdir()
    (wrong / JOB).write_text('{"kind": "dance"}')
    for task in (asked, merged, wrong):
        give_task(worker.folder, task)
    give_exit(worker.folder)
    assert worker.wait() == 0
    assert {m["index"] for m in messages(asked, "text")} == {0, 1}
    answers = [m["text"] for m in messages(asked, "answer")]
    assert ["".join(m["text"] for m in messages(asked, "text") if m["index"] == i) for i in (0, 1)] == answers
    assert verify_folder(lab / "plain")["files"].keys() >= {"model.safetensors", "config.json"}
    assert messages(wrong)[-1]["exit"] == WorkerExit.BAD_CONFIG
    assert not is_locked(worker.folder / WORKER_LOCK)


def test_an_idle_worker_ends(lab, start):
    began = time.monotonic()
    assert start(lab / "workers" / "idle", "--idle-seconds", 0.3).wait() == 0
    assert time.monotonic() - began >= 0.3


def test_a_terminated_worker_saves_and_its_run_goes_on_bit_for_bit(lab, first, second, start, uninterrupted):
    whole, whole_folder = uninterrupted
    for fence, number in ((1, signal.SIGTERM), (2, signal.SIGINT), (3, None)):
        job, folder = make_job(lab, "terminated", [second], replay=[first], fence=fence, **LORA)
        worker = start(lab / "workers" / f"t{fence}")
        give_task(worker.folder, folder)
        if number is None:
            give_exit(worker.folder)
            assert worker.wait() == 0
            break
        worker.await_message(folder, lambda m, f=fence: m["kind"] == "step" and m["fence"] == f)
        worker.signal(number)
        assert worker.wait() == WorkerExit.PAUSED
        last = messages(folder)[-1]
        assert last["kind"] == "finished" and last["exit"] == 75 and last["reason"] == "signal"
    assert len(messages(folder, "step")) == len(losses(folder)), "no step was done twice"
    assert losses(folder) == losses(whole_folder)
    assert history(folder, second) == history(whole_folder, second)
    assert history(folder, first) == history(whole_folder, first)
    assert_same_version(whole.output, job.output)


@pytest.mark.parametrize(
    "faults",
    [
        ["checkpoint.filled:kill", "checkpoint.manifest:kill@2", "version.rename:kill"],
        ["checkpoint.rename:kill", "checkpoint.renamed:kill@2", "version.renamed:kill"],
        ["folder.retired:kill", "version.filled:kill", None],
    ],
)
def test_a_run_killed_inside_its_saves_ends_with_the_same_weights(lab, first, second, start, uninterrupted, faults):
    whole, whole_folder = uninterrupted
    run = f"killed-{faults[0].split('.')[1]}"
    for fence, fault in enumerate([*faults, None], start=1):
        job, folder = make_job(lab, run, [second], replay=[first], fence=fence, **LORA)
        status = start(lab / "workers" / f"{run}-{fence}", "--once", folder, fault=fault).wait()
        assert status == (-signal.SIGKILL if fault else 0) or job.output.exists()
    assert status == 0 and messages(folder)[-1]["exit"] == 0
    assert losses(folder) == losses(whole_folder)
    assert history(folder, second) == history(whole_folder, second)
    assert history(folder, first) == history(whole_folder, first)
    assert_same_version(whole.output, job.output)
    assert verify_folder(job.output)["steps"] == read_manifest(whole.output)["steps"]


def test_a_run_killed_at_any_moment_ends_with_the_same_weights(lab, first, second, start, uninterrupted):
    whole, whole_folder = uninterrupted
    total = read_manifest(whole.output)["steps"]
    for fence, step in ((1, 2), (2, total - 2), (3, None)):
        job, folder = make_job(lab, "killed", [second], replay=[first], fence=fence, **LORA)
        worker = start(lab / "workers" / f"killed-{fence}", "--once", folder)
        if step is None:
            assert worker.wait() == 0
        else:
            worker.await_message(folder, lambda m, s=step: m["kind"] == "step" and m["step"] >= s)
            worker.kill()
    assert losses(folder) == losses(whole_folder)
    assert history(folder, second) == history(whole_folder, second)
    assert history(folder, first) == history(whole_folder, first)
    assert_same_version(whole.output, job.output)


def test_a_full_disk_pauses_the_run_and_it_goes_on_later(lab, first, second, start, uninterrupted):
    whole, _ = uninterrupted
    job, folder = make_job(lab, "full-once", [second], replay=[first], **LORA)
    assert start(lab / "workers" / "full-1", "--once", folder, fault="checkpoint.filled:enospc").wait() == 0
    assert [m["severity"] for m in messages(folder, "event") if m["code"] == "disk-full"] == ["critical"]
    assert_same_version(whole.output, job.output)

    job, folder = make_job(lab, "full-twice", [second], replay=[first], **LORA)
    stuck = start(lab / "workers" / "full-2", "--once", folder, fault="version.filled:enospc")
    assert stuck.wait() == WorkerExit.DISK_FULL
    assert messages(folder)[-1]["exit"] == 76 and "disk full" in messages(folder)[-1]["reason"]
    assert not job.output.exists() and not list(job.output.parent.glob(".staging*full-twice*"))
    job, folder = make_job(lab, "full-twice", [second], replay=[first], fence=2, **LORA)
    assert start(lab / "workers" / "full-3", "--once", folder).wait() == 0
    assert_same_version(whole.output, job.output)


def test_a_refused_run_says_what_why_and_remedy(lab, first, start):
    _, folder = make_job(lab, "refused", [first], max_length=16)
    assert start(lab / "workers" / "refused", "--once", folder).wait() == WorkerExit.BAD_CONFIG
    last = messages(folder)[-1]
    assert last["exit"] == 78 and "file1.jsonl" in last["what"] and "max_length" in last["why"] and last["remedy"]


def test_a_crash_is_told_and_the_worker_goes_on(lab, first, start):
    """A version that is damaged can't be continued; the next task is taken all the same."""
    _, folder = make_job(lab, "broken", [first.model_copy(update={"folder": lab / "nowhere"})])
    worker = start(lab / "workers" / "crash")
    give_task(worker.folder, folder)
    worker.await_message(folder, lambda m: m["kind"] == "finished")
    last = messages(folder)[-1]
    assert last["exit"] == WorkerExit.CRASH and "FileNotFoundError" in last["reason"]
    assert "Traceback" in worker.log.read_text()
    assert worker.is_alive
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0


def test_a_request_of_an_earlier_time_is_history(lab, second, start):
    _, folder = make_job(lab, "asked-before", [second])
    send_control(folder, "pause")
    assert start(lab / "workers" / "asked-before", "--once", folder).wait() == 0
