"""From the words for a model to what a worker loads or an endpoint is asked for.

A version ("main", "main/v2", "@champion"), "base", a folder of weights, an adapter's folder (its base is what its
adapter_config.json names), or a model behind an OpenAI-compatible API ("http://host:port/v1#name").
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from stoker.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from stoker.spec.jobs import BaseRef, BenchModel, ModelRef
    from stoker.store.reader import Reader
    from stoker.workspace import Workspace

_ADAPTER, _CONFIG, _ADAPTER_WEIGHTS = "adapter_config.json", "config.json", "adapter_model.safetensors"


def model_ref(reader: Reader, reference: str) -> ModelRef:
    """Return the model that `reference` means; "base" is the base of the settings. Endpoints: see `stoker.bench.address`."""
    workspace = reader.workspace
    if reference == "base":
        return _lab_base(workspace)
    folder = model_folder(reference)
    if folder is not None:
        return _adapter(workspace, folder) if (folder / _ADAPTER).is_file() else _weights(folder)
    return _version(reader, reference)


def bench_model(reader: Reader, reference: str, key: str = "") -> BenchModel:
    """Return what a benchmark is run on, with the datasets that a version was trained on.

    `key` is where the API key of an endpoint is: env:NAME or file:PATH.
    """
    from stoker.bench.address import endpoint_ref, is_endpoint
    from stoker.spec.jobs import BenchModel, DatasetRef

    if is_endpoint(reference):
        return BenchModel(source="endpoint", endpoint=endpoint_ref(reference, key))
    ref = model_ref(reader, reference)
    if reference == "base":
        return BenchModel(source="base", model=ref)
    folder = model_folder(reference)
    if folder is not None:
        return BenchModel(source="adapter" if ref.folder is not None else "folder", model=ref)
    datasets = reader.version_detail(*reader.resolve_version(reference))["datasets"]
    names = {one["id"]: one["name"] for one in reader.datasets()}
    trained = tuple(
        DatasetRef(id=str(id), folder=reader.workspace.dataset(id), name=names.get(id, str(id)))
        for id in map(str, datasets)
        if reader.workspace.dataset(id).is_dir()
    )
    return BenchModel(source="version", model=ref, trained=trained)


def model_folder(reference: str) -> Path | None:
    """Return the model folder that `reference` is, or None when it is the name of a version; a bad path is an error."""
    path = Path(reference).expanduser()
    is_model = (path / _CONFIG).is_file() or (path / _ADAPTER).is_file()
    if is_model:
        return path.resolve()
    if not reference.startswith(("/", ".", "~")):
        return None
    if not path.is_dir():
        raise NotFound(f"there is no folder {reference}", "", "check the path")
    raise InvalidInput(
        f"{reference} holds no model", f"a model's folder has {_CONFIG}, an adapter's {_ADAPTER}", "check the path"
    )


def _lab_base(workspace: Workspace) -> ModelRef:
    from stoker.registry.lines import base_ref
    from stoker.spec.jobs import ModelRef
    from stoker.spec.reading import read_settings

    base = base_ref(workspace, read_settings(workspace.settings).model)
    if base.folder is not None and not base.folder.is_dir():
        raise NotFound("the base is not made yet", "tiny is made from the lab's first data", "train a file first")
    return ModelRef(label="base", base=base, weights_sha256=f"base:{base.name}@{base.revision}")


def _version(reader: Reader, reference: str) -> ModelRef:
    from stoker.durable import read_manifest
    from stoker.registry.lines import base_ref
    from stoker.spec.jobs import ModelRef
    from stoker.spec.lab import ModelSpec

    workspace = reader.workspace
    model, version = reader.resolve_version(reference)
    detail = reader.version_detail(model, version)
    folder = workspace.version(model, version)
    recorded = read_manifest(folder)["base"]
    spec = ModelSpec(base=recorded["name"], revision=recorded.get("revision") or "main")
    return ModelRef(
        label=f"{model}/v{version}",
        base=base_ref(workspace, spec),
        folder=folder,
        method=detail["method"],
        weights_sha256=detail["weights_sha256"],
    )


def _weights(folder: Path) -> ModelRef:
    """Return a folder of full weights: it is a base of its own."""
    from stoker.spec.jobs import BaseRef, ModelRef

    base = BaseRef(name=str(folder), folder=folder)
    return ModelRef(label=str(folder), base=base, weights_sha256=f"folder:{folder}")


def _adapter(workspace: Workspace, folder: Path) -> ModelRef:
    from stoker.durable import sha256_file
    from stoker.spec.jobs import ModelRef

    weights = folder / _ADAPTER_WEIGHTS
    if not weights.is_file():
        raise InvalidInput(
            f"{folder} has no {_ADAPTER_WEIGHTS}", "only safetensors are loaded: a pickle can run any code",
            "save the adapter again with safetensors",
        )  # fmt: skip
    base = _adapters_base(workspace, folder, _read_object(folder / _ADAPTER))
    return ModelRef(label=str(folder), base=base, folder=folder, method="lora", weights_sha256=sha256_file(weights))


def _adapters_base(workspace: Workspace, folder: Path, config: dict[str, Any]) -> BaseRef:
    """Return the base an adapter names: a folder, the lab's base, or one that the hub's cache holds."""
    from stoker.registry.lines import base_ref, downloaded_base
    from stoker.spec.jobs import BaseRef
    from stoker.spec.reading import read_settings

    name = config.get("base_model_name_or_path")
    if not isinstance(name, str) or not name:
        raise InvalidInput(f"{folder / _ADAPTER} names no base", "base_model_name_or_path is missing", "add its folder")
    for path in (Path(name).expanduser(), folder / name):
        if (path / _CONFIG).is_file():
            return BaseRef(name=name, folder=path.resolve())
    lab = base_ref(workspace, read_settings(workspace.settings).model)
    if lab.name == name:
        return lab
    base = BaseRef(name=name, revision=str(config.get("revision") or "main"))
    if (found := downloaded_base(base)) is not None:
        return base.model_copy(update={"folder": found})
    raise NotFound(
        f"the base {name!r} of the adapter {folder} is not here", "it is no folder, not this lab's base and not in the hub's cache",
        f"write its folder into base_model_name_or_path of {folder / _ADAPTER}",
    )  # fmt: skip


def _read_object(path: Path) -> dict[str, Any]:
    import orjson

    try:
        found = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"{path} is not JSON ({error})", "it describes the adapter", "save it again") from None
    if not isinstance(found, dict):
        raise InvalidInput(f"{path} holds no object", "it describes the adapter", "save it again")
    return found
