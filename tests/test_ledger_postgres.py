"""The ledger keeps its promises on Postgres as on SQLite."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from novum.errors import LedgerCorrupt, UsageError
from novum.lab.ledger import Ledger
from novum.lab.records import Kind, Proposal, Purpose, TrialStatus

pytest.importorskip("psycopg", reason="needs pip install 'novum[postgres]'")
PLACES = [str(p) for p in sorted(Path("/usr/lib/postgresql").glob("*/bin"))]
INITDB = shutil.which("initdb", path=os.pathsep.join([*PLACES, os.environ.get("PATH", "")]))
IS_ROOT = os.geteuid() == 0


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if INITDB is None:
        pytest.skip("needs a Postgres server: apt-get install postgresql")
    user = "postgres" if IS_ROOT else getpass.getuser()
    folder = Path("/tmp") / f"novum-pg-{os.getpid()}"  # its socket's path has to be short
    folder.mkdir(mode=0o700)
    if IS_ROOT:  # the server refuses to run as root
        shutil.chown(folder, user)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data, binaries = str(folder / "data"), Path(INITDB).parent

    def run(*words: str) -> None:
        command = [str(binaries / words[0]), *words[1:]]
        asked = user if IS_ROOT else None
        subprocess.run(
            command, check=True, user=asked, cwd="/", stdout=subprocess.DEVNULL, timeout=120
        )

    options = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder}"
    try:
        run("initdb", "-A", "trust", "-U", "novum", "-D", data)
        run("pg_ctl", "-D", data, "-o", options, "-l", str(folder / "log"), "-w", "start")
        try:
            yield f"postgresql+psycopg://novum@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "-D", data, "-m", "fast", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_facts_threads_readers_and_the_proof_on_postgres(url: str) -> None:
    with Ledger.create(url) as ledger, Ledger.open(url) as second:
        proposal = Proposal("p1", 0, 1, "wider", Kind.DATA, (), "playbook")
        for _ in range(2):
            ledger.add_proposal(proposal)
        trial = ledger.launch_trial(
            "e1",
            tree="tree1",
            proposal="p1",
            purpose=Purpose.SEARCH,
            split="search",
            fidelity="full",
            harness="h",
            hardware="cpu",
            slot=0,
            nonce="n",
            benchmark="b",
            profile="cpu",
        )
        ledger.end_trial(trial.id, TrialStatus.FINISHED, metric=0.1 + 0.2)

        def write(target: Ledger, name: str) -> None:
            for i in range(20):
                target.append("note", {"i": i}, f"{name}:{i}")

        pairs = enumerate((ledger, ledger, second, second))
        threads = [threading.Thread(target=write, args=(one, str(n))) for n, one in pairs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with Ledger.open(url, read_only=True) as reader:
            assert reader.proposals() == (proposal,)
            assert reader.trials()[0].metric == 0.1 + 0.2
            assert reader.counts()["events"] == 83
            reader.verify()
            with pytest.raises(UsageError, match="reading only"):
                reader.append("note", {}, "n")
        with pytest.raises(UsageError, match="holds a ledger already"):
            Ledger.create(url)
        with ledger._engine.begin() as raw:
            raw.exec_driver_sql("UPDATE events SET kind = 'other' WHERE seq = 5")
        with pytest.raises(LedgerCorrupt, match="event 5"):
            ledger.verify()
