"""Corpora that come as archives: read in order, named by their digest, refused when absent."""

from __future__ import annotations

import io
import lzma
import tarfile
from pathlib import Path

import pytest

from novum.benchmarks.nanochat.archives import (
    MAX_SOURCE_BYTES,
    archive_digest,
    linux_sources,
    parquet_texts,
)
from novum.benchmarks.nanochat.prepare import DataPlan, PreparedData, prepare
from novum.benchmarks.nanochat.tokenizer import encode, encode_here, token_bytes, train_bpe
from novum.errors import DataMissing


def write_archive(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:xz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def kernel_file(i: int) -> bytes:
    return b"".join(
        b"int probe_%d_%d(struct device *dev)\n{\n\treturn 0;\n}\n" % (i, j) for j in range(30)
    )


def test_the_linux_corpus_is_its_text_files_of_ordinary_length(tmp_path: Path) -> None:
    path = write_archive(
        tmp_path / "linux.tar.xz",
        {
            "linux/a.c": b"int a;\n",
            "linux/logo.png": b"\x89PNG",
            "linux/generated.h": b"x" * (MAX_SOURCE_BYTES + 1),
            "linux/Documentation/b.rst": b"B\n=\n",
        },
    )
    assert list(linux_sources(str(path))) == [b"int a;\n", b"B\n=\n"]


def test_an_absent_archive_says_what_to_install() -> None:
    with pytest.raises(DataMissing, match="apt-get install linux-source"):
        list(linux_sources("/nowhere/linux.tar.xz"))
    with pytest.raises(DataMissing, match="parquet shards"):
        list(parquet_texts(""))


def test_a_damaged_archive_says_what_is_wrong_and_what_to_do(tmp_path: Path) -> None:
    files = {f"l/{i}.c": kernel_file(i) for i in range(40)}
    whole = write_archive(tmp_path / "l.tar.xz", files).read_bytes()
    (tmp_path / "cut.tar.xz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.tar.xz").write_bytes(b"no archive at all " * 100)
    for name, reason in (("cut", "Unexpected end"), ("text", "not recognized")):
        with pytest.raises(DataMissing, match=f"(?s){reason}.*linux:PATH"):
            list(linux_sources(str(tmp_path / f"{name}.tar.xz")))


def test_an_archive_that_was_cut_between_two_files_is_no_whole_one(tmp_path: Path) -> None:
    header = tarfile.TarInfo("l/a.c")
    header.size = 512
    stream = lzma.compress(header.tobuf() + b"x" * 512 + bytes(1 << 16))
    assert list(linux_sources(str(write(tmp_path / "whole.tar.xz", stream)))) == [b"x" * 512]
    flawed = stream[:-12] + bytes(12)  # all of the text is there, and the end of the stream is not
    with pytest.raises(DataMissing, match="no whole tar.xz"):
        list(linux_sources(str(write(tmp_path / "cut.tar.xz", flawed))))


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_without_xz_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_archive(tmp_path / "l.tar.xz", {"a.c": b"int a;\n"})
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataMissing, match="apt-get install xz-utils"):
        list(linux_sources(str(path)))


def test_shards_are_read_in_order_without_empty_rows(tmp_path: Path) -> None:
    write_shard(tmp_path / "1.parquet", text=["second", "", None])
    write_shard(tmp_path / "0.parquet", text=["first"])
    assert list(parquet_texts(str(tmp_path))) == [b"first", b"second"]


def test_a_damaged_shard_or_one_without_text_is_named(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "0.parquet", content=["a"])
    with pytest.raises(DataMissing, match=r"0\.parquet has no column `text`.*content"):
        list(parquet_texts(str(tmp_path)))
    shard.write_bytes(shard.read_bytes()[:20])
    with pytest.raises(DataMissing, match=r"(?s)0\.parquet is no whole parquet file.*again"):
        list(parquet_texts(str(tmp_path)))


def write_shard(path: Path, **columns: list[str | None]) -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table(columns), path)
    return path


def test_an_archive_is_named_by_its_content_and_files_are_not(tmp_path: Path) -> None:
    first = write_archive(tmp_path / "1.tar.xz", {"a.c": b"int a;\n"})
    second = write_archive(tmp_path / "2.tar.xz", {"a.c": b"int b;\n"})
    assert archive_digest("linux", str(first)) != archive_digest("linux", str(second))
    assert archive_digest("text", str(first)) is None


def test_a_prepared_archive_is_found_again_without_reading_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_archive(tmp_path / "l.tar.xz", {f"l/{i}.c": kernel_file(i) for i in range(200)})
    plan = DataPlan(
        corpus=f"linux:{path}", words="code", vocab_size=300, held_out_bytes=4096,
        held_out_fraction=0.1,
    )  # fmt: skip
    first = prepare(plan, tmp_path / "cache")
    monkeypatch.setattr("novum.benchmarks.nanochat.prepare.read_corpus", pytest.fail)
    assert prepare(plan, tmp_path / "cache").fingerprint == first.fingerprint


def test_prepared_data_stand_for_a_corpus_that_is_not_on_this_machine(tmp_path: Path) -> None:
    path, cache = tmp_path / "l.tar.xz", tmp_path / "cache"
    plan = DataPlan(
        corpus=f"linux:{path}", words="code", vocab_size=300, held_out_bytes=4096,
        held_out_fraction=0.1,
    )  # fmt: skip

    def prepared(first: int) -> PreparedData:
        write_archive(path, {f"l/{i}.c": kernel_file(i) for i in range(first, first + 200)})
        return prepare(plan, cache)

    here = prepared(0)
    path.unlink()
    assert prepare(plan, cache) == here
    with pytest.raises(DataMissing, match="apt-get install linux-source"):
        prepare(plan.model_copy(update={"vocab_size": 310}), cache)  # made by another plan
    other = prepared(500)
    path.unlink()
    with pytest.raises(DataMissing, match=f"(?s){other.folder.name}.*Remove all but one"):
        prepare(plan, cache)
    (here.folder / "sealed.npy").write_bytes(b"damaged")
    assert prepare(plan, cache) == other
    for lie in ({"format": 0}, {"fingerprint": here.fingerprint}):
        manifest = other.manifest.model_copy(update=lie)
        (other.folder / "manifest.json").write_text(manifest.model_dump_json())
        with pytest.raises(DataMissing, match="apt-get install linux-source"):
            prepare(plan, cache)


def test_words_of_code_keep_more_bytes_in_a_token_and_spell_the_text() -> None:
    texts = [kernel_file(i).decode() for i in range(40)]
    streams = {}
    for words in ("gpt2", "code"):
        tokenizer = train_bpe(texts, 400, words)
        streams[words] = encode(tokenizer, texts)
        _, lengths = token_bytes(tokenizer)
        assert int(lengths[streams[words]].sum()) == sum(map(len, texts))
    assert len(streams["code"]) < len(streams["gpt2"])


def test_processes_encode_as_one_process_does(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [kernel_file(i).decode() for i in range(50)]
    tokenizer = train_bpe(texts, 300)
    monkeypatch.setattr("novum.benchmarks.nanochat.tokenizer.PARALLEL_DOCUMENTS", 10)
    assert (encode(tokenizer, texts) == encode_here(tokenizer, texts)).all()
