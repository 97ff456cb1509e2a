"""The run file's tables, its version, and how older files are brought up to it.

One directory per run::

    run.db         SQLite (WAL while it is written): everything below
    config.toml    the configuration, as given
    checkpoints/   see :mod:`grpo_tui.runs.checkpoints`
    history/       see :mod:`grpo_tui.runs.states`
    log            the log as text, a convenience copy
    lock           held by the process that trains the run

A completion's numbers live in one row each: ``record`` is the JSON of every field that is neither text nor
array, ``arrays`` one compressed blob (:func:`grpo_tui.events.codec.pack`); the columns beside them are copies
to query by. ``kl_ref`` and ``entropy`` are means over its tokens (NULL: not known) where ``measured`` is 1; rows of
older programs have none, and whoever asks of them unpacks the arrays. A row of ``events`` whose data lives in those tables has an empty payload.

**Branches.** A step belongs to the branch it was taken on. Going back to an earlier step and training on opens
a new branch; the old steps stay where they are. ``lineage`` lists the branches that lead to the present one, each
with the last step that counts, and ``live_steps`` is the default view: nothing is ever marked or deleted. A run that
went back and has not gone on yet stands at ``head_step`` (in ``meta``) of ``active_branch``; without one, at its end.
"""

from __future__ import annotations

import errno
import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

DATABASE = "run.db"
CONFIG = "config.toml"
CONFIG_NOW = "config-now.toml"
CHECKPOINTS = "checkpoints"
HISTORY = "history"
LOG = "log"

APPLICATION_ID = 0x6772706F
"""``grpo`` in the file's header: tells a run file from any other SQLite file."""


class RunFileError(ValueError):
    """A run cannot be read or written. The message is one line: what, where, what to do."""


def _first_version(connection: sqlite3.Connection) -> None:
    for statement in _FIRST_TABLES.split(";\n"):
        connection.execute(statement)
    if has_fts5(connection):
        connection.execute(
            "CREATE VIRTUAL TABLE completions_fts USING fts5(text, content='completions', content_rowid='id')"
        )
        connection.execute(
            "CREATE VIRTUAL TABLE problems_fts USING fts5(prompt, answer, content='problems', content_rowid='id')"
        )


_FIRST_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE branches (
    id INTEGER PRIMARY KEY,
    parent INTEGER REFERENCES branches (id),
    fork_step INTEGER NOT NULL,        -- the last step taken over from the parent
    created REAL NOT NULL
);

INSERT INTO branches VALUES (0, NULL, 0, strftime('%s', 'now'));

INSERT INTO meta VALUES ('active_branch', '0');

CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    time REAL NOT NULL,
    type TEXT NOT NULL,
    step INTEGER,                      -- the step it speaks of, if any
    step_id INTEGER REFERENCES steps (id),  -- set when it is part of that step, and forgotten with it
    payload TEXT NOT NULL,             -- JSON; empty when the data is in the tables below
    arrays BLOB
);

CREATE INDEX events_of_step ON events (step_id) WHERE step_id IS NOT NULL;

CREATE INDEX events_of_type ON events (type, seq);

CREATE TABLE steps (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    branch INTEGER NOT NULL REFERENCES branches (id),
    step INTEGER NOT NULL,
    finished INTEGER NOT NULL DEFAULT 0,
    started REAL NOT NULL,
    ended REAL,
    metrics TEXT,                      -- StepMetrics as JSON, once finished
    UNIQUE (branch, step)
);

CREATE TABLE problems (                -- each prompt once, however often it was drawn
    id INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,
    problem_id TEXT NOT NULL,
    prompt TEXT NOT NULL,
    answer TEXT NOT NULL,
    record TEXT NOT NULL               -- ProblemRecord as JSON, whole
);

CREATE TABLE groups (
    id INTEGER PRIMARY KEY,
    step_id INTEGER NOT NULL REFERENCES steps (id),
    idx INTEGER NOT NULL,
    problem INTEGER NOT NULL REFERENCES problems (id),
    record TEXT NOT NULL,              -- GroupRecord without problem and completions
    UNIQUE (step_id, idx)
);

CREATE INDEX groups_of_problem ON groups (problem);

