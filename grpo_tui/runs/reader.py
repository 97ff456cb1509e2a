"""Read a run: finished, or while another process (or thread) writes it.

Everything here sees one consistent moment of the file and never writes to it. Damage, a file of a newer program
and a directory that is no run are one :class:`~grpo_tui.runs.schema.RunFileError`.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self, TypeVar

from grpo_tui.events import codec
from grpo_tui.events.fold import reduce
from grpo_tui.events.records import (
    EvalRecord,
    GroupRecord,
    ProblemRecord,
    StepDetail,
    StepMetrics,
)
from grpo_tui.events.state import RunState
from grpo_tui.events.types import (
    BranchStarted,
    CheckpointSaved,
    Event,
    RunStarted,
    SettingsChanged,
    StepFinished,
    WentTo,
)
from grpo_tui.runs import lines, prompts, schema, search
from grpo_tui.runs.answers import RecordedAnswer, answers_of
from grpo_tui.runs.details import load_detail, metrics_of, rebuild
from grpo_tui.runs.lines import Branch, Visit
from grpo_tui.runs.lock import is_locked
from grpo_tui.runs.query import Query
from grpo_tui.runs.schema import RunFileError, clear_errors, os_error
from grpo_tui.runs.search import SearchHit
from grpo_tui.runs.triage import PromptHistory

_E = TypeVar("_E", bound=Event)
_PAGE = 512
PATIENCE_SECONDS = 10.0
"""How long a reader waits for a program that holds the file."""


class Snapshot(NamedTuple):
    """A folded state and the last event in it: go on with ``events(after_seq=seq)``."""

    state: RunState
    seq: int


class Head(NamedTuple):
    """Where a run stands. ``state_hash`` is empty before the first step."""

    branch: int
    step: int
    state_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of steps from the first to the last of a branch."""

    branch: int
    history: tuple[StepMetrics, ...]
    evals: tuple[EvalRecord, ...]


