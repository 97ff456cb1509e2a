"""A stand-in for a training process: ``python -m tests.runs.training RUN_DIR [STEPS]``, meant to be killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from grpo_tui.runs.checkpoints import atomic_directory, checkpoint_name
from grpo_tui.runs.writer import RunWriter
from tests.events.builders import checkpoint, opening, step_events

ROOT = Path(__file__).parents[2]
CHECKPOINT_BYTES = 50_000


def start(run_dir: Path, steps: int = 100_000) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.runs.training", str(run_dir), str(steps)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def main(run_dir: Path, steps: int) -> None:
    if (run_dir / "run.db").exists():
        writer = RunWriter.open(run_dir)
    else:
        writer = RunWriter.create(run_dir, "[run]\n")
    with writer:
        first = writer.last_step + 1
        for event in opening(finished_steps=writer.last_step, total_steps=steps):
            writer.write(event)
        print("writing", flush=True)  # noqa: T201
        for step in range(first, first + steps):
            for event in step_events(step):
                writer.write(event)
            if step % 3 == 0:
                with atomic_directory(run_dir / "checkpoints" / checkpoint_name(step % 9)) as directory:
                    (directory / "a.bin").write_bytes(bytes([step % 256]) * CHECKPOINT_BYTES)
                    (directory / "b.bin").write_bytes(bytes([step % 256]) * CHECKPOINT_BYTES)
                writer.write(checkpoint(step))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
