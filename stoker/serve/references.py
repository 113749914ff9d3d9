"""What the names in `serve.models` mean now: a version, a line's champion, the base, a model folder, an adapter, a model file."""

from __future__ import annotations

from pathlib import Path

import orjson

from stoker.durable import read_manifest, sha256_file
from stoker.errors import NotFound
from stoker.registry.lines import base_ref
from stoker.serve.engines.base import Target
from stoker.spec.jobs import BaseRef, ModelRef
from stoker.spec.lab import ModelSpec
from stoker.store.reader import Reader
from stoker.workspace import Workspace

_ADAPTER, _ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


class References:
    """Resolves names against the lab, read only; asked again and again, so what was read once is kept."""

    def __init__(self, workspace: Workspace, model: ModelSpec) -> None:
        self._workspace, self._model = workspace, model
        self._reader: Reader | None = None
        self._adapters: dict[str, ModelRef] = {}

    def target(self, name: str) -> Target:
        """Return what `name` means; NotFound when it means nothing yet."""
        path = Path(name).expanduser()
        path = path if path.is_absolute() else self._workspace.root / path
        if name.startswith((".", "/", "~")) or path.is_dir() or path.is_file():
            return self._path(name, path)
        if name == "base":
            return self._base(name)
        return self._version(name)

    def _version(self, name: str) -> Target:
        reader = self.reader()
        model, number = reader.resolve_version(name)
        detail = reader.version_detail(model, number)
        folder = self._workspace.version(model, number)
        recorded = read_manifest(folder)["base"]
        spec = ModelSpec(base=recorded["name"], revision=recorded.get("revision") or "main")
        ref = ModelRef(
            label=f"{model}/v{number}",
            base=base_ref(self._workspace, spec),
            folder=folder,
            method=detail["method"],
            weights_sha256=detail["weights_sha256"],
        )
        return Target(name, ref.label, f"{ref.label}:{ref.weights_sha256}", ref)

    def _base(self, name: str) -> Target:
        base = base_ref(self._workspace, self._model)
        if base.folder is not None and not base.folder.is_dir():
            raise NotFound("the base is not made yet", "tiny is made from the lab's first data", "train a file first")
        key = f"base:{base.name}@{base.revision}"
        return Target(name, "base", key, ModelRef(label="base", base=base, weights_sha256=key))

    def _path(self, name: str, path: Path) -> Target:
        if path.is_file():
            return Target(name, path.name, f"{path}:{path.stat().st_mtime_ns}", file=path)
        if not path.is_dir():
            raise NotFound(f"there is no {path}", "serve.models names a folder that is not there", "check the path")
        weights = sorted(path.glob("*.safetensors"))
        key = f"{path}:" + ",".join(str(one.stat().st_mtime_ns) for one in weights)
        if (path / _ADAPTER).is_file():
            return Target(name, path.name, key, self._adapter(path, key))
        base = BaseRef(name=str(path), folder=path)
        return Target(name, path.name, key, ModelRef(label=path.name, base=base, weights_sha256=key))

    def _adapter(self, path: Path, key: str) -> ModelRef:
        if key not in self._adapters:
            base = str(orjson.loads((path / _ADAPTER).read_bytes()).get("base_model_name_or_path") or "")
            folder = Path(base).expanduser()
            self._adapters[key] = ModelRef(
                label=path.name,
                base=BaseRef(name=base, folder=folder if folder.is_dir() else None),
                folder=path,
                method="lora",
                weights_sha256=sha256_file(path / _ADAPTER_WEIGHTS),
            )
        return self._adapters[key]

    def reader(self) -> Reader:
        """Return the store's reader; a lab without a store is looked at anew each time."""
        if self._reader is None:
            reader = Reader(self._workspace)
            if not self._workspace.store.is_file():
                return reader
            self._reader = reader
        return self._reader