class RunReader:
    """A run, read-only. Methods may be called from any thread."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self._path = schema.database_of(run_dir)
        self._guard = threading.RLock()
        with clear_errors("open", self._path):
            self._connection = _open_read_only(self._path)
            search.prepare(self._connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let the file go. Safe to call twice."""
        with self._guard:
            self._connection.close()

    @property
    def being_trained(self) -> bool:
        """Whether a process is training this run at this moment."""
        return is_locked(self.run_dir)

    def config_toml(self) -> str:
        """The configuration as it was given."""
        path = self.run_dir / schema.CONFIG
        try:
            return path.read_text(encoding="utf-8")
        except FileNotFoundError:
            with self._moment() as db:
                row = db.execute("SELECT value FROM meta WHERE key = 'config_toml'").fetchone()
            return str(row[0]) if row else ""
        except OSError as error:
            raise os_error("read", path, error) from error
        except UnicodeDecodeError as error:
            raise RunFileError(f"cannot read {path}: it is not UTF-8 text; restore it from a copy") from error

    def last_step(self) -> int:
        """Number of the last finished step; 0 before the first."""
        with self._moment() as db:
            (last,) = db.execute("SELECT max(step) FROM live_steps").fetchone()
        return int(last or 0)

    def last_metrics(self) -> StepMetrics | None:
        """What the last finished step measured."""
        with self._moment() as db:
            row = db.execute("SELECT metrics FROM live_steps ORDER BY step DESC LIMIT 1").fetchone()
            return metrics_of(row[0]) if row else None

    def history(self, *, lean: bool = False) -> tuple[StepMetrics, ...]:
        """One entry per finished step, oldest first; abandoned futures are left out.

        Args:
            lean: without the gradient norms by module (see :meth:`snapshot`).
        """
        with self._moment() as db:
            column = _LEAN_METRICS if lean else "s.metrics"
            rows = db.execute(f"SELECT {column} FROM live_steps s ORDER BY s.step")
            return tuple(metrics_of(row[0]) for row in rows)

    def evals(self) -> tuple[EvalRecord, ...]:
        """Held-out evaluations, oldest first."""
        with self._moment() as db:
            rows = db.execute(_LIVE.format("e.step, e.record", "evals")).fetchall()
            found = {row[0]: codec.decode_record(EvalRecord, json.loads(row[1])) for row in rows}
        return tuple(found.values())

    def checkpoints(self) -> tuple[CheckpointSaved, ...]:
        """Checkpoints said to be saved, oldest first (older ones may have been pruned from the disk since)."""
        with self._moment() as db:
            rows = db.execute(_LIVE.format("e.step, e.time, e.path, e.num_bytes", "checkpoints")).fetchall()
        found = {s: CheckpointSaved(step=s, time=time, path=path, num_bytes=n) for s, time, path, n in rows}
        return tuple(found.values())

    def head(self) -> Head:
        """Where the run stands: at the end of a step of a line."""
        with self._moment() as db:
            (branch,) = db.execute(_ACTIVE).fetchone()
            row = db.execute("SELECT step, metrics FROM live_steps ORDER BY step DESC LIMIT 1").fetchone()
        if row is None:
            return Head(branch=int(branch), step=0, state_hash="")
        metrics = codec.decode_record(StepMetrics, json.loads(row[1]))
        return Head(branch=int(branch), step=int(row[0]), state_hash=metrics.state_hash)

    def line(self, branch: int) -> Line:
        """All finished steps and evaluations of the line that ends in a branch, whatever line is the present one.

        Raises:
            RunFileError: there is no such branch.
        """
        with self._moment() as db:
            if not db.execute("SELECT 1 FROM branches WHERE id = ?", (branch,)).fetchone():
                raise RunFileError(f"cannot read {self._path}: it has no branch {branch}")
            steps = db.execute(
                _LINE.format("e.step, e.metrics", "steps", "AND e.finished"), (branch,)
            ).fetchall()
            evals = db.execute(_LINE.format("e.step, e.record", "evals", ""), (branch,)).fetchall()
            return Line(
                branch=branch,
                history=tuple(codec.decode_record(StepMetrics, json.loads(text)) for _, text in steps),
                evals=tuple(
                    {step: codec.decode_record(EvalRecord, json.loads(text)) for step, text in evals}.values()
                ),
            )

    def states(self) -> dict[tuple[int, int], str]:
        """The hash of the state after every finished step, by branch and step."""
        with self._moment() as db:
            rows = db.execute(
                "SELECT branch, step, json_extract(metrics, '$.state_hash') FROM steps WHERE finished"
            ).fetchall()
        return {(branch, step): state_hash or "" for branch, step, state_hash in rows}

    def load_step(self, step: int, branch: int | None = None) -> StepDetail | None:
        """A finished step with its groups.

        Args:
            step: its number.
            branch: None for the present line of steps; a number for that branch, however abandoned.
        """
        with self._moment() as db:
            if branch is None:
                row = db.execute("SELECT id FROM live_steps WHERE step = ?", (step,)).fetchone()
            else:
                query = "SELECT id FROM steps WHERE branch = ? AND step = ? AND finished"
                row = db.execute(query, (branch, step)).fetchone()
            return load_detail(db, row[0]) if row else None

    def load_group(self, step: int, index: int) -> GroupRecord | None:
        """One group of a finished step, or of the step in progress as far as it has been written."""
        with self._moment() as db:
            row = db.execute(
                "SELECT g.id, g.step_id FROM groups g WHERE g.idx = :index AND g.step_id = coalesce("
                "(SELECT id FROM live_steps WHERE step = :step), "
                "(SELECT id FROM steps WHERE step = :step AND NOT finished))",
                {"step": step, "index": index},
            ).fetchone()
            if row is None:
                return None
            groups = load_detail(db, row[1], group_id=row[0]).groups
        return groups[0]

    def groups_of_problem(self, problem: ProblemRecord) -> tuple[Visit, ...]:
        """Every group that a prompt had in finished steps, oldest first; abandoned futures are left out."""
        digest = schema.problem_digest(codec.to_json(codec.encode_record(problem)[0]))
        with self._moment() as db:
            return lines.groups_of_problem(db, digest)

    def prompt_histories(self) -> tuple[PromptHistory, ...]:
        """Every prompt's groups in finished steps, counted; abandoned futures are left out."""
        with self._moment() as db:
            return prompts.prompt_histories(db)

    def recorded_answers(self, branch: int, step: int, max_tokens: int) -> list[RecordedAnswer]:
        """The answers of a finished step as a reward reads them.

        Args:
            branch: of the step.
            step: its number.
            max_tokens: the limit that length rewards are told.
        """
        with self._moment() as db:
            return list(answers_of(db, branch, step, max_tokens))

    def load_state(self) -> RunState:
        """The run as the fold of all its events: see :meth:`snapshot`."""
        return self.snapshot().state

    def snapshot(self, *, lean: bool = False) -> Snapshot:
        """The fold of every stored event, made without reading what it would forget.

        Args:
            lean: leave the gradient norms by module out of ``history``, which are most of a long run's memory;
                :meth:`load_step` has them.

        It equals :func:`~grpo_tui.events.fold.reduce` over ``events()``, and over the events given to the
        writer: also ``recent`` and ``current`` with their groups, phases and log. Of a step that was dropped
        (retried, or in progress when its process was killed) only the events outside the step remain.
        """
        with self._moment() as db:
            state = RunState()
            rows = db.execute(_FEW_EVENTS.replace("s.metrics", _LEAN_METRICS if lean else "s.metrics"))
            for _, event in self._decoded(db, rows, skip_groups=True):
                if event is not None:
                    state = reduce(state, event)
            recent = []
            for detail in state.recent:
                row = db.execute("SELECT id FROM live_steps WHERE step = ?", (detail.step,)).fetchone()
                recent.append(load_detail(db, row[0]) if row else detail)
            current = state.current
            if current is not None:
                row = db.execute(
                    "SELECT id FROM steps WHERE step = ? AND finished = 0", (current.step,)
                ).fetchone()
                current = load_detail(db, row[0]) if row else current
            (last,) = db.execute("SELECT max(seq) FROM events").fetchone()
        return Snapshot(replace(state, recent=tuple(recent), current=current), int(last or 0))

    def last_seq(self) -> int:
        """Sequence number of the newest stored event; 0 when there is none."""
        with self._moment() as db:
            (last,) = db.execute("SELECT max(seq) FROM events").fetchone()
        return int(last or 0)

    def last_event(self, kind: type[_E]) -> _E | None:
        """The newest stored event of a kind that stands outside the steps (``RunStarted``, ``RunEnded`` …)."""
        with self._moment() as db:
            rows = db.execute(_LAST_EVENT, (kind.__name__,))
            event = next((event for _, event in self._decoded(db, rows)), None)
        return event if isinstance(event, kind) else None

    def events_of(self, *kinds: type[Event]) -> list[Event]:
        """Stored events of these kinds, which stand outside the steps, oldest first."""
        names = [kind.__name__ for kind in kinds]
        marks = ", ".join("?" for _ in names)
        with self._moment() as db:
            rows = db.execute(f"{_EVENT_COLUMNS} WHERE e.type IN ({marks}) ORDER BY e.seq", names)
            found = [event for _, event in self._decoded(db, rows)]
        return [event for event in found if event is not None]

    def settings_changes(self) -> tuple[SettingsChanged, ...]:
        """Changes of settings on the present branch, oldest first."""
        state = RunState()
        for event in self.events_of(RunStarted, SettingsChanged, WentTo, BranchStarted):
            state = reduce(state, event)
        return state.settings_changes

    def all_settings_changes(self) -> tuple[SettingsChanged, ...]:
        """Changes of settings on whatever branch, oldest first."""
        return tuple(e for e in self.events_of(SettingsChanged) if isinstance(e, SettingsChanged))

    def events(self, after_seq: int = 0, limit: int | None = None) -> list[tuple[int, Event]]:
        """Stored events with their sequence numbers, oldest first; events of newer programs are passed over.

        An event that was stored more than once for the same group (a score changed later) reads as the last.

        Args:
            after_seq: only events after this one.
            limit: at most so many events; None for all.
        """
        found: list[tuple[int, Event]] = []
        with self._moment() as db:
            rows = db.execute(_ALL_EVENTS, (after_seq,))
            for seq, event in self._decoded(db, rows):
                if event is not None:
                    found.append((seq, event))
                    if len(found) == limit:
                        break
        return found

    def search(self, text: str, limit: int = 50) -> tuple[SearchHit, ...]:
        """Find text in prompts, gold answers and completions of finished steps; newest first.

        Every word must occur, in any order, and a word also matches the beginning of a longer one; case does not
        matter. A word of signs only (``+``) is looked for as it stands. A prompt is reported once, at its last use.
        """
        with self._moment() as db:
            return search.search(db, text, limit)

    def matching(self, query: Query, limit: int = 500) -> tuple[SearchHit, ...]:
        """The newest answers of finished steps for which a filter holds (:mod:`grpo_tui.runs.query`)."""
        with self._moment() as db:
            return search.matching(db, query, limit)

    def branches(self) -> tuple[Branch, ...]:
        """Every line of steps that the run has taken, in order of its making."""
        with self._moment() as db:
            return lines.branches(db)

    def components(self) -> tuple[str, ...]:
        """Names of the reward components, as of the newest finished step."""
        metrics = self.last_metrics()
        return tuple(metrics.component_means) if metrics is not None else ()

    def show_branch(self, branch: int | None) -> None:
        """Make another branch the line of steps that every method here speaks of; None for the present one.

        Events know no branches: :meth:`snapshot` and :meth:`events` are always of the run as it went.
        """
        with self._guard, clear_errors("read", self._path):
            lines.show_branch(self._connection, branch)

    def interrupt(self) -> None:
        """Make a method that another thread is in raise :class:`RunFileError` soon; harmless when there is none."""
        self._connection.interrupt()

    # ----------------------------------------------------------------------------------------------------------

    @contextmanager
    def _moment(self) -> Iterator[sqlite3.Connection]:
        """One read transaction, with every error made clear."""
        with self._guard, clear_errors("read", self._path):
            self._connection.execute("BEGIN")
            try:
                yield self._connection
            except (codec.CodecError, json.JSONDecodeError) as error:
                raise RunFileError(
                    f"cannot read {self._path}: the file is damaged ({error}); "
                    "recover what is left with `sqlite3 run.db .recover`"
                ) from error
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def _decoded(
        self,
        db: sqlite3.Connection,
        rows: sqlite3.Cursor,
        *,
        skip_groups: bool = False,
    ) -> Iterator[tuple[int, Event | None]]:
        loaded: dict[int, StepDetail] = {}
        while page := rows.fetchmany(_PAGE):
            for seq, time, kind, step_id, payload, blob, metrics in page:
                if kind == "StepFinished":
                    yield seq, StepFinished(time=time, metrics=metrics_of(metrics))
                elif kind in _REBUILT and not payload.startswith("{"):
                    if skip_groups:
                        continue
                    if step_id not in loaded:
                        loaded = {step_id: load_detail(db, step_id)}
                    yield seq, rebuild(kind, time, payload, loaded[step_id])
                else:
                    arrays = codec.unpack(blob) if blob else {}
                    yield seq, codec.decode({"type": kind, **json.loads(payload)}, arrays)


