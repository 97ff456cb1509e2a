"""A run as Parquet: one row per completion, or one row per step."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grpo_tui.events.records import CompletionRecord, EvalRecord, GroupRecord, StepDetail, StepMetrics
from grpo_tui.export.errors import ExportError
from grpo_tui.export.files import whole_file
from grpo_tui.runs.reader import RunReader
from grpo_tui.runs.schema import storable

if TYPE_CHECKING:
    import pyarrow

ROWS_AT_ONCE = 4096
"""Rows of one row group: a run is never in memory as a whole."""


def write_completions(run_dir: Path, out: Path, *, step: int | None = None, replace: bool = False) -> int:
    """Write one row per completion of a finished step, or of all; return how many.

    Columns, besides the names of the records: ``component_NAME`` is a reward component, unweighted; ``correct`` is null
    where truth was not found out; ``dead`` marks groups whose rewards are all equal; ``extracted`` is the answer that
    the verifier found; ``pushed`` the sum of the effective token weights of the update.

    Raises:
        ExportError: no such step, no finished step, or pyarrow is missing.
        RunFileError: the run cannot be read, or the disk refuses.
    """
    arrow, parquet = _pyarrow()
    with RunReader(run_dir) as reader:
        history = reader.history()
        steps = _steps(run_dir, history, step)
        schema = _completion_schema(arrow, [m for m in history if m.step in set(steps)])
        total = 0
        with (
            whole_file(out, replace=replace) as temporary,
            parquet.ParquetWriter(temporary, schema, compression="zstd") as writer,
        ):
            for rows in _pages(reader, steps):
                writer.write_table(arrow.Table.from_pylist(rows, schema=schema))
                total += len(rows)
    return total


def write_metrics(run_dir: Path, out: Path, *, replace: bool = False) -> int:
    """Write one row per finished step, with the held-out evaluation at that step where there was one; return how many.

    A mapping becomes a column for each of its keys, as ``seconds_by_phase.sample``; so does the report of the update.

    Raises:
        ExportError: no finished step, or pyarrow is missing.
        RunFileError: the run cannot be read, or the disk refuses.
    """
    arrow, parquet = _pyarrow()
    with RunReader(run_dir) as reader:
        history, evals = reader.history(), {record.step: record for record in reader.evals()}
    _steps(run_dir, history, None)
    rows = [metrics_row(metrics, evals.get(metrics.step)) for metrics in history]
    names = dict.fromkeys(name for row in rows for name in row)
    table = arrow.table({name: [row.get(name) for row in rows] for name in names})
    with whole_file(out, replace=replace) as temporary:
        parquet.write_table(table, temporary, compression="zstd")
    return len(rows)


def completion_row(step: int, group: GroupRecord, completion: CompletionRecord) -> dict[str, Any]:
    """One completion as plain values, with a component as ``component_NAME``."""
    problem = group.problem
    judged = next((s for s in completion.scores.values() if s.verdict is completion.verdict), None)
    weight = completion.weight_T
    row: dict[str, Any] = {
        "step": step,
        "group": group.index,
        "index": completion.index,
        "problem_id": storable(problem.id),
        "question": storable(problem.question),
        "prompt": storable(problem.prompt),
        "answer": storable(problem.answer),
        "text": storable(completion.text),
        "verdict": completion.verdict.value if completion.verdict is not None else None,
        "correct": completion.verdict.right if completion.verdict is not None else None,
        "extracted": storable(judged.explanation.answer_text) if judged else None,
        "why": storable(judged.explanation.sentence) if judged else None,
        "near_miss": storable(judged.explanation.near_miss) if judged else None,
        "reward": completion.reward,
        "advantage": completion.advantage,
        "kl_ref": completion.kl_ref,
        "pushed": float(weight.sum()) if weight is not None and weight.size else None,
        "num_tokens": completion.num_tokens,
        "num_prompt_tokens": problem.num_prompt_tokens,
        "finish_reason": storable(completion.finish_reason),
        "logprob_mean": _mean(completion.logprobs_T),
        "entropy_mean": _mean(completion.entropies_T),
        "dead": group.degenerate,
        "round": completion.round,
        "excluded": completion.excluded,
        "ahead": completion.ahead,
    }
    return row | {f"component_{storable(name)}": score.value for name, score in completion.scores.items()}


def metrics_row(metrics: StepMetrics, evaluation: EvalRecord | None) -> dict[str, Any]:
    """One step as plain values; nested ones under names with dots."""
    row = _flat("", metrics)
    if evaluation is not None:
        row |= {f"eval.{name}": value for name, value in _flat("", evaluation).items() if name != "step"}
    return row


def _flat(prefix: str, value: Any) -> dict[str, Any]:
    if dataclasses.is_dataclass(value):
        value = {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {
            key: leaf for name, part in value.items() for key, leaf in _flat(f"{prefix}{name}.", part).items()
        }
    name = storable(prefix.removesuffix("."))
    if isinstance(value, tuple):
        return {name: "\n".join(storable(str(part)) for part in value)}
    return {name: storable(value) if isinstance(value, str) else value}


def _pages(reader: RunReader, steps: Sequence[int]) -> Iterator[list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    for step in steps:
        detail = reader.load_step(step) or StepDetail(step=step)
        rows += [completion_row(step, group, c) for group in detail.groups for c in group.completions]
        if len(rows) >= ROWS_AT_ONCE:
            yield rows
            rows = []
    if rows:
        yield rows


def _completion_schema(arrow: Any, history: Sequence[StepMetrics]) -> pyarrow.Schema:
    text, whole, real = arrow.string(), arrow.int64(), arrow.float64()
    kinds = {
        **dict.fromkeys(("step", "group", "index", "num_tokens", "num_prompt_tokens", "round"), whole),
        **dict.fromkeys(("reward", "advantage", "kl_ref", "pushed", "logprob_mean", "entropy_mean"), real),
        **dict.fromkeys(("correct", "dead", "ahead"), arrow.bool_()),
    }
    components = dict.fromkeys(f"component_{storable(name)}" for m in history for name in m.component_means)
    names = [*COLUMNS[: COLUMNS.index("advantage")], *components, *COLUMNS[COLUMNS.index("advantage") :]]
    return arrow.schema([(name, real if name in components else kinds.get(name, text)) for name in names])


COLUMNS = (
    "step", "group", "index", "problem_id", "question", "prompt", "answer", "text", "verdict", "correct",
    "extracted", "why", "near_miss", "reward", "advantage", "kl_ref", "pushed", "num_tokens", "num_prompt_tokens",
    "finish_reason", "logprob_mean", "entropy_mean", "dead", "round", "ahead",
)  # fmt: skip
"""Columns of the completions, in order; those of the components stand after ``reward``."""


def _steps(run_dir: Path, history: Sequence[StepMetrics], step: int | None) -> list[int]:
    known = [metrics.step for metrics in history]
    if not known:
        raise ExportError(f"{run_dir} has no finished step yet; train it first: grpo-tui resume {run_dir}")
    if step is None:
        return known
    if step not in known:
        raise ExportError(f"{run_dir} has no finished step {step}; it has steps {known[0]} to {known[-1]}")
    return [step]


def _mean(values_T: Any) -> float | None:
    return float(values_T.mean()) if values_T.size else None


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ExportError("Parquet needs pyarrow; install it: pip install pyarrow") from error
    return pyarrow, pyarrow.parquet
