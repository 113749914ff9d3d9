import shutil

import numpy as np
import orjson
import pytest
import torch
from safetensors.torch import load_file, save_file

from stoker.durable import MANIFEST, publish_folder, seal_folder
from stoker.errors import DiskFull, NonFinite
from stoker.train.checkpoint import MOMENTS, RNG, STATE, WEIGHTS, Checkpoints, Identity, step_name
from stoker.train.optimizer import GuardedAdamW, moment_shapes
from stoker.train.progress import Memory, Progress
from stoker.train.randomness import put_back, seed_all, take_device_states, take_host_states

FILES = [WEIGHTS, MOMENTS, RNG, STATE]


def identity(**changes):
    facts = {
        "run": "r1", "plan_sha256": "aa", "method": "full", "base_sha256": "bb", "seed": 0, "batch_tokens": 64,
        "fence": 1, "threads": 1, "precision": "fp32",
    }  # fmt: skip
    return Identity(**{**facts, **changes})


class Small:
    """A little model with an optimizer, and its checkpoints."""

    def __init__(self, folder, num_kept=9, **changes):
        torch.manual_seed(0)
        self.named = {"a.weight": torch.nn.Parameter(torch.randn(4, 3)), "a.bias": torch.nn.Parameter(torch.randn(4))}
        self.optimizer = GuardedAdamW(self.named.items(), lr=0.1, betas=(0.9, 0.999), weight_decay=0.0)
        self.checkpoints = Checkpoints(folder, identity(**changes), num_kept)
        self.progress = Progress()
        self.damages = []

    def step(self):
        for parameter in self.named.values():
            parameter.grad = torch.randn_like(parameter)
        self.optimizer.watched = torch.zeros(())
        self.optimizer.step()
        self.progress.add(1.0, 1.0, 10, 1)

    def save(self, steps=1):
        for _ in range(steps):
            self.step()
        self.progress.close_stretch()
        weights = {name: p.detach() for name, p in self.named.items()}
        return self.checkpoints.save(weights, self.optimizer.moments(), self.progress, Memory(1, False))

    def newest(self):
        shapes = {name: tuple(p.shape) for name, p in self.named.items()}
        return self.checkpoints.newest(shapes, moment_shapes(self.named.items()), self.damages.append)


def reseal(folder):
    facts = orjson.loads((folder / MANIFEST).read_bytes())
    del facts["files"]
    (folder / MANIFEST).unlink()
    seal_folder(folder, facts)


def change_tensors(folder, name, change):
    path = folder / name
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        header = file.metadata()
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata=header)
    reseal(folder)


def change_state(folder, change):
    state = orjson.loads((folder / STATE).read_bytes())
    change(state)
    (folder / STATE).write_bytes(orjson.dumps(state))
    reseal(folder)


def change_facts(folder, **changes):
    facts = orjson.loads((folder / MANIFEST).read_bytes())
    (folder / MANIFEST).write_bytes(orjson.dumps({**facts, **changes}))


def flip_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def swap(left, right):
    left_bytes, right_bytes = left.read_bytes(), right.read_bytes()
    left.write_bytes(right_bytes)
    right.write_bytes(left_bytes)


def empty_folder(folder):
    shutil.rmtree(folder)
    folder.mkdir()


def take_from_older(folder, name):
    shutil.copy(folder.with_name(step_name(1)) / name, folder / name)


def a_file_instead(folder):
    shutil.rmtree(folder)
    folder.write_text("not a folder")


