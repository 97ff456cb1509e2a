"""A folder of completions that TRL logged (``log_completions=True``), read as steps of a run.

TRL's GRPOTrainer writes ``completions/completions_00010.parquet`` below its output folder at each logging step, with the
columns ``step``, ``prompt``, ``completion``, one for each reward function (unweighted), what the rewards logged besides,
and ``advantage``. Prompts and completions are texts, or lists of chat messages.

What is not in there is not made up: tokens, log-probs, KL, losses and times stay unknown (no arrays, NaN). The reward is
the sum of the components, which is TRL's own where ``reward_weights`` was not set.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from grpo_tui.events.records import CompletionRecord, GroupRecord, ProblemRecord, StepMetrics
from grpo_tui.events.types import (
    AdvantagesComputed,
    Event,
    GroupSampled,
    GroupScored,
    StepFinished,
    StepStarted,
)
from grpo_tui.runs.schema import RunFileError, os_error
from rewards.base import Explanation, Score, Verdict

_NAME = re.compile(r"completions_(\d+)\.parquet")
_NOT_REWARDS = ("step", "prompt", "completion", "advantage", "image", "images", "mode")
_GOLD = ("answer", "gold", "gold_answer", "solution", "ground_truth")
_NO_TOKENS = np.zeros(0, dtype=np.int32)
_NO_NUMBERS = np.zeros(0, dtype=np.float32)


def completions_folder(path: Path) -> Path | None:
    """The folder with the files: the one given, or ``completions`` below it; None if there are none."""
    for folder in (path, path / "completions"):
        if files_in(folder):
            return folder
    return None


def files_in(folder: Path) -> dict[int, Path]:
    """Files of completions by step, ascending.

    Raises:
        RunFileError: the folder cannot be read (one that does not exist has no files).
    """
    try:
        found = [(match, path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise os_error("read", folder, error) from error
    return dict(sorted((int(match[1]), path) for match, path in found))


def read_step(path: Path, step: int) -> list[Event]:
    """The events of one file, as an engine would have told them.

    Raises:
        RunFileError: it is no Parquet file, or has no columns ``prompt`` and ``completion``.
    """
    rows, names = _read(path)
    groups, rewards, scores, advantages = [], [], [], []
    for index, members in enumerate(_by_prompt(rows)):
        group = _group(index, members)
        groups.append(group)
        parts = [_scores(row, names) for row in members]
        scores.append(parts)
        rewards.append(tuple(_total(part) for part in parts))
        advantages.append(tuple(_number(row.get("advantage")) for row in members))
    at = path.stat().st_mtime
    events: list[Event] = [StepStarted(time=at, step=step)]
    events += [GroupSampled(time=at, step=step, group=group) for group in groups]
    events += [
        GroupScored(time=at, step=step, group_index=group.index, rewards_G=values, scores_G=tuple(parts))
        for group, values, parts in zip(groups, rewards, scores, strict=True)
    ]
    if not all(math.isnan(value) for group in advantages for value in group):
        events.append(AdvantagesComputed(time=at, step=step, advantages_P_G=tuple(advantages)))
    events.append(StepFinished(time=at, metrics=_metrics(step, rewards, advantages, scores, names)))
    return events


def _read(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows, and the names of the reward columns. pyarrow is imported here: nothing else needs it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except OSError as error:
        raise os_error("read", path, error) from error
    except pa.ArrowException as error:
        raise RunFileError(f"cannot read {path}: it is not a Parquet file, or it is cut short") from error
    missing = [name for name in ("prompt", "completion") if name not in table.column_names]
    if missing:
        raise RunFileError(
            f"cannot read {path}: it has no column {missing[0]}; give a folder that TRL's log_completions wrote"
        )
    numeric = [
        field.name
        for field in table.schema
        if field.name not in _NOT_REWARDS
        and (pa.types.is_floating(field.type) or pa.types.is_integer(field.type))
        and not field.name.startswith("__index")
    ]
    return table.to_pylist(), numeric


def _by_prompt(rows: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(chat_text(row["prompt"]), []).append(row)
    yield from groups.values()


def chat_text(value: Any) -> str:
    """A text as it is, or the messages of a chat one after the other, each with its role."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        return "" if value is None else str(value)
    parts = []
    for message in value:
        role = message.get("role", "") if isinstance(message, dict) else ""
        content = _content(message.get("content") if isinstance(message, dict) else message)
        parts.append(
            content if len(value) == 1 and role == "assistant" else f"[{role}] {content}" if role else content
        )
    return "\n".join(parts)


