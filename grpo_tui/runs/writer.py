"""The one writer of a run file: events in, one transaction a step.

:meth:`RunWriter.write` keeps events in memory until one comes that must not be lost (a finished step, a mode
change, an error …), and then writes all of them, in order, in one transaction. A process killed at any instant
therefore loses at most the step in progress. If the disk refuses, nothing is lost and nothing half-written: the
events stay in memory and go out with the next write, or with :meth:`RunWriter.flush`.

What is stored of a step is what :func:`grpo_tui.events.fold.reduce` makes of its events, so the file and the
screen cannot disagree.
"""

from __future__ import annotations

import math
import os
import sqlite3
import threading
import time
import uuid
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from grpo_tui.events import codec
from grpo_tui.events.fold import reduce
from grpo_tui.events.lines import common_step
from grpo_tui.events.records import BranchRecord, CompletionRecord, GroupRecord, ProblemRecord, StepDetail
from grpo_tui.events.state import LogLine, RunState
from grpo_tui.events.types import (
    AdvantagesComputed,
    BranchStarted,
    CheckpointSaved,
    CompletionInspected,
    EvalFinished,
    Event,
    GroupSampled,
    GroupScored,
    ModeChanged,
    Notice,
    OrderChanged,
    PhaseFinished,
    PhaseStarted,
    PlayEnded,
    PreflightEnded,
    ProbePinned,
    ProbesRead,
    ProbeUnpinned,
    ReferenceComputed,
    Reverified,
    RunEnded,
    RunStarted,
    SettingsChanged,
    StepFinished,
    StepStarted,
    TokensWeighed,
    TrainerFailed,
    VerdictDisputed,
    VerdictsRevised,
    WentTo,
)
from grpo_tui.runs import schema
from grpo_tui.runs.checkpoints import bring_back, fsync, set_aside
from grpo_tui.runs.lock import RunLock
from grpo_tui.runs.schema import RunFileError, clear_errors, mean_over_tokens, os_error, storable

PROMPT_EVENTS: tuple[type[Event], ...] = (
    RunStarted,
    ModeChanged,
    StepFinished,
    EvalFinished,
    CheckpointSaved,
    TrainerFailed,
    SettingsChanged,
    Notice,
    PlayEnded,
    PreflightEnded,
    WentTo,
    BranchStarted,
    ProbePinned,
    ProbeUnpinned,
    ProbesRead,
    OrderChanged,
    VerdictDisputed,
    VerdictsRevised,
    RunEnded,
)
"""Written, with everything before them, as soon as they come."""

UNRECORDED: tuple[type[Event], ...] = (CompletionInspected, Reverified)
"""Answers to somebody who looked: no part of the run."""

_GROUP_EVENTS = (GroupSampled, GroupScored, AdvantagesComputed, ReferenceComputed, TokensWeighed)
_STEP_EVENTS = (StepStarted, PhaseStarted, PhaseFinished, *_GROUP_EVENTS)


@dataclass(frozen=True, slots=True)
class _Position:
    """Where the writer stands after the last transaction; a failed transaction changes nothing of it."""

    branch: int = 0
    last_step: int = 0
    """Last finished step of the present branch."""
    step_id: int | None = None
    """Row of the step in progress."""
    state: RunState = field(default_factory=RunState)
    """Only ever holds the step in progress."""
    stored: dict[int, GroupRecord] = field(default_factory=dict)
    """Groups of the step in progress as they are in the file."""


