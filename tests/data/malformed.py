"""Some 150 files that no one should have to handle, each with what is wrong with it.

`MALFORMED` maps a name to a function that makes the content (bombs are large: they are made when they are needed) and to
what is wrong. Each must be refused with a clear error, or taken with every bad row counted; none may end the process.
"""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
from collections.abc import Callable

import orjson
import pyarrow as pa
import zstandard
from pyarrow import parquet

Make = Callable[[], bytes]

ROWS = b"".join(
    orjson.dumps({"question": f"What is {n} and {n * 7}?", "answer": f"It is number {n * 8} of {n * 13}."}) + b"\n"
    for n in range(60)
)
ARRAY = b"[" + b",\n".join(ROWS.splitlines()) + b"]"
TABLE = b"question,answer\n" + b"".join(b'"What, is %d?","It is ""%d""."\n' % (n, n * 8) for n in range(60))


def _parquet_bytes() -> bytes:
    file = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist([orjson.loads(line) for line in ROWS.splitlines()]), file)
    return file.getvalue()


def _arrow_bytes() -> bytes:
    file, table = io.BytesIO(), pa.Table.from_pylist([orjson.loads(line) for line in ROWS.splitlines()])
    with pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    return file.getvalue()


def _zip_bytes(content: bytes = ROWS, name: str = "rows.jsonl") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return file.getvalue()