def _content(content: Any) -> str:
    if isinstance(content, list):  # parts of several kinds: what is text is kept, the rest is named
        parts = [part if isinstance(part, dict) else {"text": str(part)} for part in content]
        return " ".join(str(part.get("text") or f"<{part.get('type', 'part')}>") for part in parts)
    return "" if content is None else str(content)


def _group(index: int, rows: Sequence[dict[str, Any]]) -> GroupRecord:
    prompt = chat_text(rows[0]["prompt"])
    asked = rows[0]["prompt"]
    last = asked[-1] if isinstance(asked, list) and asked else None
    question = _content(last.get("content")) if isinstance(last, dict) else prompt
    gold = next((str(rows[0][name]) for name in _GOLD if isinstance(rows[0].get(name), str | int)), "")
    problem = ProblemRecord(
        id=hashlib.sha256(prompt.encode(errors="replace")).hexdigest()[:8],
        question=question,
        prompt=prompt,
        answer=gold,
    )
    completions = tuple(
        CompletionRecord(
            index=place,
            text=chat_text(row["completion"]),
            finish_reason="",
            token_ids_T=_NO_TOKENS,
            token_offsets_T=_NO_TOKENS,
            logprobs_T=_NO_NUMBERS,
            entropies_T=_NO_NUMBERS,
        )
        for place, row in enumerate(rows)
    )
    return GroupRecord(index=index, problem=problem, completions=completions)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _scores(row: dict[str, Any], names: Sequence[str]) -> dict[str, Score]:
    made = {}
    for name in names:
        value = row.get(name)
        known = isinstance(value, int | float) and math.isfinite(value)
        said = f"TRL recorded {value:g} for {name}." if known else f"{name} gave no reward here."
        made[name] = Score(
            value=float(value) if known and value is not None else None,
            verdict=Verdict.NOT_JUDGED,
            explanation=Explanation(sentence=said),
        )
    return made


def _total(scores: dict[str, Score]) -> float:
    values = [score.value for score in scores.values() if score.value is not None]
    return sum(values) if values else math.nan


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return float(np.mean(known)) if known else math.nan


def _spread(values: Sequence[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return float(np.std(known, ddof=1)) if len(known) > 1 else math.nan


def _metrics(
    step: int,
    rewards: Sequence[tuple[float, ...]],
    advantages: Sequence[tuple[float, ...]],
    scores: Sequence[Sequence[dict[str, Score]]],
    names: Sequence[str],
) -> StepMetrics:
    every = [value for group in rewards for value in group]
    parts = [score for group in scores for score in group]
    values = {name: [p[name].value for p in parts if p[name].value is not None] for name in names}
    verdicts = Counter(str(score.verdict) for part in parts for score in list(part.values())[:1])
    return StepMetrics(
        step=step,
        reward_mean=_mean(every),
        reward_std=_spread(every),
        group_std_mean=_mean([_spread(group) for group in rewards]),
        accuracy=math.nan,
        component_means={name: _mean([v for v in values[name] if v is not None]) for name in names},
        verdict_counts=dict(verdicts),
        advantage_abs_mean=_mean([abs(value) for group in advantages for value in group]),
        kl_ref=None,
        kl_old=math.nan,
        entropy=math.nan,
        loss=math.nan,
        policy_loss=math.nan,
        kl_loss=math.nan,
        grad_norm=math.nan,
        clip_fraction=math.nan,
        learning_rate=math.nan,
        num_optimizer_steps=0,
        update_skipped="",
        num_completions=len(every),
        num_completion_tokens=0,
        num_degenerate_groups=sum(len(group) > 1 and len(set(group)) == 1 for group in rewards),
        num_truncated=0,
        mean_length=math.nan,
        seconds=math.nan,
        seconds_by_phase={},
        tokens_per_second=math.nan,
        peak_memory_bytes=0,
        state_hash="",
    )
