"""What a comparison says while it runs and when it ends, and the two files that keep it."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from grpo_tui.compare.plan import PlannedRun, SweepResult
from grpo_tui.compare.processes import Pace
from grpo_tui.compare.report import Comparison, plain, to_document
from grpo_tui.compare.results import RunResult
from grpo_tui.compare.running import Outcome
from grpo_tui.compare.table import to_markdown
from grpo_tui.runs.schema import os_error

JSON_FILE, MARKDOWN_FILE = "compare.json", "compare.md"


def write_down(comparison: Comparison, out: Path) -> None:
    """Keep what is known so far; each file is whole at any time.

    Raises:
        RunFileError: the disk refuses.
    """
    document = json.dumps(to_document(comparison), ensure_ascii=False, indent=1)
    for name, text in ((JSON_FILE, document + "\n"), (MARKDOWN_FILE, to_markdown(comparison))):
        path, beside = out / name, out / f".{name}.new"
        try:
            beside.write_text(text, encoding="utf-8")
            beside.replace(path)
        except OSError as error:
            raise os_error("write", path, error) from error


class Teller:
    """A line on stderr for each run; on stdout JSON lines, or the table at the end.

    Args:
        as_json: which of the two.
        on_closed: called when the reader of stdout is gone.
    """

    def __init__(self, *, as_json: bool, on_closed: Callable[[], None] = lambda: None) -> None:
        self.as_json = as_json
        self.on_closed = on_closed
        self._guard = threading.Lock()
        self._live = sys.stderr.isatty()
        self._stage = ""
        self._done = self._total = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        """Leave the terminal clean."""
        with self._guard:
            self._wipe()

    def say(self, text: str) -> None:
        """One line on stderr."""
        with self._guard:
            self._wipe()
            sys.stderr.write(f"{text}\n")

    def begin(self, stage: str, runs: Sequence[PlannedRun]) -> None:
        """A list of runs begins."""
        self._stage, self._done, self._total = stage, 0, len(runs)
        self.say(
            f"{stage}: {len(runs)} runs of {runs[0].config.run.max_tokens:,} tokens"
            if runs
            else f"{stage}: none"
        )

    def pace(self, run: PlannedRun, pace: Pace) -> None:
        """A run took a step: shown where stderr is a terminal, on a line that is written over."""
        if not self._live:
            return
        share = min(1.0, pace.tokens / run.config.run.max_tokens)
        with self._guard:
            self._wipe()
            sys.stderr.write(
                f"{self._stage} {self._done}/{self._total}: {run.name} {share:.0%}, reward {pace.reward:.3f}"
            )
            sys.stderr.flush()

    def swept(self, outcome: Outcome, result: SweepResult) -> None:
        """A run of the sweep is over."""
        if result.reward is None:
            self.failed(outcome)
        else:
            self._over(outcome, f"step size {result.step_size:.3g}: reward {result.reward:.3f} at the end")
        if self.as_json:
            self._print({"sweep": plain(result)})

    def measured(self, outcome: Outcome, result: RunResult) -> None:
        """A measured run is over."""
        held_out = ""
        if result.before is not None and result.after is not None:
            held_out = f"held-out accuracy {result.before.accuracy:.3f} → {result.after.accuracy:.3f}, "
        figures = f"{result.steps} steps, {result.tokens:,} tokens, {result.seconds:.0f} s"
        self._over(outcome, f"{held_out}reward {result.reward_last:.3f} at the end, {figures}")
        if self.as_json:
            self._print({"run": plain(result)})

    def failed(self, outcome: Outcome) -> None:
        """A run failed."""
        self._over(outcome, f"failed: {outcome.message}")

    def end(self, comparison: Comparison, out: Path) -> None:
        """The table."""
        if self.as_json:
            self._print({"table": to_document(comparison)})
        else:
            self._write(to_markdown(comparison))
        self.say(
            f"kept in {out / JSON_FILE} and {out / MARKDOWN_FILE}; look into a run: grpo-tui resume {out}/runs/NAME"
        )

    def _over(self, outcome: Outcome, text: str) -> None:
        self._done += 1
        before = " (made before)" if outcome.reused else ""
        self.say(f"[{self._done}/{self._total}] {outcome.run.name}{before}: {text}")

    def _wipe(self) -> None:
        if self._live:
            sys.stderr.write("\r\x1b[K")

    def _print(self, data: dict[str, Any]) -> None:
        self._write(json.dumps(data, ensure_ascii=False) + "\n")

    def _write(self, text: str) -> None:
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except BrokenPipeError:
            # Python flushes stdout once more at exit, and would complain then.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            self.say("nobody reads stdout any more: stopping")
            self.on_closed()