_EVENT_COLUMNS = """
SELECT e.seq, e.time, e.type, e.step_id, e.payload, e.arrays, s.metrics FROM events e
LEFT JOIN steps s ON s.id = e.step_id AND e.type = 'StepFinished'
"""
_ALL_EVENTS = f"{_EVENT_COLUMNS} WHERE e.seq > ? ORDER BY e.seq"
_LAST_EVENT = f"{_EVENT_COLUMNS} WHERE e.type = ? ORDER BY e.seq DESC LIMIT 1"
_REBUILT = ("GroupSampled", "GroupScored", "AdvantagesComputed", "ReferenceComputed", "TokensWeighed")
_OF_STEP = ", ".join(f"'{name}'" for name in ("StepStarted", "PhaseStarted", "PhaseFinished", *_REBUILT))
_FEW_EVENTS = f"""{_EVENT_COLUMNS}
WHERE e.type NOT IN ({_OF_STEP})
   OR e.seq >= (SELECT coalesce(max(seq), 0) FROM events WHERE type = 'StepStarted')
ORDER BY e.seq
"""
"""What a step is made of is forgotten when the next one starts: only the last step's is needed."""

_LEAN_METRICS = "json_remove(s.metrics, '$.update.grad_norm_by_module')"
"""Half of a long run's metrics are these norms, and nearly all of the time it takes to parse them."""

