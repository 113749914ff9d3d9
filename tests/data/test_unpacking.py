"""gzip, zstandard and zip: what comes out is what was put in, and bombs end at the limits."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import pytest
import zstandard
from reading import opened, read, refusal

ROWS = b"".join(b'{"text": "row %d"}\n' % number for number in range(50))


def zipped(members: dict[str, bytes], **options: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (gzip.compress(ROWS), "rows.jsonl.gz"),
        (gzip.compress(ROWS[:500]) + gzip.compress(ROWS[500:]), "two members"),
        (zstandard.compress(ROWS), "rows.jsonl.zst"),
        (zstandard.compress(ROWS[:500]) + zstandard.compress(ROWS[500:]), "two frames"),
        (zipped({"rows.jsonl": ROWS}), "rows.zip"),
        (gzip.compress(ROWS), "named-as-something-else.csv"),
    ],
)
def test_packed_rows_are_read_whatever_the_name(tmp_path: Path, content: bytes, name: str) -> None:
    records = read(tmp_path, content, name)
    assert [record.value["text"] for record in records] == [f"row {number}" for number in range(50)]
    assert [record.line for record in records] == list(range(1, 51))


def test_a_zip_gives_its_members_in_order_and_leaves_out_what_a_packer_adds(tmp_path: Path) -> None:
    content = zipped(
        {
            "b.jsonl": b'{"text": "b"}\n', "a/": b"", "a/c.csv": b"prompt,completion\nc,d\n", "__MACOSX/._b.jsonl": b"x",
            ".DS_Store": b"\0\0", "README.md": b"How this was made.\n",
        }
    )  # fmt: skip
    found = opened(tmp_path, content, "all.zip")
    assert [(source.member, source.kind) for source in found.sources] == [
        ("b.jsonl", "json"),
        ("a/c.csv", "delimited"),
    ]
    assert found.notes == ["not read, as it stands beside data files: README.md"]


def test_a_path_in_a_zip_means_nothing(tmp_path: Path) -> None:
    assert len(read(tmp_path, zipped({"../../evil.jsonl": ROWS, "/etc/other.jsonl": ROWS}))) == 100
    assert not (tmp_path.parent / "evil.jsonl").exists()


def test_a_bomb_ends_at_the_limit_of_expansion(tmp_path: Path) -> None:
    bomb = b'{"text": "' + b"a" * (96 << 20) + b'"}'
    for content in (gzip.compress(bomb, 9), zstandard.compress(bomb), zipped({"rows.jsonl": bomb})):
        refused = refusal(tmp_path, content, max_line_megabytes=128)
        assert "200 times its size" in refused.what and "max_expansion" in refused.remedy
        assert read(tmp_path, content, max_line_megabytes=128, max_expansion=1e6)[0].problem is None


def test_decoded_bytes_count_against_the_file_limit(tmp_path: Path) -> None:
    rows = ROWS * 4000
    assert "unpacks to more than" in refusal(tmp_path, gzip.compress(rows), max_file_megabytes=2).what


def test_what_a_zip_says_of_sizes_is_not_believed(tmp_path: Path) -> None:
    content = bytearray(zipped({"rows.jsonl": b"a" * (1 << 20)}))
    place = content.rindex(b"PK\x01\x02")
    content[place + 24 : place + 28] = (10).to_bytes(4, "little")
    assert "damaged" in refusal(tmp_path, bytes(content), "rows.zip").what


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress, lambda rows: zipped({"rows.jsonl": rows})])
def test_damage_is_named(tmp_path: Path, pack) -> None:  # type: ignore[no-untyped-def]
    content = pack(ROWS * 100)
    for broken in (content[: len(content) // 2], content[:30] + bytes([content[30] ^ 0xFF]) + content[31:]):
        refused = refusal(tmp_path, broken, "rows.packed")
        assert "damaged" in refused.what or "half a file" in refused.what


def test_one_layer_is_unpacked(tmp_path: Path) -> None:
    twice = gzip.compress(gzip.compress(ROWS))
    assert "packed twice" in refusal(tmp_path, twice).what
    assert "packed twice" in refusal(tmp_path, zipped({"inner.zip": zipped({"rows.jsonl": ROWS})})).what
    assert "empty zip" in refusal(tmp_path, zipped({})).what
    assert "1,001 files" in refusal(tmp_path, zipped({f"{number}.jsonl": b"{}" for number in range(1001)})).what