CREATE TABLE completions (
    id INTEGER PRIMARY KEY,
    group_id INTEGER NOT NULL REFERENCES groups (id),
    idx INTEGER NOT NULL,              -- place in the group
    text TEXT NOT NULL,
    finish_reason TEXT NOT NULL,
    num_tokens INTEGER NOT NULL,
    reward REAL,
    advantage REAL,
    verdict TEXT,
    record TEXT NOT NULL,              -- CompletionRecord without text and arrays
    arrays BLOB NOT NULL,
    UNIQUE (group_id, idx)
);

CREATE TABLE evals (
    branch INTEGER NOT NULL REFERENCES branches (id),
    step INTEGER NOT NULL,
    time REAL NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (branch, step)
) WITHOUT ROWID;

CREATE TABLE checkpoints (
    branch INTEGER NOT NULL REFERENCES branches (id),
    step INTEGER NOT NULL,
    time REAL NOT NULL,
    path TEXT NOT NULL,
    num_bytes INTEGER NOT NULL,
    PRIMARY KEY (branch, step)
) WITHOUT ROWID;

CREATE VIEW lineage (branch, last_step) AS
    WITH RECURSIVE line (branch, last_step) AS (
        SELECT CAST(value AS INTEGER), 9223372036854775807 FROM meta WHERE key = 'active_branch'
        UNION ALL
        SELECT b.parent, min(b.fork_step, line.last_step)
        FROM line JOIN branches b ON b.id = line.branch WHERE b.parent IS NOT NULL
    )
    SELECT branch, last_step FROM line;

CREATE VIEW live_steps AS
    SELECT s.* FROM lineage l JOIN steps s ON s.branch = l.branch AND s.step <= l.last_step WHERE s.finished
"""

_HEAD = """
ALTER TABLE branches ADD COLUMN name TEXT NOT NULL DEFAULT '';

DROP VIEW live_steps;

DROP VIEW lineage;

CREATE VIEW lineage (branch, last_step) AS
    WITH RECURSIVE line (branch, last_step) AS (
        SELECT CAST(value AS INTEGER), coalesce(
            (SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'head_step'), 9223372036854775807)
        FROM meta WHERE key = 'active_branch'
        UNION ALL
        SELECT b.parent, min(b.fork_step, line.last_step)
        FROM line JOIN branches b ON b.id = line.branch WHERE b.parent IS NOT NULL
    )
    SELECT branch, last_step FROM line;

CREATE VIEW live_steps AS
    SELECT s.* FROM lineage l JOIN steps s ON s.branch = l.branch AND s.step <= l.last_step WHERE s.finished
"""


def _named_branches_and_a_head(connection: sqlite3.Connection) -> None:
    for statement in _HEAD.split(";\n"):
        connection.execute(statement)


_MEASURED = """
DROP TABLE completions;