DAMAGES = {
    **{f"{name} missing": (lambda f, n=name: (f / n).unlink(), name, "missing") for name in FILES},
    **{
        f"{name} cut": (lambda f, n=name: (f / n).write_bytes((f / n).read_bytes()[:-7]), name, "bytes")
        for name in FILES
    },
    **{f"{name} flipped bit": (lambda f, n=name: flip_bit(f / n), name, "SHA-256") for name in FILES},
    **{f"{name} empty": (lambda f, n=name: (f / n).write_bytes(b""), name, "bytes") for name in FILES},
    "manifest missing": (lambda f: (f / MANIFEST).unlink(), MANIFEST, "missing"),
    "manifest empty": (lambda f: (f / MANIFEST).write_bytes(b""), MANIFEST, "not JSON"),
    "manifest not JSON": (lambda f: (f / MANIFEST).write_bytes(b"{'files': "), MANIFEST, "not JSON"),
    "manifest without files": (lambda f: (f / MANIFEST).write_bytes(b"{}"), MANIFEST, "no list of files"),
    "manifest with malformed files": (lambda f: change_facts(f, files={WEIGHTS: {}}), MANIFEST, "malformed"),
    "manifest of another step": (lambda f: change_facts(f, step=7), MANIFEST, "is of step 7"),
    "another run": (lambda f: change_facts(f, run="r2"), MANIFEST, "run is r2"),
    "another plan": (lambda f: change_facts(f, plan_sha256="cc"), MANIFEST, "plan_sha256 is cc"),
    "another base": (lambda f: change_facts(f, base_sha256="cc"), MANIFEST, "base_sha256"),
    "another format": (lambda f: change_facts(f, format=0), MANIFEST, "format is 0"),
    "extra file": (lambda f: (f / "optimizer.pt").write_bytes(b"x"), "optimizer.pt", "not in the manifest"),
    "empty folder": (empty_folder, MANIFEST, "missing"),
    "a file instead of a folder": (a_file_instead, MANIFEST, "can't be read"),
    "weights and moments swapped": (lambda f: swap(f / WEIGHTS, f / MOMENTS), MOMENTS, "bytes"),
    "weights of an older step": (lambda f: take_from_older(f, WEIGHTS), WEIGHTS, "SHA-256"),
    "weights of an older step, sealed again": (
        lambda f: (take_from_older(f, WEIGHTS), reseal(f)), WEIGHTS, "belongs to step 1, not 2",
    ),
    "state of an older step, sealed again": (
        lambda f: (take_from_older(f, STATE), reseal(f)), STATE, "is not the state of step 2",
    ),
    "weights and moments swapped, sealed again": (
        lambda f: (swap(f / WEIGHTS, f / MOMENTS), reseal(f)), WEIGHTS, "belongs to kind moments",
    ),
    "weight tensor missing, sealed again": (
        lambda f: change_tensors(f, WEIGHTS, lambda t: t.pop("a.bias")), WEIGHTS, "tensor a.bias is missing",
    ),
    "moment tensor missing, sealed again": (
        lambda f: change_tensors(f, MOMENTS, lambda t: t.pop("exp_avg_sq.a.weight")), MOMENTS, "exp_avg_sq.a.weight",
    ),
    "tensor of another shape, sealed again": (
        lambda f: change_tensors(f, WEIGHTS, lambda t: t.update({"a.bias": torch.zeros(5)})), WEIGHTS, "the model has [4]",
    ),
    "unknown tensor, sealed again": (
        lambda f: change_tensors(f, WEIGHTS, lambda t: t.update(b=torch.zeros(1))), WEIGHTS, "not part of the model",
    ),
    "NaN in the weights, sealed again": (
        lambda f: change_tensors(f, WEIGHTS, lambda t: t["a.bias"].fill_(torch.nan)), WEIGHTS, "not finite",
    ),
    "random state missing, sealed again": (
        lambda f: change_tensors(f, RNG, lambda t: (t.pop("cpu"), t.update(x=torch.zeros(1)))), RNG, "cpu is missing",
    ),
    "state without progress, sealed again": (lambda f: change_state(f, lambda s: s.pop("progress")), STATE, "progress"),
    "state with an unknown entry, sealed again": (
        lambda f: change_state(f, lambda s: s["progress"].update(x=1)), STATE, "x",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_checkpoint_is_named_set_aside_and_never_loaded(tmp_path, name):
    damage, file, reason = DAMAGES[name]
    small = Small(tmp_path)
    older = small.save()
    newer = small.save()
    damage(newer.folder)
    resumed = Small(tmp_path)
    found = resumed.newest()
    assert found is not None and found.step == 1 and found.folder == older.folder
    (told,) = resumed.damages
    assert told.file == file and reason in told.reason
    assert not newer.folder.exists()
    assert newer.folder.with_name(f"damaged-{newer.folder.name}").exists()


def test_there_are_at_least_fifteen_kinds_of_damage():
    assert len(DAMAGES) >= 15


def test_what_is_loaded_is_what_was_saved(tmp_path):
    small = Small(tmp_path)
    seed_all(7)
    small.save(steps=3)
    expected = (torch.rand(3), np.random.random(2).tolist())
    found = Small(tmp_path).newest()
    assert found.step == 3 and found.differences == []
    assert all(torch.equal(found.weights[name], p) for name, p in small.named.items())
    assert all(torch.equal(found.moments[name], value) for name, value in small.optimizer.moments().items())
    assert found.progress == small.progress and found.memory == Memory(1, False)
    seed_all(1)
    put_back(found.rng, found.host_rng)
    assert torch.equal(torch.rand(3), expected[0]) and np.random.random(2).tolist() == expected[1]


def test_random_states_survive_json():
    seed_all(3)
    device, host = take_device_states(), orjson.loads(orjson.dumps(take_host_states()))
    first = torch.rand(2)
    put_back(device, host)
    assert torch.equal(first, torch.rand(2))


def test_other_threads_are_tolerated_and_told(tmp_path):
    Small(tmp_path).save()
    assert Small(tmp_path, threads=2).newest().differences == ["threads was 1, now 2"]


def test_the_last_and_the_best_stay(tmp_path):
    small = Small(tmp_path, num_kept=2)
    for _ in range(5):
        small.save()
        small.checkpoints.retain(best_step=2)
    assert [path.name for path in small.checkpoints.folders()] == [step_name(n) for n in (2, 4, 5)]


def test_a_damaged_one_does_not_count_as_kept(tmp_path):
    small = Small(tmp_path, num_kept=2)
    for _ in range(2):
        small.save()
    third = small.save()
    flip_bit(third.folder / WEIGHTS)
    small.checkpoints.retain(best_step=None)
    assert {step_name(1), step_name(2)} <= {path.name for path in small.checkpoints.folders()}


def test_a_damaged_name_that_is_taken_gets_a_number(tmp_path):
    small = Small(tmp_path)
    for _ in range(2):
        small.progress = Progress()
        flip_bit(small.save().folder / WEIGHTS)
        assert small.newest() is None
    names = sorted(path.name for path in small.checkpoints.folder.iterdir())
    assert names == ["damaged-step-00000001", "damaged-step-00000001-2"]


def test_leftovers_of_a_crash_are_swept(tmp_path):
    small = Small(tmp_path)
    with pytest.raises(ZeroDivisionError), publish_folder(small.checkpoints.folder / step_name(9), {}):
        raise ZeroDivisionError
    (small.checkpoints.folder / ".staging-step-00000009-dead").mkdir()
    Small(tmp_path)
    assert list(small.checkpoints.folder.iterdir()) == []


def test_a_save_without_room_says_so_and_publishes_nothing(tmp_path, monkeypatch):
    small = Small(tmp_path)
    monkeypatch.setattr("stoker.durable.free_bytes", lambda path: 10)
    with pytest.raises(DiskFull, match="needed, 10 free"):
        small.save()
    assert small.checkpoints.folders() == []


def test_weights_that_are_not_finite_make_no_checkpoint(tmp_path):
    small = Small(tmp_path)
    with torch.no_grad():
        small.named["a.bias"][1] = torch.inf
    with pytest.raises(NonFinite, match=r"a\.bias"):
        small.save()
    assert small.checkpoints.folders() == []
