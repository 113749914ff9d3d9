"""What most would write for each stage of intake, with the libraries they would take."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Literal

import msgspec
import orjson
from datasketch import MinHash, MinHashLSH
from rensa import RMinHash
from transformers import AutoTokenizer

_WORDS = re.compile(r"\w+")


class _Turn(msgspec.Struct):
    role: Literal["system", "user", "assistant", "tool"]
    content: str


class _Row(msgspec.Struct):
    messages: list[_Turn]


class Peers:
    def __init__(self, file: Path, model: Path, folder: Path) -> None:
        self._file, self._folder = file, folder
        self._tokenizer = AutoTokenizer.from_pretrained(model)
        with file.open("rb") as lines:
            self._messages = [orjson.loads(line)["messages"] for line in lines]

    def msgspec(self) -> int:
        decoder, num = msgspec.json.Decoder(_Row), 0
        with self._file.open("rb") as lines:
            for line in lines:
                num += len(decoder.decode(line).messages)
        return num

    def orjson(self) -> int:
        with self._file.open("rb") as lines:
            return sum(len(orjson.loads(line)) for line in lines)

    def load_dataset(self) -> int:
        import datasets

        datasets.disable_progress_bars()
        cache = tempfile.mkdtemp(dir=self._folder)
        return len(datasets.load_dataset("json", data_files=str(self._file), split="train", cache_dir=cache))

    def tokenize(self) -> int:
        num = 0
        for start in range(0, len(self._messages), 1000):
            texts = self._tokenizer.apply_chat_template(self._messages[start : start + 1000], tokenize=False)
            num += sum(map(len, self._tokenizer(texts)["input_ids"]))
        return num

    def datasketch(self) -> int:
        lsh, num = MinHashLSH(threshold=0.7, num_perm=128), 0
        for number, shingles in enumerate(self._shingles()):
            signature = MinHash(num_perm=128)
            signature.update_batch([shingle.encode() for shingle in shingles])
            num += bool(lsh.query(signature))
            lsh.insert(str(number), signature)
        return num

    def rensa(self) -> int:
        num = 0
        for shingles in self._shingles():
            signature = RMinHash(num_perm=128, seed=1)
            signature.update(shingles)
            num += len(signature.digest())
        return num

    def _shingles(self) -> list[list[str]]:
        found = []
        for turns in self._messages:
            words = _WORDS.findall(" ".join(turn["content"] for turn in turns).lower())
            found.append(list({" ".join(words[i : i + 3]) for i in range(max(1, len(words) - 2))}))
        return found