class RunWriter:
    """Writes one run. Use :meth:`create` or :meth:`open`; it holds the run's lock until :meth:`close`.

    Methods may be called from any thread, one call at a time.
    """

    def __init__(self, run_dir: Path, lock: RunLock) -> None:
        self.run_dir = run_dir
        self._path = run_dir / schema.DATABASE
        self._lock = lock
        self._guard = threading.RLock()
        self._pending: list[Event] = []
        self._closed = False
        with clear_errors("open", self._path):
            self._connection = _connect(self._path)
        try:
            with clear_errors("open", self._path):
                schema.check(self._connection, self._path)
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = FULL")
                schema.migrate(self._connection)
                self._indexed = _index_usable(self._connection)
                self._position = self._find_position()
        except BaseException:
            self._connection.close()
            raise

    @classmethod
    def create(cls, run_dir: Path, config_toml: str) -> Self:
        """Start a new run in a directory (made if missing) that holds none yet.

        Raises:
            RunFileError: there is a run already, or the disk does not take it.
        """
        path = run_dir / schema.DATABASE
        try:
            run_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise os_error("create", run_dir, error) from error
        lock = RunLock(run_dir)
        try:
            if path.exists():
                raise RunFileError(
                    f"cannot create {run_dir}: it holds a run; resume it, or choose another directory"
                )
            _write_text(run_dir / schema.CONFIG, config_toml)
            _create_database(path, config_toml)
            return cls(run_dir, lock)
        except BaseException:
            lock.release()
            raise

    @classmethod
    def open(cls, run_dir: Path, truncate_after: int | None = None) -> Self:
        """Go on with a run. What a dead process left of a step in progress is dropped.

        Args:
            run_dir: the run's directory.
            truncate_after: go back to this step: later finished steps stay in the file on a branch of their own,
                out of the default view, and their checkpoints are set aside. None: go on after the last step.

        Raises:
            RunFileError: there is no run, it is a newer one, or another process trains it.
        """
        schema.database_of(run_dir)
        lock = RunLock(run_dir)
        try:
            writer = cls(run_dir, lock)
        except BaseException:
            lock.release()
            raise
        try:
            writer._begin_again(truncate_after)
        except BaseException:
            writer.close()
            raise
        return writer

    @property
    def last_step(self) -> int:
        """Number of the last finished step in the file, 0 if there is none."""
        return self._position.last_step

    @property
    def branch(self) -> int:
        """The branch being written; 0 until the run first goes back."""
        return self._position.branch

    @property
    def num_pending(self) -> int:
        """Events not yet in the file."""
        return len(self._pending)

    def write(self, event: Event) -> None:
        """Take one event.

        Raises:
            RunFileError: the file could not be written. The event is kept: see :meth:`flush`.
        """
        with self._guard:
            if self._closed:
                raise RunFileError(f"cannot write {self._path}: the run is closed")
            if isinstance(event, UNRECORDED):
                return
            self._pending.append(event)
            if isinstance(event, PROMPT_EVENTS):
                self.flush()

    def write_config_now(self, config_toml: str) -> None:
        """Write the config as it is after changes while the run ran, ready to start another run with.

        Nothing reads it again: a resumed run takes the changes from the run file.

        Raises:
            RunFileError: the disk does not take it.
        """
        _write_text(self.run_dir / schema.CONFIG_NOW, config_toml)

    def flush(self) -> None:
        """Write every pending event now; after a failure, try again.

        Raises:
            RunFileError: the disk (still) refuses; nothing is lost.
        """
        with self._guard:
            if not self._pending:
                return
            lines: list[tuple[Event, LogLine]] = []
            position = self._transaction(self._pending, lines)
            self._pending = []
            self._position = position
            self._append_log(lines)

    def close(self) -> None:
        """Write what is pending and let the run go. Safe to call twice.

        Raises:
            RunFileError: pending events could not be written; the run is closed nevertheless.
        """
        with self._guard:
            if self._closed:
                return
            try:
                self.flush()
            finally:
                self._closed = True
                _settle(self._connection)
                self._connection.close()
                self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # One transaction ----------------------------------------------------------------------------------------

    def _transaction(self, events: list[Event], lines: list[tuple[Event, LogLine]]) -> _Position:
        connection = self._connection
        with clear_errors("write", self._path):
            connection.execute("BEGIN IMMEDIATE")
            try:
                position = self._position
                for event in events:
                    position = self._apply(position, event, lines)
                position = self._store_groups(position, position.state.current)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        return position

    def _apply(self, position: _Position, event: Event, lines: list[tuple[Event, LogLine]]) -> _Position:
        if isinstance(event, RunStarted):
            position = self._go_back(self._forget(position), event.finished_steps)
        elif isinstance(event, StepStarted):
            position = self._go_back(self._forget(position), event.step - 1)
        elif isinstance(event, WentTo):
            position = self._stand_at(self._forget(position), event.branch, event.step)
        elif isinstance(event, BranchStarted):
            position = self._start_branch(self._forget(position), event)
        before = position.state
        state = reduce(before, event)
        lines.extend((event, line) for line in state.log)
        lean = RunState(current=state.current)
        position = replace(position, state=lean)
        match event:
            case StepStarted():
                position = self._start_step(position, event.step, event.time)
            case StepFinished():
                if before.current is None or before.current.step != event.metrics.step:
                    position = self._forget(position)
                return self._finish_step(position, event, state.recent[-1])
            case EvalFinished():
                record = codec.to_json(codec.encode_record(event.result)[0])
                self._connection.execute(
                    "INSERT OR REPLACE INTO evals VALUES (?, ?, ?, ?)",
                    (position.branch, event.result.step, event.time, record),
                )
            case CheckpointSaved():
                self._connection.execute(
                    "INSERT OR REPLACE INTO checkpoints VALUES (?, ?, ?, ?, ?)",
                    (position.branch, event.step, event.time, storable(event.path), event.num_bytes),
                )
        of_step = isinstance(event, _STEP_EVENTS)
        if isinstance(event, _GROUP_EVENTS) and lean.current is before.current:
            of_step = False  # for another step than the one in progress: the fold passes it over too
        self._insert_event(event, position.step_id if of_step else None)
        return position

    def _insert_event(self, event: Event, step_id: int | None) -> None:
        payload, blob = "", None
        if step_id is not None and _in_tables(event):
            if isinstance(event, GroupSampled | GroupScored):
                payload = str(event.group.index if isinstance(event, GroupSampled) else event.group_index)
        else:
            data, arrays = codec.encode(event)
            del data["type"]
            payload = codec.to_json(data)
            blob = codec.pack(arrays) if arrays else None
        self._connection.execute(
            "INSERT INTO events (time, type, step, step_id, payload, arrays) VALUES (?, ?, ?, ?, ?, ?)",
            (event.time, type(event).__name__, getattr(event, "step", None), step_id, payload, blob),
        )

    def _start_step(self, position: _Position, step: int, started: float) -> _Position:
        cursor = self._connection.execute(
            "INSERT INTO steps (branch, step, started) VALUES (?, ?, ?)", (position.branch, step, started)
        )
        return replace(position, step_id=cursor.lastrowid, stored={})

    def _finish_step(self, position: _Position, event: StepFinished, detail: StepDetail) -> _Position:
        if position.step_id is None:
            position = self._go_back(position, detail.step - 1)
            position = self._start_step(position, detail.step, event.time)
        position = self._store_groups(position, detail)
        metrics = codec.to_json(codec.encode_record(event.metrics)[0])
        self._connection.execute(
            "UPDATE steps SET finished = 1, ended = ?, metrics = ? WHERE id = ?",
            (event.time, metrics, position.step_id),
        )
        self._connection.execute(
            "INSERT INTO events (time, type, step, step_id, payload) VALUES (?, 'StepFinished', ?, ?, '')",
            (event.time, detail.step, position.step_id),
        )
        self._connection.execute("DELETE FROM meta WHERE key = 'head_step'")
        if self._indexed:
            self._connection.execute(
                "INSERT INTO completions_fts (rowid, text) SELECT c.id, c.text FROM completions c "
                "JOIN groups g ON g.id = c.group_id WHERE g.step_id = ? ORDER BY c.id",
                (position.step_id,),
            )
        return replace(position, step_id=None, stored={}, last_step=detail.step, state=RunState())

    def _forget(self, position: _Position) -> _Position:
        """Drop the step in progress: it starts again, or its process is gone."""
        if self._connection.execute("SELECT 1 FROM steps WHERE finished = 0").fetchone():
            unfinished = "(SELECT id FROM steps WHERE finished = 0)"
            groups = f"(SELECT id FROM groups WHERE step_id IN {unfinished})"
            for statement in (
                f"DELETE FROM completions WHERE group_id IN {groups}",
                f"DELETE FROM groups WHERE step_id IN {unfinished}",
                f"DELETE FROM events WHERE step_id IN {unfinished}",
                "DELETE FROM steps WHERE finished = 0",
            ):
                self._connection.execute(statement)
        return replace(position, step_id=None, stored={}, state=RunState())

    def _go_back(self, position: _Position, finished_steps: int) -> _Position:
        """Open a new branch if finished steps beyond ``finished_steps`` are being left."""
        if position.last_step <= finished_steps:
            return position
        # First the checkpoints: if we are killed in between, resuming takes an older one and comes here again.
        self._set_aside(finished_steps)
        cursor = self._connection.execute(
            "INSERT INTO branches (parent, fork_step, created) VALUES (?, ?, ?)",
            (position.branch, finished_steps, time.time()),
        )
        return self._set_head(position, int(cursor.lastrowid or 0), finished_steps)

    def _start_branch(self, position: _Position, event: BranchStarted) -> _Position:
        self._set_aside(event.fork_step)
        self._connection.execute(
            "INSERT INTO branches (id, parent, fork_step, created, name) VALUES (?, ?, ?, ?, ?)",
            (event.branch, event.parent, event.fork_step, event.time, storable(event.name)),
        )
        return self._set_head(position, event.branch, event.fork_step)

    def _stand_at(self, position: _Position, branch: int, step: int) -> _Position:
        """The end of ``step`` on the line of ``branch`` is where the run goes on, whatever comes after it."""
        records = self._connection.execute("SELECT id, parent, fork_step FROM branches").fetchall()
        tree = {b: BranchRecord(branch=b, parent=parent, fork_step=fork) for b, parent, fork in records}
        common = common_step(tree, position.branch, branch)
        self._set_aside(step if common is None else min(step, common))
        position = self._set_head(position, branch, step)
        bring_back(self.run_dir / schema.CHECKPOINTS, self._lineage())
        return position

    def _lineage(self) -> dict[int, int]:
        """The branches of the present line, the last first, each with its last step that counts."""
        return dict(self._connection.execute("SELECT branch, last_step FROM lineage"))

    def _set_aside(self, after: int) -> None:
        """Put away the present line's checkpoints beyond a step, each under the branch that it was taken on."""
        forks = dict(self._connection.execute("SELECT id, fork_step FROM branches WHERE parent IS NOT NULL"))
        for branch in self._lineage():
            set_aside(self.run_dir / schema.CHECKPOINTS, max(after, forks.get(branch, 0)), branch)

    def _set_head(self, position: _Position, branch: int, step: int) -> _Position:
        self._connection.execute("UPDATE meta SET value = ? WHERE key = 'active_branch'", (str(branch),))
        self._connection.execute("INSERT OR REPLACE INTO meta VALUES ('head_step', ?)", (str(step),))
        return replace(position, branch=branch, last_step=step)

    def _begin_again(self, truncate_after: int | None) -> None:
        connection = self._connection
        with clear_errors("write", self._path):
            connection.execute("BEGIN IMMEDIATE")
            try:
                position = self._forget(self._position)
                if truncate_after is not None:
                    position = self._go_back(position, truncate_after)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        self._position = position

    def _find_position(self) -> _Position:
        query = "SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'active_branch'"
        (branch,) = self._connection.execute(query).fetchone()
        (last,) = self._connection.execute("SELECT max(step) FROM live_steps").fetchone()
        return _Position(branch=branch, last_step=last or 0)

    # Records ------------------------------------------------------------------------------------------------

    def _store_groups(self, position: _Position, detail: StepDetail | None) -> _Position:
        if detail is None or position.step_id is None:
            return position
        changed = [group for group in detail.groups if position.stored.get(group.index) is not group]
        for group in changed:
            if group.index in position.stored:
                self._delete_group(position.step_id, group.index)
            self._insert_group(position.step_id, group)
        return (
            replace(position, stored={group.index: group for group in detail.groups}) if changed else position
        )

    def _delete_group(self, step_id: int, index: int) -> None:
        which = "(SELECT id FROM groups WHERE step_id = ? AND idx = ?)"
        self._connection.execute(f"DELETE FROM completions WHERE group_id = {which}", (step_id, index))
        self._connection.execute("DELETE FROM groups WHERE step_id = ? AND idx = ?", (step_id, index))

    def _insert_group(self, step_id: int, group: GroupRecord) -> None:
        data, _ = codec.encode_record(replace(group, completions=(), problem=_NO_PROBLEM))
        for name in ("index", "completions", "problem"):
            data.pop(name, None)
        cursor = self._connection.execute(
            "INSERT INTO groups (step_id, idx, problem, record) VALUES (?, ?, ?, ?)",
            (step_id, group.index, self._problem_row(group.problem), codec.to_json(data)),
        )
        self._connection.executemany(
            "INSERT INTO completions (group_id, idx, text, finish_reason, num_tokens, reward, advantage, verdict, "
            "record, arrays, measured, kl_ref, entropy) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?)",
            [_completion_row(cursor.lastrowid, place, item) for place, item in enumerate(group.completions)],
        )

    def _problem_row(self, problem: ProblemRecord) -> int:
        record = codec.to_json(codec.encode_record(problem)[0])
        digest = schema.problem_digest(record)
        row = self._connection.execute("SELECT id FROM problems WHERE digest = ?", (digest,)).fetchone()
        if row:
            return int(row[0])
        prompt, answer = storable(problem.prompt), storable(problem.answer)
        cursor = self._connection.execute(
            "INSERT INTO problems (digest, problem_id, prompt, answer, record) VALUES (?, ?, ?, ?, ?)",
            (digest, storable(problem.id), prompt, answer, record),
        )
        if self._indexed:
            self._connection.execute(
                "INSERT INTO problems_fts (rowid, prompt, answer) VALUES (?, ?, ?)",
                (cursor.lastrowid, prompt, answer),
            )
        return int(cursor.lastrowid or 0)

    def _append_log(self, lines: list[tuple[Event, LogLine]]) -> None:
        """Keep the text log. It is a copy: if it cannot be written, the run file has it all."""
        if not lines:
            return
        text = []
        for event, line in lines:
            stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(line.time))
            text.append(f"{stamp} {line.level:<7} {line.source}: {line.message}\n")
            if isinstance(event, TrainerFailed) and event.traceback:
                text.extend(f"    {row}\n" for row in event.traceback.rstrip().splitlines())
        try:
            with (self.run_dir / schema.LOG).open("a", encoding="utf-8", errors="replace") as file:
                file.writelines(text)
        except OSError:
            return