CREATE TABLE completions (
    id INTEGER PRIMARY KEY,
    group_id INTEGER NOT NULL REFERENCES groups (id),
    idx INTEGER NOT NULL,              -- place in the group
    measured INTEGER NOT NULL DEFAULT 0,  -- whether the means below are those of the arrays
    kl_ref REAL,
    entropy REAL,
    text TEXT NOT NULL,
    finish_reason TEXT NOT NULL,
    num_tokens INTEGER NOT NULL,
    reward REAL,
    advantage REAL,
    verdict TEXT,
    record TEXT NOT NULL,              -- CompletionRecord without text and arrays
    arrays BLOB NOT NULL,
    UNIQUE (group_id, idx)
)
"""


def _means_beside_the_arrays(connection: sqlite3.Connection) -> None:
    """In a new file before everything long, so that a filter need not read past it; else behind, which costs nothing."""
    if connection.execute("SELECT 1 FROM completions LIMIT 1").fetchone():
        for column in ("measured INTEGER NOT NULL DEFAULT 0", "kl_ref REAL", "entropy REAL"):
            connection.execute(f"ALTER TABLE completions ADD COLUMN {column}")
        return
    for statement in _MEASURED.split(";\n"):
        connection.execute(statement)


Migration = Callable[[sqlite3.Connection], None]

MIGRATIONS: tuple[Migration, ...] = (_first_version, _named_branches_and_a_head, _means_beside_the_arrays)
"""The n-th brings a file of version n to version n + 1; the first makes an empty file a run file."""
DISPENSABLE: frozenset[Migration] = frozenset((_means_beside_the_arrays,))
"""Those that a reader does without: a file that lacks no others is read where it lies, and not copied to be migrated."""


def readable_as_it_is(version: int) -> bool:
    """Whether a reader needs nothing that a file of this version lacks."""
    return all(step in DISPENSABLE for step in MIGRATIONS[version:])


def mean_over_tokens(array: npt.NDArray[Any] | None) -> float | None:
    """What the columns hold of an array, and what a filter asks of it where there are none; None where it is not known."""
    if array is None or not array.size:
        return None
    mean = float(np.ascontiguousarray(array).mean())
    return mean if mean == mean else None


def has_means(connection: sqlite3.Connection) -> bool:
    """Whether answers have the columns of :func:`mean_over_tokens`."""
    found = connection.execute("SELECT 1 FROM pragma_table_info('completions') WHERE name = 'measured'")
    return found.fetchone() is not None


def storable(text: str) -> str:
    """The text as SQLite and UTF-8 can hold it: lone surrogates become question marks."""
    return text if text.isascii() else text.encode(errors="replace").decode()


def problem_digest(record: str) -> bytes:
    """Key of a problem in its table, from its record as JSON."""
    return hashlib.sha256(record.encode()).digest()[:16]


def has_fts5(connection: sqlite3.Connection) -> bool:
    """Whether this SQLite can keep a full-text index."""
    try:
        connection.execute("CREATE VIRTUAL TABLE temp.fts5_probe USING fts5(x)")
        connection.execute("DROP TABLE temp.fts5_probe")
    except sqlite3.OperationalError:
        return False
    return True


def migrate(connection: sqlite3.Connection) -> None:
    """Bring an open file to this program's version, in one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        for step in MIGRATIONS[version:]:
            step(connection)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def check(connection: sqlite3.Connection, path: Path) -> int:
    """Make sure that this is a run file this program can read, and return its version.

    Raises:
        RunFileError: it is another kind of file, or a newer one.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        raise RunFileError(f"cannot open {path}: it is not a grpo-tui run file; give the directory of a run")
    if version > len(MIGRATIONS):
        raise RunFileError(
            f"cannot open {path}: it was written by a newer grpo-tui (file version {version}, this program reads "
            f"up to {len(MIGRATIONS)}); upgrade grpo-tui"
        )
    return int(version)


def database_of(run_dir: Path) -> Path:
    """The run's database.

    Raises:
        RunFileError: there is none.
    """
    path = run_dir / DATABASE
    if not run_dir.is_dir():
        raise RunFileError(f"cannot open {run_dir}: no such directory; give the directory of a run")
    if not path.is_file():
        raise RunFileError(
            f"cannot open {run_dir}: there is no {DATABASE} in it; give the directory of a run"
        )
    return path


_CAUSES = {
    errno.ENOSPC: "No space left on device; free space, then retry",
    errno.EDQUOT: "the disk quota is used up; free space, then retry",
    errno.EFBIG: "the file may not grow further (file size limit); raise the limit, then retry",
    errno.EROFS: "the disk is read-only; choose another directory",
    errno.EACCES: "permission denied; choose another directory or correct its permissions",
}


def os_error(action: str, path: Path, error: OSError) -> RunFileError:
    """One line for a file operation that failed."""
    return RunFileError(
        f"cannot {action} {path}: {_CAUSES.get(error.errno or 0, error.strerror or str(error))}"
    )


_PRIMARY_CAUSES = {
    sqlite3.SQLITE_FULL: "No space left on device; free space, then retry",
    sqlite3.SQLITE_IOERR: "the disk reports an error (or is full); check it and free space, then retry",
    sqlite3.SQLITE_CORRUPT: "the file is damaged; recover what is left with `sqlite3 run.db .recover`",
    sqlite3.SQLITE_NOTADB: "it is not a grpo-tui run file; give the directory of a run",
    sqlite3.SQLITE_READONLY: "the file is read-only; correct its permissions",
    sqlite3.SQLITE_BUSY: "another program holds the file; close it, then retry",
    sqlite3.SQLITE_LOCKED: "another program holds the file; close it, then retry",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; check that the directory exists and its permissions",
}


@contextmanager
def clear_errors(action: str, path: Path) -> Iterator[None]:
    """Turn SQLite's errors into :class:`RunFileError`."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None)
        cause = _PRIMARY_CAUSES.get(code & 0xFF) if code is not None else None
        raise RunFileError(f"cannot {action} {path}: {cause or str(error).splitlines()[0]}") from error
