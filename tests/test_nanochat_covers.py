"""Held-out text that lies on the machine is not to be read in a sandbox, and nothing breaks."""

from __future__ import annotations

import json
import sysconfig
from pathlib import Path

import numpy as np
import pytest

from novum.benchmarks import nanochat
from novum.benchmarks.harness import run_trial, tree_hash
from novum.benchmarks.nanochat import covers
from novum.benchmarks.nanochat.corpus import as_document, excerpt, read_corpus, split
from novum.benchmarks.nanochat.covers import Covers, cover, hide, is_shown, replacement
from novum.benchmarks.nanochat.grade import Grader
from novum.benchmarks.nanochat.prepare import DataPlan
from novum.benchmarks.pack import load_pack
from novum.benchmarks.protocol import Graded, RunPlan, TrialContext, TrialRequest
from novum.errors import SandboxUnavailable
from novum.lab.records import TrialStatus
from novum.sandboxes import Sandbox, find_sandbox, interpreter
from novum.sandboxes.slots import Slot

TOY = load_pack(Path(__file__).parent / "packs" / "toy")
NANOCHAT = Path(nanochat.__file__).parent
STDLIB = Path(sysconfig.get_paths()["stdlib"])


@pytest.fixture(params=["bubblewrap", pytest.param("docker", marks=pytest.mark.docker)])
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    try:
        return find_sandbox(request.param)
    except SandboxUnavailable as error:
        pytest.skip(f"{request.param} cannot run here: {error}")


def windows(text: str, size: int = 24, step: int = 8) -> set[str]:
    return {text[i : i + size] for i in range(0, len(text) - size, step)}


class Searching:
    """A grader whose candidate looks through the machine in both stages and says what it found."""

    def __init__(self, covered: Covers) -> None:
        self.covered = covered

    def prepare(self) -> str:
        return "searching"

    def trial(self, context: TrialContext) -> Graded:
        limits = TOY.profile().limits(120.0)
        outcome = context.run_stage(
            RunPlan(("python", "train.py"), {}, {}, "wall", 60.0, 60.0, limits, covers=self.covered)
        )
        with context.score_stage(
            outcome.artifact, entry="train", limits=limits, tensors="numpy"
        ) as session:
            session.call("", [np.zeros(1)], answer := np.zeros(1), 60.0)
        found = json.loads((outcome.artifact / "found.json").read_text())
        return Graded(0.0, {"run": float(len(found)), "score": float(answer[0])})


SEARCH = """
import json, sys
from pathlib import Path
import harness

def text_of(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""

def search():
    return [p for p in WANTED if text_of(Path(p))]

def load(folder, device):
    import numpy as np
    n_found = len(search())
    return lambda _: np.array([float(n_found)])

if __name__ == "__main__":
    run = harness.start()
    (run.output / "found.json").write_text(json.dumps(search()))
"""


def search(covered: Covers, places: list[Path], sandbox: Sandbox, scratch: Path) -> list[float]:
    """How many of these places a candidate can read in the run stage and in the score stage."""
    code = f"WANTED = {[str(p) for p in places]!r}\n{SEARCH}"
    files = {"train.py": code.encode()}
    result = run_trial(
        TrialRequest(files, tree_hash(files), 5), pack=TOY, profile=TOY.profile(),
        grader=Searching(covered), sandbox=sandbox, slot=Slot(), scratch=scratch,
    )  # fmt: skip
    assert result.status is TrialStatus.FINISHED, result.error + result.log
    return [result.observed["run"], result.observed["score"]]


def test_what_is_covered_cannot_be_read_in_either_stage(sandbox: Sandbox, tmp_path: Path) -> None:
    module = STDLIB / "graphlib.py"
    places = [module, *module.parent.glob("__pycache__/graphlib.*.pyc")]
    assert search({}, places, sandbox, tmp_path) == [len(places), len(places)]
    assert search(dict.fromkeys(places, b""), places, sandbox, tmp_path) == [0, 0]


def test_a_covered_folder_is_empty(sandbox: Sandbox, tmp_path: Path) -> None:
    place = STDLIB / "email"
    assert search({place: None}, [place / "message.py"], sandbox, tmp_path) == [0, 0]


@pytest.fixture(scope="module")
def plan() -> DataPlan:
    """What the profile for a processor is graded on."""
    profile = load_pack(NANOCHAT).profile("cpu")
    return Grader(NANOCHAT, profile, Path("unused")).options.data


@pytest.fixture(scope="module")
def covered(plan: DataPlan) -> Covers:
    return cover(plan)


def test_nearly_nothing_of_the_held_out_text_is_left_on_show(
    plan: DataPlan, covered: Covers
) -> None:
    splits = split(
        read_corpus("python"),
        held_out_fraction=plan.held_out_fraction,
        held_out_bytes=plan.held_out_bytes,
        max_document_bytes=plan.max_document_bytes,
        max_train_bytes=0,
    )
    graded = {d.digest: d.text for d in (*splits.validation, *splits.sealed)}
    met, n, n_left = set(), 0, 0
    for place, shown in covered.items():
        if place.suffix == ".pyc":
            assert shown == b""
            continue
        document = as_document(place.read_bytes())
        assert document is not None and shown is not None
        text = graded.get(digest := excerpt(document, plan.max_document_bytes).digest)
        if text is None:
            continue  # another Python's copy
        met.add(digest)
        left = [w for w in windows(text) if w.encode().replace(b"\n", b"\\n") in shown]
        n, n_left = n + len(windows(text)), n_left + len(left)
    assert met == set(graded), "every held-out document is covered wherever it lies"
    assert n_left < 0.05 * n, f"{n_left} of {n} pieces are still there"


def test_a_module_works_as_before_without_its_text() -> None:
    shown = replacement(STDLIB / "graphlib.py", Path("graphlib.py"))
    text = (STDLIB / "graphlib.py").read_bytes()
    for lost in (b"Provides functionality to topologically sort", b"# ", b"    def "):
        assert lost in text and lost not in shown
    space: dict[str, object] = {"__name__": "graphlib"}
    exec(shown, space)
    sorter = space["TopologicalSorter"]
    assert callable(sorter) and list(sorter({"b": ["a"], "c": ["b"]}).static_order()) == [*"abc"]
    assert replacement(STDLIB / "test" / "test_x.py", Path("test/test_x.py")) == b""


def test_the_kernel_s_sources_are_hidden_with_its_headers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "linux.tar.xz"
    archive.write_bytes(b"x")
    monkeypatch.setattr(covers, "LINUX_FOLDER", tmp_path)
    monkeypatch.setattr(interpreter, "SYSTEM", (str(tmp_path),))
    assert cover(DataPlan(corpus=f"linux:{archive}")) == {tmp_path: None, archive: None}
    archive.unlink()  # prepared elsewhere: there is nothing of it to hide, and headers still are
    assert cover(DataPlan(corpus=f"linux:{archive}")) == {tmp_path: None}


def test_what_no_sandbox_shows_needs_no_cover(tmp_path: Path) -> None:
    assert not is_shown(tmp_path) and not hide([tmp_path]) and is_shown(Path("/usr/lib"))
    (tmp_path / "a.txt").write_text("text")
    assert cover(DataPlan(corpus=f"text:{tmp_path}")) == {}
