"""A folder of TRL's completions as a session: taken into a run file of its own, step by step, while it is looked at.

The run file is a temporary one, deleted on leaving; so search, filters and everything else work as for any run, and the
folder itself is only read. Files that TRL adds later are taken in as they come.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
import time
from pathlib import Path

from grpo_tui.events.records import Mode
from grpo_tui.events.types import GroupSampled, ModeChanged, Notice, RunStarted
from grpo_tui.runs.reader import RunReader
from grpo_tui.runs.schema import RunFileError
from grpo_tui.runs.trl import files_in, read_step
from grpo_tui.runs.writer import RunWriter
from grpo_tui.tui.recorded_session import POLL_SECONDS, RecordedSession
from grpo_tui.tui.session import READING, RECORDED, Watched

LOOK_SECONDS = 2.0
"""Between two looks for new files."""
EXPLAINED = (
    "from TRL: groups are equal prompts of a step, the reward is the sum of the columns with numbers; tokens, KL, "
    "losses and times are not recorded there"
)


class TrlSession(RecordedSession):
    """The completions of one TRL run.

    Raises:
        RunFileError: the first file cannot be read, or there is no place for the temporary run file.
    """

    def __init__(
        self, folder: Path, *, poll_seconds: float = POLL_SECONDS, look_seconds: float = LOOK_SECONDS
    ) -> None:
        self.bookmarks_dir = folder
        self._folder, self._look_seconds = folder, look_seconds
        first_step, first = next(iter(files_in(folder).items()))
        # What is wrong with the folder is told before the app opens.
        num_groups = sum(isinstance(event, GroupSampled) for event in read_step(first, first_step))
        self._place = Path(tempfile.mkdtemp(prefix="grpo-tui-trl-"))
        self._left = 0
        try:
            self._writer = RunWriter.create(self._place / "run", "")
            name = folder.parent.name if folder.name == "completions" else folder.name
            now = time.time()
            self._writer.write(
                RunStarted(
                    time=now,
                    run_dir=str(folder),
                    name=name,
                    total_steps=0,
                    finished_steps=0,
                    config_toml=f"[sampling]\nprompts_per_step = {num_groups}\n",
                )
            )
            self._writer.write(Notice(time=now, level="info", source="import", message=EXPLAINED))
            self._writer.write(ModeChanged(time=now, mode=Mode.STOPPED))
            super().__init__(self._place / "run", poll_seconds=poll_seconds)
        except BaseException:
            shutil.rmtree(self._place, ignore_errors=True)
            raise
        self._importer = threading.Thread(target=self._take_in, name="trl-import", daemon=True)

    def start(self) -> None:
        """Begin taking in, and reading."""
        self._importer.start()
        super().start()

    def close(self) -> None:
        """Stop, and delete the temporary run file. Safe to call twice."""
        super().close()
        if self._importer.ident is not None:
            self._importer.join(5.0)
        with contextlib.suppress(RunFileError):
            self._writer.close()
        shutil.rmtree(self._place, ignore_errors=True)

    def _status(self, reader: RunReader) -> Watched:  # noqa: ARG002 - the run file is our own
        left = self._left
        status, detail = (READING, f"{left} files to go") if left else (RECORDED, "by TRL")
        return Watched(time=time.time(), status=status, detail=detail, imported=True)

    def _take_in(self) -> None:
        seen: set[int] = set()
        last = 0
        while not self._closing.is_set():
            try:
                waiting = {step: path for step, path in files_in(self._folder).items() if step not in seen}
            except RunFileError:
                waiting = {}
            self._left = len(waiting)
            for step, path in waiting.items():
                if self._closing.is_set():
                    return
                seen.add(step)
                last = self._take(step, path, last)
                self._left -= 1
            self._closing.wait(self._look_seconds)

    def _take(self, step: int, path: Path, last: int) -> int:
        """Take one file in; return the last step that is in."""
        problem = f"step {step} is left out: a run begins with step 1" if step < 1 else ""
        if step <= last:
            problem = f"{path.name} is left out: it came after step {last}"
        try:
            if not problem:
                for event in read_step(path, step):
                    self._writer.write(event)
                return step
        except (RunFileError, OSError) as error:
            problem = str(error)
        with contextlib.suppress(RunFileError):
            self._writer.write(Notice(time=time.time(), level="warning", source="import", message=problem))
        return last
