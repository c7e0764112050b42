"""A folder in the form of SOL-ExecBench is a benchmark as it is: evaluated, run and resumed."""

from __future__ import annotations

import importlib.util
import json
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from novum.app.cli import app
from novum.benchmarks.kernels.dtypes import DTYPES
from novum.benchmarks.kernels.problem import fingerprint, load_problems
from novum.benchmarks.pack import find_pack, lasting_name
from novum.errors import PackError, UnknownName, UsageError
from novum.lab.run import RunFolder
from novum.lab.trees import tree_hash

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="needs PyTorch: pip install 'novum[train]'"
)


def write(folder: Path, definition: dict[str, Any], workloads: list[dict[str, Any]]) -> Path:
    """A problem in a folder."""
    folder.mkdir(parents=True)
    (folder / "definition.json").write_text(json.dumps(definition))
    (folder / "workload.jsonl").write_text("".join(json.dumps(w) + "\n" for w in workloads))
    return folder


def scaling(**fields: Any) -> dict[str, Any]:
    """y = x * factor, and the largest of x as a Python number."""
    return {
        "name": "scaling",
        "axes": {"n": {"type": "var"}, "m": {"type": "const", "value": 8}},
        "inputs": {
            "x": {"shape": ["n", "m"], "dtype": "float32"},
            "factor": {"shape": None, "dtype": "float32"},
        },
        "outputs": {
            "y": {"shape": ["n", "m"], "dtype": "float32"},
            "largest": {"shape": None, "dtype": "float32"},
        },
        "reference": "def run(x, factor):\n    return x * factor, x.max().item()\n",
    } | fields


def workload(uuid: str, n: int, **inputs: Any) -> dict[str, Any]:
    given = {"x": {"type": "random"}, "factor": {"type": "scalar", "value": 2.5}}
    return {"uuid": uuid, "axes": {"n": n}, "inputs": given | inputs}


def stored(path: Path, key: str, kind: str, shape: list[int], raw: bytes) -> None:
    """A safetensors file with one tensor."""
    head = json.dumps({key: {"dtype": kind, "shape": shape, "data_offsets": [0, len(raw)]}})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(head)) + head.encode() + raw)


@pytest.fixture
def benchmark_folder(tmp_path: Path) -> Path:
    """A benchmark of two subsets: random, stored and custom inputs, and one contradiction."""
    root = tmp_path / "bench"
    numbers = struct.pack("<16f", *range(16))
    stored(root / "blob" / "x.safetensors", "x", "F32", [2, 8], numbers)
    from_file = {"type": "safetensors", "path": "bench/blob/x.safetensors", "tensor_key": "x"}
    write(
        root / "L1" / "001_scaling", scaling(), [workload("a", 16), workload("b", 2, x=from_file)]
    )
    made = """
import torch


def make(sizes, device):
    return {"x": torch.full((sizes["n"], sizes["m"]), 3.0, device=device), "factor": 2.0}


def run(x, factor):
    return x * factor, x.max().item()
"""
    custom = {"x": {"type": "custom"}, "factor": {"type": "custom"}}
    write(
        root / "L2" / "002_custom",
        scaling(name="custom", reference=made, custom_inputs_entrypoint="make"),
        [workload("c", 4, **custom)],
    )
    write(root / "L2" / "003_broken", scaling(axes={}), [workload("d", 4), workload("e", 8)])
    return root


def test_a_folder_takes_the_place_of_the_pack_s_own_problems(benchmark_folder: Path) -> None:
    pack = find_pack(f"kernels:{benchmark_folder}")
    assert pack.starts == ("reference",) == (pack.manifest.default_start,)
    assert set(pack.start_files()) == {"001_scaling.py", "002_custom.py"}
    for name in ("cpu", "cuda"):
        options = pack.profile(name).options
        assert options["path"] == str(benchmark_folder) and options["problems"] == ["*"]
    assert lasting_name(f"kernels:{benchmark_folder}", pack) == f"kernels:{benchmark_folder}"
    assert find_pack("kernels").problems is None
    with pytest.raises(UsageError, match="no folder"):
        find_pack(f"kernels:{benchmark_folder}/nothing")
    with pytest.raises(UnknownName, match="no problem in"):
        find_pack(f"kernels:{benchmark_folder}/blob")
    with pytest.raises(UsageError, match="takes nothing else"):
        find_pack(f"speedrun:{benchmark_folder}")
    with pytest.raises(PackError, match="none of its problems"):
        find_pack(f"kernels:{benchmark_folder}/L2/003_broken")


