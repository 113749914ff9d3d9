"""The base model's folder: made (`tiny`), found (a folder) or downloaded (a hub id), checked, and hashed.

Only safetensors weights are taken, and no code from a model's folder ever runs. `base_sha256` identifies the base in
every version made from it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson

from stoker.data.rows import Row
from stoker.durable import disk_full_named, sha256_file
from stoker.errors import SettingError, TemporaryError
from stoker.model.tiny import ensure_tiny, is_tiny
from stoker.spec.jobs import BaseRef

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_DOWNLOADED = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "*.txt", "*.model"]
_DOWNLOADED_TO_TOKENIZE = [pattern for pattern in _DOWNLOADED if "safetensors" not in pattern]
_TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "merges.txt", "chat_template.jinja", "chat_template.json",
)  # fmt: skip
_VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json")

_file_hashes: dict[tuple[Path, int, int], str] = {}


def ensure_base(base: BaseRef, tiny_folder: Path, rows: Iterable[Row], seed: int) -> Path:
    """Return the base's folder, complete and checked. `rows` are read only when a tiny base has to be made."""
    if is_tiny(base):
        ensure_tiny(tiny_folder, rows, seed)
        return tiny_folder
    folder = base.folder or _find_or_download(base)
    check_base(folder, base.name)
    return folder


def ensure_tokenizer(base: BaseRef) -> Path:
    """Return a folder with the base's tokenizer and config, checked; of a hub id only these are downloaded."""
    folder = base.folder or _find_or_download(base, _DOWNLOADED_TO_TOKENIZE)
    _check_code(folder, base.name)
    _check_tokenizer(folder, base.name)
    return folder


def check_base(folder: Path, name: str) -> None:
    """Raise SettingError unless the folder holds a model that can be loaded without running its code."""
    _check_code(folder, name)
    if not any(folder.glob("*.safetensors")):
        pickled = next((path.name for pattern in ("*.bin", "*.pt", "*.pth") for path in folder.glob(pattern)), None)
        raise _error(
            name, f"only pickled weights ({pickled})" if pickled else "no weights (*.safetensors)",
            "a pickle can run any code when it is read, so only safetensors are loaded",
            "convert it: model.save_pretrained(folder) with transformers on a machine you can lose" if pickled
            else "download it again; an interrupted download leaves such folders",
        )  # fmt: skip
    _check_tokenizer(folder, name)


def _check_code(folder: Path, name: str) -> None:
    if not folder.is_dir():
        raise _error(name, f"there is no folder {folder}", "a base is a model folder on this machine", "check the path")
    config = _read_config(folder, name)
    if "auto_map" in config:
        raise _error(
            name, "it brings its own Python code (auto_map in config.json)",
            "code from a model's folder never runs here (trust_remote_code is off)",
            "choose a base whose architecture transformers knows",
        )  # fmt: skip


def _check_tokenizer(folder: Path, name: str) -> None:
    if not any((folder / file).is_file() for file in _VOCABULARIES):
        raise _error(
            name, f"no tokenizer ({', '.join(_VOCABULARIES)})", "the tokenizer turns rows into the model's tokens",
            "copy the tokenizer files of the model it was made from into the folder",
        )  # fmt: skip
    if not _has_template(folder):
        raise _error(
            name, "no chat template", "the template says how a conversation becomes tokens; a guessed one trains wrongly",
            "choose an instruction-tuned base, or put a chat_template.jinja into the folder",
        )  # fmt: skip


def base_sha256(folder: Path) -> str:
    """Return the identity of a base: a hash over its config, weight and tokenizer files, by name and content."""
    names = {"config.json", "generation_config.json", *_TOKENIZER_FILES}
    whole = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.is_file() and (path.name in names or path.suffix == ".safetensors"):
            whole.update(f"{path.name}\0{_file_sha256(path)}\n".encode())
    return whole.hexdigest()


def _file_sha256(path: Path) -> str:
    """Hash a file once per process and content: eight billion parameters take a minute."""
    stat = path.stat()
    key = (path.resolve(), stat.st_size, stat.st_mtime_ns)
    if key not in _file_hashes:
        _file_hashes[key] = sha256_file(path)
    return _file_hashes[key]


def _find_or_download(base: BaseRef, patterns: list[str] = _DOWNLOADED) -> Path:
    folder = Path(base.name).expanduser()
    if folder.is_dir():
        return folder.resolve()
    if base.name.startswith(("/", ".", "~")) or not _HUB_ID.fullmatch(base.name):
        raise _error(
            base.name, "there is no such folder", 'a base is a model folder, a hub id like "Qwen/Qwen3-0.6B", or "tiny"',
            "run: stoker config set model.base FOLDER",
        )  # fmt: skip
    return _download(base, patterns)


def _download(base: BaseRef, patterns: list[str]) -> Path:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    remedy = "run: hf auth login, or check the name on huggingface.co"
    try:
        with disk_full_named(Path(constants.HF_HUB_CACHE)):
            return Path(snapshot_download(base.name, revision=base.revision, allow_patterns=patterns))
    except GatedRepoError as error:
        raise _error(base.name, "the hub asks for a login", "its owner lets only known accounts in", remedy) from error
    except RevisionNotFoundError as error:
        raise _error(
            base.name, f"the hub knows no revision {base.revision!r} of it", "model.revision is a commit, tag or branch",
            'run: stoker config set model.revision main',
        ) from error  # fmt: skip
    except RepositoryNotFoundError as error:
        raise _error(base.name, "the hub knows no such model", "private ones need a login", remedy) from error
    except (LocalEntryNotFoundError, OSError) as error:
        raise TemporaryError(
            f"the base {base.name!r} can't be downloaded ({error}); it is not on this machine yet. "
            'Without a network, set model.base to a model folder or to "tiny"',
            retry_after_seconds=60,
        ) from error


def _read_config(folder: Path, name: str) -> dict[str, Any]:
    try:
        config = orjson.loads((folder / "config.json").read_bytes())
    except FileNotFoundError:
        raise _error(
            name, f"no config.json in {folder}", "a model folder holds config.json, *.safetensors and a tokenizer",
            "point model.base at the folder that holds them; an adapter's folder is not a base",
        ) from None  # fmt: skip
    except orjson.JSONDecodeError as error:
        raise _error(
            name, f"config.json is not JSON ({error})", "it describes the model", "download it again"
        ) from None
    return config if isinstance(config, dict) else {}


def _has_template(folder: Path) -> bool:
    if (folder / "chat_template.jinja").is_file() or (folder / "chat_template.json").is_file():
        return True
    settings = folder / "tokenizer_config.json"
    if not settings.is_file():
        return False
    content = orjson.loads(settings.read_bytes())
    return bool(isinstance(content, dict) and content.get("chat_template"))


def _error(name: str, what: str, why: str, remedy: str) -> SettingError:
    return SettingError(f"model.base = {name!r}: {what}", why, remedy)