def _in_tables(event: Event) -> bool:
    """Whether the event of a step can be put together again from the step's groups."""
    if isinstance(event, GroupSampled):
        return all(
            c.reward is None and c.advantage is None and c.kl_ref_T is None and not c.scores
            for c in event.group.completions
        )
    return isinstance(event, _GROUP_EVENTS)


_NO_PROBLEM = ProblemRecord(id="", question="", prompt="", answer="")


def _completion_row(group_id: int | None, place: int, completion: CompletionRecord) -> tuple[Any, ...]:
    data, arrays = codec.encode_record(completion)
    for name in arrays:
        data.pop(name, None)
    text = storable(completion.text)
    if text == completion.text:
        del data["text"]
    verdict = completion.verdict
    return (
        group_id,
        place,
        text,
        storable(completion.finish_reason),
        completion.num_tokens,
        _finite(completion.reward),
        _finite(completion.advantage),
        None if verdict is None else str(verdict),
        codec.to_json(data),
        codec.pack(arrays),
        mean_over_tokens(arrays.get("kl_ref_T")),
        mean_over_tokens(arrays.get("entropies_T")),
    )


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=10.0, isolation_level=None, check_same_thread=False)


def _settle(connection: sqlite3.Connection) -> None:
    """Leave a closed run as one plain file, readable from a read-only place.

    While someone reads it the side file must stay, but everything in it goes to ``run.db`` too.
    """
    for statement in (
        "PRAGMA busy_timeout = 0",
        "PRAGMA wal_checkpoint(TRUNCATE)",
        "PRAGMA journal_mode = DELETE",
    ):
        try:
            connection.execute(statement).fetchall()
        except sqlite3.Error:
            continue