def test_two_problems_of_one_name_are_told_apart_by_their_subset(tmp_path: Path) -> None:
    for subset in ("L1", "L2"):
        write(tmp_path / subset / "scaling", scaling(), [workload("a", 2)])
    with pytest.raises(PackError, match="L1/scaling and L2/scaling have one name"):
        load_problems(tmp_path)
    assert len(load_problems(tmp_path / "L2")) == 1


def test_the_fingerprint_covers_what_is_stored_elsewhere(benchmark_folder: Path) -> None:
    before = fingerprint(load_problems(benchmark_folder, strict=False))
    file = benchmark_folder / "blob" / "x.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x01")
    assert fingerprint(load_problems(benchmark_folder, strict=False)) != before


@needs_torch
def test_it_is_evaluated_and_every_workload_is_accounted_for(
    benchmark_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOVUM_PATHS__CACHE", str(tmp_path / "cache"))
    words = ["evaluate", "reference", "--pack", "kernels", "--problems", str(benchmark_folder)]
    words += ["--fidelity", "quick", "--sandbox", "process", "--json"]
    said = CliRunner().invoke(app, words)
    told = json.loads(said.stdout)
    assert told["status"] == "finished", told["error"]
    assert told["observed"]["workloads"] == 5 and told["observed"]["passed"] == 3
    assert told["observed"]["score.003_broken"] == 0
    (complete,) = [p for p in told["probes"] if p["name"] == "complete"]
    assert complete["outcome"] == "note" and "INVALID_REFERENCE" in complete["summary"]
    (file,) = (tmp_path / "cache" / "traces").glob("*.jsonl")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    found = {line["workload"]["uuid"]: line["evaluation"]["status"] for line in lines}
    assert found == dict.fromkeys("abc", "PASSED") | dict.fromkeys("de", "INVALID_REFERENCE")


@needs_torch
@pytest.mark.slow
def test_a_run_on_it_offers_the_tools_counts_a_solution_file_and_is_resumed_elsewhere(
    benchmark_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOVUM_PATHS__CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(benchmark_folder)
    shutil.move("blob", "L1/blob")  # stored inputs are looked for no higher than the folder given
    parent = tree_hash(find_pack("kernels:L1").start_files())
    source = (
        "def run(x, factor, y, largest):\n    y.copy_(x * factor)\n    largest.copy_(x.max())\n"
    )
    solution = {
        "name": "filled",
        "definition": "scaling",
        "author": "somebody",
        "spec": {
            "language": "python",
            "target_hardware": ["LOCAL"],
            "entry_point": "src/main.py::run",
        },
        "sources": [{"path": "src/main.py", "content": source}],
    }
    idea = {"hypothesis": "Filling is cheaper", "kind": "systems", "parents": [parent]}
    wrote = {"path": "solution.json", "text": json.dumps(solution)}
    steps = [
        [["propose", idea | {"move": {}}]],
        [["roofline", {"problem": "001_scaling"}], ["profile", {"problem": "001_scaling"}]],
        [["roofline", {"problem": "rmsnorm"}]],
        [["write_file", wrote], ["submit", {"summary": "outputs are filled"}]],
    ]
    script = tmp_path / "script.jsonl"
    script.write_text("".join(json.dumps({"calls": step}) + "\n" for step in steps))
    runs = ["--runs", str(tmp_path / "runs"), "--sandbox", "process", "--threads", "1"]
    words = ["run", "kernels", "--problems", "L1", "--experiments", "1", "--json"]
    said = CliRunner().invoke(app, [*words, *runs, "--brain", f"scripted:{script}"])
    told = [json.loads(line) for line in said.stdout.splitlines()]
    kinds = [t["kind"] for t in told]
    assert "verdict" in kinds and "outcome" in kinds, said.stdout[-3000:] + str(said.exception)
    monkeypatch.chdir(tmp_path)
    again = CliRunner().invoke(app, ["resume", "kernels-1", *runs[:4], "--json"])
    assert again.exception is None or isinstance(again.exception, SystemExit), again.exception
    names = {
        json.loads(line)["solution"]
        for file in (tmp_path / "cache" / "traces").glob("*.jsonl")
        for line in file.read_text().splitlines()
    }
    assert names == {"001_scaling", "filled"}
    run = RunFolder.open(tmp_path / "runs" / "kernels-1")
    with run.ledger(read_only=True) as ledger:
        asked = [e.payload["blob"] for e in ledger.events(kinds=["answer"])]
    read = " ".join(run.blobs.text(blob) for blob in asked)
    assert "T_SOL" in read, read
    assert "aten::mul" in read, read
    assert "no problem 'rmsnorm' is selected; there are 001_scaling" in read


@needs_torch
def test_every_type_is_drawn_handed_over_and_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOVUM_PATHS__CACHE", str(tmp_path / "cache"))
    specs = {name: {"shape": ["n"], "dtype": name} for name in DTYPES}
    names = [f"x_{name}" for name in DTYPES]

    def source(flipped: str = "") -> str:
        """Copies of the inputs, with the lowest bits of one type's flipped."""
        changed = f"x_{flipped}.view(torch.uint8).bitwise_xor(1).view(x_{flipped}.dtype)"
        copies = [changed if n == f"x_{flipped}" else f"{n}.clone()" for n in names]
        body = ", ".join(copies)
        return f"import torch\n\n\ndef run({', '.join(names)}):\n    return [{body}]\n"

    definition = {
        "name": "types",
        "axes": {"n": {"type": "var"}},
        "inputs": {f"x_{name}": spec for name, spec in specs.items()},
        "outputs": {f"y_{name}": spec for name, spec in specs.items()},
        "reference": source(),
    }
    inputs = {name: {"type": "random"} for name in names}
    line = {"uuid": "u", "axes": {"n": 300}, "inputs": inputs}
    folder = write(tmp_path / "types", definition, [line])
    words = ["--pack", "kernels", "--problems", str(folder), "--fidelity", "quick"]
    words += ["--sandbox", "process", "--json"]
    right = json.loads(CliRunner().invoke(app, ["evaluate", "reference", *words]).stdout)
    assert right["status"] == "finished", right["error"]
    for name in ("float4_e2m1fn_x2", "bool"):
        (tmp_path / "types.py").write_text(source(name))
        said = CliRunner().invoke(app, ["evaluate", str(tmp_path / "types.py"), *words]).stdout
        caught = json.loads(said)
        assert caught["status"] == "crashed" and f"y_{name} " in caught["error"]


@needs_torch
def test_a_person_reads_which_workloads_are_at_fault_and_where_the_trace_lies(
    benchmark_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOVUM_PATHS__CACHE", str(tmp_path / "cache"))
    source = "def run(x, factor):\n    return x * factor, x.max()[0]\n"
    path = benchmark_folder / "L1" / "004_fails"
    shutil.copytree(benchmark_folder / "L1" / "001_scaling", path)
    fields = json.loads((path / "definition.json").read_text())
    fields |= {"name": "fails", "reference": source}
    (path / "definition.json").write_text(json.dumps(fields))
    words = ["evaluate", "reference", "--pack", "kernels", "--problems", str(benchmark_folder)]
    words += ["--fidelity", "quick", "--sandbox", "process"]
    said = CliRunner().invoke(app, words).stdout
    assert "complete: 004_fails: INVALID_REFERENCE: the reference fails" in said, said
    assert "(line 2 of the reference: return x * factor, x.max()[0])" in said
    assert "complete: 003_broken: INVALID_REFERENCE" in said
    assert "pydantic" not in said
    (file,) = (tmp_path / "cache" / "traces").glob("*.jsonl")
    assert f"in full: traces/{file.name} in the cache" in said