_ACTIVE = "SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'active_branch'"
_LINE = """
WITH RECURSIVE line (branch, last_step) AS (
    SELECT ?, 9223372036854775807
    UNION ALL
    SELECT b.parent, min(b.fork_step, line.last_step)
    FROM line JOIN branches b ON b.id = line.branch WHERE b.parent IS NOT NULL
)
SELECT {} FROM line l JOIN {} e ON e.branch = l.branch AND e.step <= l.last_step {} ORDER BY e.step, e.branch
"""
_LIVE = """
SELECT {} FROM lineage l JOIN {} e ON e.branch = l.branch AND e.step <= l.last_step ORDER BY e.step, e.branch
"""


def _open_read_only(path: Path) -> sqlite3.Connection:
    connection = _connect(path, "mode=ro")
    try:
        try:
            version = schema.check(connection, path)
        except sqlite3.OperationalError as error:
            # A read-only place where SQLite cannot make its side files: fine if there is nothing in a side file.
            held = error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            if held or path.with_name(path.name + "-wal").exists():
                raise
            connection.close()
            connection = _connect(path, "mode=ro&immutable=1")
            version = schema.check(connection, path)
        if schema.readable_as_it_is(version):
            return connection
        copy = sqlite3.connect(
            "", isolation_level=None, check_same_thread=False
        )  # private, deleted on closing
        connection.backup(copy)
        connection.close()
        schema.migrate(copy)
        return copy
    except BaseException:
        connection.close()
        raise


def _connect(path: Path, options: str) -> sqlite3.Connection:
    uri = f"{path.resolve().as_uri()}?{options}"
    return sqlite3.connect(
        uri, uri=True, timeout=PATIENCE_SECONDS, isolation_level=None, check_same_thread=False
    )
