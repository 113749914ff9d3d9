"""From the words for a model ("main", "main/v2", "@champion", "base") to what a worker loads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stoker.errors import NotFound

if TYPE_CHECKING:
    from stoker.spec.jobs import ModelRef
    from stoker.store.reader import Reader


def model_ref(reader: Reader, reference: str) -> ModelRef:
    """Return the model that `reference` means; "base" is the base of the settings."""
    from stoker.durable import read_manifest
    from stoker.registry.lines import base_ref
    from stoker.spec.jobs import ModelRef
    from stoker.spec.lab import ModelSpec
    from stoker.spec.reading import read_settings

    workspace = reader.workspace
    if reference == "base":
        base = base_ref(workspace, read_settings(workspace.settings).model)
        if base.folder is not None and not base.folder.is_dir():
            raise NotFound("the base is not made yet", "tiny is made from the lab's first data", "train a file first")
        return ModelRef(label="base", base=base, weights_sha256=f"base:{base.name}@{base.revision}")
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
