"""A program that refuses to be root is no longer root, and still reaches its files, wherever they lie."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fleetform.host import unprivileged

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root has something to give up")


def run_unprivileged(code: str, *words: str) -> str:
    argv = unprivileged.wrap((sys.executable, "-c", code, *words))
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30).stdout.strip()


def test_it_is_nobody_and_cannot_come_back() -> None:
    code = """
import os
try:
    os.setuid(0)
except PermissionError:
    print(os.getresuid(), os.getresgid(), os.getgroups())
"""
    nobody = unprivileged.NOBODY
    assert run_unprivileged(code) == f"({nobody}, {nobody}, {nobody}) ({nobody}, {nobody}, {nobody}) []"


def test_it_reaches_a_folder_that_is_open_to_root_alone(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o700)
    (folder / "word").write_text("seen")
    # access() is what programs ask before they open; it must agree with open().
    code = "import os, sys; p = sys.argv[1]; print(os.access(p, os.R_OK), open(p).read()); open(p + '.new', 'w').write('made')"
    assert run_unprivileged(code, str(folder / "word")) == "True seen"
    assert (folder / "word.new").stat().st_uid == unprivileged.NOBODY


def test_it_keeps_no_other_right() -> None:
    status = run_unprivileged("print(open('/proc/self/status').read())")
    kept = {line.split(":")[0]: int(line.split()[1], 16) for line in status.splitlines() if line.startswith(("CapEff", "CapPrm", "CapAmb"))}
    assert set(kept.values()) == {1 << 1}
    assert "NoNewPrivs:\t1" in status