def _index_usable(connection: sqlite3.Connection) -> bool:
    """Whether the full-text index exists and can be kept; once it cannot, it is never trusted again."""
    known = "SELECT 1 FROM sqlite_master WHERE name = 'completions_fts'"
    stale = "SELECT 1 FROM meta WHERE key = 'index_stale'"
    if not connection.execute(known).fetchone() or connection.execute(stale).fetchone():
        return False
    if schema.has_fts5(connection):
        return True
    connection.execute("INSERT INTO meta VALUES ('index_stale', '1')")
    return False


def _create_database(path: Path, config_toml: str) -> None:
    """Make the file under another name first: ``run.db`` exists if and only if its tables do."""
    temporary = path.with_name(f".tmp-{path.name}")
    try:
        temporary.unlink(missing_ok=True)
        with clear_errors("create", path):
            connection = _connect(temporary)
            try:
                connection.execute("PRAGMA synchronous = OFF")  # made durable below, at once
                schema.migrate(connection)
                connection.execute("BEGIN")
                connection.executemany(
                    "INSERT INTO meta VALUES (?, ?)",
                    [
                        ("run_id", uuid.uuid4().hex),
                        ("created", repr(time.time())),
                        ("config_toml", storable(config_toml)),
                    ],
                )
                connection.execute("COMMIT")
            finally:
                connection.close()
        fsync(temporary)
        temporary.replace(path)
        fsync(path.parent)
    except OSError as error:
        raise os_error("create", path, error) from error


def _write_text(path: Path, text: str) -> None:
    temporary = path.with_name(f".tmp-{path.name}")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise os_error("write", path, error) from error
