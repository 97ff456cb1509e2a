"""Disks that refuse, for real: a file size limit anywhere, a full tmpfs where one can be mounted privately."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runs.training import ROOT

FILL = """
import pathlib, resource, signal, sys
from grpo_tui.runs import RunFileError, RunReader, RunWriter, atomic_directory, latest
from tests.events.builders import fingerprint, fold, opening, step_events

place = pathlib.Path(sys.argv[1])
run_dir = place / "run"

def expect(step):
    with RunReader(run_dir) as reader:
        assert reader.last_step() == step, (reader.last_step(), step)
        assert fingerprint(reader.load_step(step)) == fingerprint(fold(step_events(step)).recent[-1])

writer = RunWriter.create(run_dir, "")
for event in opening():
    writer.write(event)
BLOCK()
step, problem = 0, None
while problem is None and step < 2000:
    step += 1
    try:
        for event in step_events(step):
            writer.write(event)
    except RunFileError as error:
        problem = str(error)
print(problem)
assert step > 1
pending = writer.num_pending
for _ in range(2):
    try:
        writer.flush()
        raise SystemExit("the disk is not full")
    except RunFileError:
        pass
assert writer.num_pending == pending > 0
expect(step - 1)
try:
    with atomic_directory(run_dir / "checkpoints" / "step-000001") as directory:
        (directory / "weights").write_bytes(bytes(4_000_000))
    raise SystemExit("the disk is not full")
except RunFileError as error:
    print(error)
assert latest(run_dir / "checkpoints") is None
FREE()
writer.flush()
expect(step)
for event in step_events(step + 1):
    writer.write(event)
writer.close()
expect(step + 1)
with atomic_directory(run_dir / "checkpoints" / "step-000001") as directory:
    (directory / "weights").write_bytes(bytes(4_000_000))
print("went on")
"""

LIMIT = """
def BLOCK():
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
def FREE():
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""

BALLAST = """
def BLOCK():
    (place / "ballast").write_bytes(bytes(7_300_000))
def FREE():
    (place / "ballast").unlink()
"""


def program(block: str) -> str:
    return "def BLOCK(): ...\ndef FREE(): ...\n" + FILL.replace("\nplace =", f"\n{block}\nplace =", 1)


def test_a_file_that_may_not_grow(tmp_path: Path) -> None:
    command = [sys.executable, "-c", program(LIMIT), str(tmp_path)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.stderr == ""
    first, second, last = result.stdout.splitlines()
    assert first.startswith(f"cannot write {tmp_path}/run/run.db: ")
    assert first.endswith("then retry")
    assert second == (
        f"cannot write {tmp_path}/run/checkpoints/step-000001: "
        "the file may not grow further (file size limit); raise the limit, then retry"
    )
    assert last == "went on"


def test_a_full_disk(tmp_path: Path) -> None:
    mount = f"mount -t tmpfs -o size=8m tmpfs {shlex.quote(str(tmp_path))} && "
    command = shlex.join([sys.executable, "-c", program(BALLAST), str(tmp_path)])
    result = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", f"{mount} exec {command}"], cwd=ROOT, capture_output=True, text=True
    )
    if "unshare" in result.stderr or "mount" in result.stderr:
        pytest.skip(f"no private mounts here: {result.stderr.strip()}")
    assert result.stderr == ""
    first, second, last = result.stdout.splitlines()
    advice = "No space left on device; free space, then retry"
    assert first == f"cannot write {tmp_path}/run/run.db: {advice}"
    assert second == f"cannot write {tmp_path}/run/checkpoints/step-000001: {advice}"
    assert last == "went on"