BASES: dict[str, Make] = {
    "rows.jsonl": lambda: ROWS,
    "rows.json": lambda: ARRAY,
    "rows.csv": lambda: TABLE,
    "rows.parquet": _parquet_bytes,
    "rows.arrow": _arrow_bytes,
    "rows.jsonl.gz": lambda: gzip.compress(ROWS),
    "rows.jsonl.zst": lambda: zstandard.compress(ROWS),
    "rows.zip": _zip_bytes,
}
_DAMAGES: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "first-byte": ("only its first byte", lambda data: data[:1]),
    "first-hundred": ("cut after 100 bytes", lambda data: data[:100]),
    "half": ("cut in the middle", lambda data: data[: len(data) // 2]),
    "last-byte-gone": ("its last 3 bytes are missing", lambda data: data[:-3]),
    "head-gone": ("its first 5 bytes are missing", lambda data: data[5:]),
    "garbage-before": ("40 random bytes before it", lambda data: bytes(range(128, 168)) + data),
    "zeros-inside": (
        "zero bytes in the middle",
        lambda data: data[: len(data) // 2] + bytes(64) + data[len(data) // 2 :],
    ),
    "ones-inside": (
        "0xFF bytes in the middle",
        lambda data: data[: len(data) // 2] + b"\xff" * 64 + data[len(data) // 2 :],
    ),
    "flipped": (
        "every 97th byte flipped",
        lambda data: bytes(b ^ 0x55 if i % 97 == 50 else b for i, b in enumerate(data)),
    ),
    "reversed": ("backwards", lambda data: data[::-1]),
    "twice-packed": ("packed inside itself", lambda data: gzip.compress(gzip.compress(data))),
}


def _deep(depth: int) -> bytes:
    return b'{"question": ' + b'{"a":' * depth + b"1" + b"}" * depth + b', "answer": "b"}\n'


def _bomb_zip() -> bytes:
    return _zip_bytes(b"0" * (300 << 20))


def _nested_zip() -> bytes:
    content = ROWS
    for level in range(5):
        content = _zip_bytes(content, f"level{level}.zip" if level else "rows.jsonl")
    return content


def _parquet_bomb() -> bytes:
    file = io.BytesIO()
    table = pa.table({"text": pa.array(["a" * (1 << 20)] * 2000).dictionary_encode()})
    parquet.write_table(table, file, compression="zstd")
    return file.getvalue()


def _lying_zip() -> bytes:
    content = bytearray(_zip_bytes())
    place = content.rindex(b"PK\x01\x02")
    content[place + 24 : place + 28] = struct.pack("<I", 7)
    return bytes(content)


def _encrypted_zip() -> bytes:
    content = bytearray(_zip_bytes())
    content[6] |= 1
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    return bytes(content)


_SINGLE: dict[str, tuple[str, Make]] = {
    "empty.jsonl": ("nothing at all", lambda: b""),
    "spaces.json": ("white space", lambda: b" \n\t\r\n" * 50),
    "bom-only.csv": ("a byte order mark and nothing else", lambda: b"\xef\xbb\xbf"),
    "bom16-only.txt": ("a UTF-16 mark and nothing else", lambda: b"\xff\xfe"),
    "empty-array.json": ("an empty array", lambda: b"[]"),
    "empty-object.json": ("an empty object", lambda: b"{}"),
    "null.json": ("null", lambda: b"null"),
    "number.json": ("a number", lambda: b"17"),
    "string.json": ("a string", lambda: b'"words"'),
    "array-of-numbers.json": ("an array of numbers", lambda: b"[1, 2, 3]"),
    "array-of-arrays.json": ("an array of arrays", lambda: b"[[1], [2]]"),
    "array-of-nulls.jsonl": ("nulls", lambda: b"null\n" * 40),
    "splits.json": ("two arrays: which is it?", lambda: orjson.dumps({"train": [{"text": "a"}], "test": [{"text": "b"}]})),
    "unknown-keys.jsonl": ("keys of no known format", lambda: b'{"foo": "a", "bar": "b"}\n' * 40),
    "no-answers.jsonl": ("questions alone", lambda: b'{"question": "a"}\n' * 40),
    "null-answers.jsonl": ("answers that are null", lambda: b'{"question": "a", "answer": null}\n' * 40),
    "empty-answers.jsonl": ("answers that are empty", lambda: b'{"question": "a", "answer": "  "}\n' * 40),
    "wrong-types.jsonl": ("answers that are objects", lambda: b'{"question": "a", "answer": {"x": 1}}\n' * 40),
    "empty-messages.jsonl": ("no turns", lambda: b'{"messages": []}\n' * 40),
    "messages-of-strings.jsonl": ("turns that are strings", lambda: b'{"messages": ["a", "b"]}\n' * 40),
    "no-assistant.jsonl": ("no answer in the turns", lambda: b'{"messages": [{"role": "user", "content": "a"}]}\n' * 40),
    "unknown-role.jsonl": ("a role that no one has", lambda: b'{"messages": [{"role": "king", "content": "a"}]}\n' * 40),
    "all-weight-0.jsonl": (
        "nothing to train",
        lambda: b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0}]}\n' * 40,
    ),
    "images.jsonl": (
        "pictures", lambda: b'{"messages": [{"role": "user", "content": [{"type": "image_url"}]}, {"role": "assistant", "content": "b"}]}\n' * 40,
    ),
    "nan.jsonl": ("NaN", lambda: b'{"question": "a", "answer": NaN}\n' * 40),
    "infinity.jsonl": ("a number too large", lambda: b'{"question": "a", "answer": 1e999}\n' * 40),
    "surrogates.jsonl": ("lone surrogates", lambda: b'{"question": "a", "answer": "\\ud800"}\n' * 40),
    "single-quotes.jsonl": ("Python's quotes", lambda: b"{'question': 'a', 'answer': 'b'}\n" * 40),
    "trailing-comma.json": ("a comma too many", lambda: ARRAY[:-1] + b",]"),
    "missing-comma.json": ("a comma too few", lambda: ARRAY.replace(b",\n", b"\n", 1)),
    "comments.json": ("comments", lambda: b"// rows\n" + ARRAY),
    "two-documents.json": ("two documents", lambda: ARRAY + b"\n" + ARRAY),
    "wrong-bracket.json": ("the wrong bracket at the end", lambda: ARRAY[:-1] + b"}"),
    "open-string.json": ("a string that does not end", lambda: ARRAY.replace(b'60."', b"60.")),
    "deep-100.jsonl": ("nested 100 deep", lambda: _deep(100) * 40),
    "deep-100000.jsonl": ("nested 100,000 deep", lambda: _deep(100_000)),
    "deep-array.json": ("a million brackets", lambda: b"[" * 1_000_000),
    "deep-closed.json": ("brackets in brackets", lambda: b"[" * 100_000 + b"]" * 100_000),
    "long-line.jsonl": ("a line of 50 MB", lambda: b'{"question": "a", "answer": "' + b"x" * (50 << 20) + b'"}\n'),
    "long-line-cut.jsonl": ("a line of 50 MB that does not end", lambda: b'{"question": "a", "answer": "' + b"x" * (50 << 20)),
    "long-string.json": ("an element of 50 MB", lambda: b'[{"question": "a", "answer": "' + b"x" * (50 << 20) + b'"}]'),
    "long-number.jsonl": ("a number of a million digits", lambda: b'{"question": "a", "answer": ' + b"7" * 1_000_000 + b"}\n"),
    "many-keys.jsonl": ("100,000 keys", lambda: orjson.dumps({f"k{n}": n for n in range(100_000)}) + b"\n"),
    "many-shapes.jsonl": ("other keys in each row", lambda: b"".join(b'{"k%d": 1}\n' % n for n in range(20_000))),
    "latin1.jsonl": ("a code page", lambda: '{"question": "größer", "answer": "schöner"}\n'.encode("latin-1") * 40),
    "mixed-encodings.jsonl": ("two encodings", lambda: ROWS + '{"question": "é", "answer": "é"}\n'.encode("latin-1")),
    "utf16-odd.txt": ("UTF-16 of an odd number of bytes", lambda: "words and words".encode("utf-16") + b"x"),
    "utf16-surrogate.txt": ("half a surrogate pair in UTF-16", lambda: "words ".encode("utf-16") + b"\x00\xd8\x41\x00" * 20),
    "utf32-bad.txt": ("UTF-32 beyond Unicode", lambda: "words".encode("utf-32") + b"\xff\xff\xff\x7f"),
    "overlong.jsonl": ("overlong UTF-8", lambda: b'{"question": "a", "answer": "\xc0\xaf"}\n' * 40),
    "nul.txt": ("zero bytes in text", lambda: b"words \0 and words\n" * 40),
    "open-quote.csv": ("a quote that does not end", lambda: b'question,answer\na,"b\n' + b"c,d\n" * 5000),
    "open-quote-early.csv": ("a header with an open quote", lambda: b'"question,answer\n' + b"a,b\n" * 5000),
    "quote-inside.csv": ("a stray quote", lambda: b'question,answer\na,"b"c\n' * 40),
    "ragged.csv": ("rows of changing length", lambda: b"question,answer\n" + b"a\nb,c,d\ne,f,g,h\n" * 40),
    "repeated-header.csv": ("a column twice", lambda: b"question,question\na,b\n" * 40),
    "empty-header.csv": ("a header of nothing", lambda: b",,\na,b,c\n" * 40),
    "header-only.csv": ("a header alone", lambda: b"question,answer\n"),
    "no-header.csv": ("no header", lambda: b"a,b\n1,2\n" * 40),
    "huge-field.csv": ("a field of 50 MB", lambda: b"question,answer\na," + b"x" * (50 << 20) + b"\n"),
    "cr-only.csv": ("old Macintosh line ends", lambda: b"question,answer\ra,b\rc,d\r"),
    "python-lists.csv": ("Python lists in cells", lambda: b"id,messages\n" + b"1,\"[{'role': 'user'}]\"\n" * 40),
    "binary.csv": ("a program named csv", lambda: b"\x7fELF" + bytes(range(256)) * 40),
    "picture.jsonl": ("a picture", lambda: b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40),
    "book.jsonl": ("a PDF", lambda: b"%PDF-1.7\n" + b"1 0 obj\n" * 40),
    "lab.jsonl": ("a database", lambda: b"SQLite format 3\0" + bytes(4096)),
    "weights.jsonl": ("a pickle", lambda: b"\x80\x04\x95" + bytes(range(256))),
    "model.gguf": ("a model", lambda: b"GGUF" + bytes(4096)),
    "sheet.xlsx": ("an Excel file", lambda: _zip_bytes(b"<xml/>", "xl/workbook.xml")),
    "archive.7z": ("a 7z archive", lambda: b"7z\xbc\xaf\x27\x1c" + bytes(400)),
    "archive.xz": ("xz data", lambda: b"\xfd7zXZ\x00" + bytes(400)),
    "archive.bz2": ("bzip2 data", lambda: b"BZh91AY&SY" + bytes(400)),
    "page.html": ("a web page", lambda: b"<!doctype html><p>words</p>" * 40),
    "data.xml": ("XML", lambda: b"<rows><row/></rows>" * 40),
    "config.yaml": ("YAML", lambda: b"question: a\nanswer: b\n" * 40),
    "bomb.gz": ("300 MB in 300 KB", lambda: gzip.compress(b"0" * (300 << 20), 1)),
    "bomb.zst": ("300 MB in 30 KB", lambda: zstandard.compress(b"0" * (300 << 20))),
    "bomb.zip": ("300 MB in 300 KB", _bomb_zip),
    "bomb.parquet": ("2 GB in 2 KB", _parquet_bomb),
    "bomb.jsonl.gz": ("a line of 300 MB, packed", lambda: gzip.compress(b'{"a": "' + b"x" * (300 << 20) + b'"}', 1)),
    "nested.zip": ("zips in zips", _nested_zip),
    "lying.zip": ("a wrong size in its directory", _lying_zip),
    "encrypted.zip": ("a password", _encrypted_zip),
    "empty.zip": ("no members", lambda: b"PK\x05\x06" + bytes(18)),
    "empty-member.zip": ("an empty member", lambda: _zip_bytes(b"")),
    "hidden.zip": ("hidden files alone", lambda: _zip_bytes(ROWS, ".rows.jsonl")),
    "many.zip": ("2,000 members", lambda: _many_zip(2000)),
    "empty.gz": ("nothing, packed", lambda: gzip.compress(b"")),
    "window.zst": ("a window of 2 GB", lambda: b"\x28\xb5\x2f\xfd\x00\xa8" + bytes(64)),
    "footer.parquet": ("a footer beyond the file", lambda: b"PAR1" + bytes(64) + struct.pack("<I", 1 << 30) + b"PAR1"),
    "magic-only.parquet": ("its magic alone", lambda: b"PAR1PAR1"),
    "magic-only.arrow": ("its magic alone", lambda: b"ARROW1\0\0ARROW1"),
    "message-length.arrow": ("a message of 2 GB", lambda: b"\xff\xff\xff\xff\xff\xff\xff\x7f" + bytes(64)),
    "images.parquet": ("columns of raw bytes", lambda: _image_parquet()),
}  # fmt: skip


def _many_zip(num: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(num):
            archive.writestr(f"{number}.jsonl", b"{}")
    return file.getvalue()


def _image_parquet() -> bytes:
    file = io.BytesIO()
    parquet.write_table(pa.table({"prompt": ["a"] * 40, "image": [b"\x89PNG"] * 40}), file)
    return file.getvalue()


def _damaged(base: Make, damage: Callable[[bytes], bytes]) -> Make:
    return lambda: damage(base())


MALFORMED: dict[str, tuple[Make, str]] = {
    **{name: (make, what) for name, (what, make) in _SINGLE.items()},
    **{
        f"{damage}.{name}": (_damaged(make, change), f"{name}: {what}")
        for name, make in BASES.items()
        for damage, (what, change) in _DAMAGES.items()
    },
}
