"""Preparing a corpus: what is kept, where it goes, and that the bytes add up."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest

from novum.benchmarks.nanochat import corpus
from novum.benchmarks.nanochat.prepare import (
    DataPlan,
    PreparedData,
    open_prepared,
    prepare,
    require_epochs,
)
from novum.benchmarks.pack import find_pack, lasting_name
from novum.errors import DataMissing, UsageError

N_FILES = 240


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small distinct text files, with all the odd ones that a corpus meets."""
    folder = tmp_path_factory.mktemp("texts")
    for i in range(N_FILES):
        words = " ".join(f"word{(i * 7919 + j * j) % 1013}" for j in range(80))
        (folder / f"{i}.txt").write_text(f"Document {i}: naïve 🙂 text\n{words}\n")
    (folder / "twin.txt").write_bytes((folder / "0.txt").read_bytes().replace(b"\n", b"\r\n"))
    (folder / "latin.txt").write_bytes(b"caf\xe9 " * 100)
    (folder / "short.txt").write_text("too short\n")
    (folder / "quote.txt").write_text("a text that quotes <|document|> in the middle " * 20)
    (folder / "image.png").write_bytes(b"not text at all " * 100)
    return folder


@pytest.fixture(scope="module")
def plan(texts: Path) -> DataPlan:
    """A plan that these texts satisfy."""
    return DataPlan(
        corpus=f"text:{texts}",
        vocab_size=300,
        held_out_fraction=0.1,
        held_out_bytes=4000,
        max_document_bytes=400,
    )


@pytest.fixture(scope="module")
def data(plan: DataPlan, tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    """The prepared texts."""
    return prepare(plan, tmp_path_factory.mktemp("cache"))


def test_twins_foreign_encodings_and_stubs_are_left_out(texts: Path) -> None:
    assert len(corpus.read_corpus(f"text:{texts}")) == N_FILES + 1  # and the one that quotes


def test_no_document_stands_in_two_splits_and_the_held_out_ones_are_cut_to_size(
    texts: Path,
) -> None:
    splits = corpus.split(
        corpus.read_corpus(f"text:{texts}"),
        held_out_fraction=0.1,
        held_out_bytes=4000,
        max_document_bytes=400,
        max_train_bytes=1 << 20,
    )
    train = "".join(d.text for d in splits.train)
    for held_out in (splits.validation, splits.sealed):
        assert 4000 <= sum(d.n_bytes for d in held_out) < 4400
        assert all(d.n_bytes <= 400 and d.text not in train for d in held_out)
    assert not {d.text for d in splits.validation} & {d.text for d in splits.sealed}


@pytest.mark.parametrize("name", ["train", "validation", "sealed"])
def test_tokens_of_a_split_spell_its_text_to_the_byte(data: PreparedData, name: str) -> None:
    table, lengths = data.token_bytes()
    stream = data.tokens(name)
    spelled = b"".join(bytes(table[t, : lengths[t]]) for t in stream)
    assert len(spelled) == data.n_bytes(name)
    assert spelled.decode().isprintable() is False and "Document" in spelled.decode()
    assert int((stream == 0).sum()) == data.manifest.splits[name].n_documents


def test_a_second_call_finds_the_data_and_another_plan_makes_other_data(
    plan: DataPlan, data: PreparedData
) -> None:
    cache = data.folder.parent.parent
    before = (data.folder / "train.npy").stat().st_mtime_ns
    again = prepare(plan, cache)
    assert again == data and (data.folder / "train.npy").stat().st_mtime_ns == before
    other = prepare(plan.model_copy(update={"vocab_size": 310}), cache)
    assert other.fingerprint != data.fingerprint and other.folder != data.folder


def test_damaged_data_is_noticed_and_made_again(plan: DataPlan, tmp_path: Path) -> None:
    data = prepare(plan, tmp_path)
    np.save(data.train_path, np.zeros(10, np.uint16))
    assert open_prepared(data.folder) is None
    assert prepare(plan, tmp_path) == data


def test_two_processes_may_prepare_at_once(plan: DataPlan, tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        first, second = pool.starmap(prepare, [(plan, tmp_path)] * 2)
    assert first == second
    assert [p.name for p in first.folder.parent.iterdir()] == [first.folder.name]


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_makes_is_not(
    plan: DataPlan, tmp_path: Path
) -> None:
    ended = multiprocessing.get_context("spawn").Process()
    ended.start()
    ended.join()
    left = tmp_path / "nanochat" / f".preparing-{ended.pid}-abc"
    mine = tmp_path / "nanochat" / f".preparing-{os.getpid()}-abc"
    left.mkdir(parents=True)
    mine.mkdir()
    prepare(plan, tmp_path)
    assert mine.exists() and not left.exists()


def test_a_corpus_that_the_budget_reads_too_often_is_refused(data: PreparedData) -> None:
    n_tokens = data.manifest.splits["train"].n_tokens
    require_epochs(data, n_tokens)
    with pytest.raises(DataMissing, match="epochs"):
        require_epochs(data, 2 * n_tokens)


def test_too_little_text_is_refused_with_the_sizes(plan: DataPlan, tmp_path: Path) -> None:
    greedy = plan.model_copy(update={"held_out_bytes": 1 << 20})
    with pytest.raises(
        DataMissing,
        match=r"(?s)too small.*sealed [\d,]+ \(documents.*13\.0 MiB are enough",
    ):
        prepare(greedy, tmp_path)
    assert not (tmp_path / "nanochat").exists()


@pytest.mark.parametrize("name", ["latin", "text:", "text:/no/such/place", "python:3"])
def test_a_corpus_that_does_not_exist_is_refused(name: str) -> None:
    with pytest.raises(DataMissing):
        corpus.read_corpus(name)


def test_a_file_is_cut_at_form_feeds_or_else_at_empty_lines(tmp_path: Path) -> None:
    book = tmp_path / "book.txt"
    paragraphs = [f"{i}: " + "word " * 100 for i in range(40)]
    book.write_text("\n\n".join(paragraphs))
    documents = list(corpus.text_files(str(book)))
    assert len(documents) == 8  # five of 500 bytes make a piece
    assert min(map(len, documents[:-1])) >= corpus.PIECE_BYTES
    assert b"\n".join(documents).decode().split("\n\n") == paragraphs
    book.write_text("\f".join(paragraphs))
    assert len(list(corpus.text_files(str(book)))) == len(paragraphs)


def test_the_pack_takes_other_text_by_its_name(
    texts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(texts.parent)
    pack = find_pack(f"nanochat:text:{texts.name}")
    for profile in pack.manifest.profiles.values():
        assert profile.options["data"]["corpus"] == f"text:{texts}"
    assert find_pack("nanochat").profile("gpu").options["data"]["corpus"] == "linux"
    named = lasting_name(f"nanochat:text:{texts.name}", pack)
    monkeypatch.chdir("/")
    assert find_pack(named).manifest == pack.manifest
    with pytest.raises(DataMissing, match="unknown corpus"):
        find_pack("nanochat:txt:books")
    with pytest.raises(UsageError, match="works on what it brings"):
        find_pack(f"speedrun:text:{texts}")


def test_without_torch_the_python_corpus_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DataMissing, match="novum\\[train\\]"):
        corpus.read_corpus("python")
