"""From ``[data]`` to problems: read rows, map columns, take the gold answers, hold some problems out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from grpo_tui.config.errors import nearest
from grpo_tui.config.schema import DataConfig
from grpo_tui.data.answers import NoAnswerError, answer_text, extract_answer
from grpo_tui.data.bundled import TINY_HELD_OUT, TINY_TRAIN, bundled_path
from grpo_tui.data.problem import DataError, LoadedProblems, Problem, Rejected
from grpo_tui.data.rows import Place, Row, SplitNotFoundError, has_splits, place_of, read_dataset, read_file

CheckGold = Callable[[str], str | None]

_USUAL_COLUMNS = {
    "prompt_field": ("prompt", "question", "problem", "query", "input", "instruction", "messages"),
    "answer_field": ("answer", "golden", "gold", "final_answer", "solution", "target", "output", "label"),
}
_LONGEST_METADATA = 500
"""Longer values of other columns (in characters) are left out: the run file holds them for each problem."""
_ROLES = ("system", "user", "assistant")


def load_problems(
    config: DataConfig, *, check_gold: CheckGold, need_held_out: bool = False
) -> LoadedProblems:
    """Load the problems to train on and those held out.

    Problems whose gold answer cannot be judged are kept out and listed, as is a training problem whose
    question is also held out. What is held out, and in which order, depends on the questions alone, never on
    a seed, the order of the rows or ``limit``; the first few held out are a fair sample of all.

    Args:
        config: the ``[data]`` table.
        check_gold: says why a gold answer cannot be judged; None where it can.
        need_held_out: raise an error, and say what to set, where nothing would be held out.

    Raises:
        DataError: nothing can be trained on, or the source cannot be used as it is described.
    """
    intake = _Intake(config, check_gold)
    train_rows, held_out_rows, notes = _choose_rows(config, need_held_out=need_held_out)
    train: Iterable[Problem]
    if held_out_rows is None:
        train, apart = _split_by_question(list(intake.read(train_rows)), config.eval_fraction)
        held_out = intake.judged(apart)
    else:
        held_out = intake.judged(intake.read(held_out_rows))
        if not held_out:
            raise DataError(intake.nothing_left(config.eval_source or config.source, "to evaluate on"))
        intake.num_rows = 0
        train = intake.read(train_rows)
    if need_held_out and not held_out:
        raise DataError(
            f"{config.source}: eval.every is set, but no problems are held out; set data.eval_fraction=0.1, "
            "name a file with data.eval_source, or set eval.every=0"
        )
    held_out.sort(key=lambda problem: _place(f"order {_whole_text(problem)}"))
    kept = intake.judged(_apart_from(train, held_out, intake.rejected), limit=config.limit)
    if not kept:
        raise DataError(intake.nothing_left(config.source, "to train on"))
    return LoadedProblems(
        train=tuple(kept), held_out=tuple(held_out), rejected=tuple(intake.rejected), notes=notes
    )


# --- which rows ------------------------------------------------------------------------------------------


def _choose_rows(
    config: DataConfig, *, need_held_out: bool
) -> tuple[Iterator[Row], Iterator[Row] | None, tuple[str, ...]]:
    """Return the rows to train on, the held-out ones, and notes for the user.

    The held-out rows are None where a share of the training rows is to be held out.
    """
    _refuse_one_for_both(config)
    train = _rows_of(config.source, config, config.split, TINY_TRAIN)
    if config.eval_source:
        split = config.eval_split or config.split
        return train, _rows_of(config.eval_source, config, split, TINY_HELD_OUT), ()
    if config.source == "tiny":
        return train, _rows_of("tiny", config, "", TINY_HELD_OUT), ()
    if not config.eval_split or not _has_splits(config.source):
        return train, None, ()
    try:
        return train, read_dataset(config.source, subset=config.subset, split=config.eval_split), ()
    except SplitNotFoundError as error:
        if config.eval_fraction > 0:
            return (
                train,
                None,
                (f"{error} - held out instead: {config.eval_fraction:.0%} of '{config.split}'",),
            )
        if need_held_out:
            raise
        return train, None, ()


def _refuse_one_for_both(config: DataConfig) -> None:
    """Refuse to hold out what is trained on."""
    if config.eval_source not in ("", config.source) or (config.source == "tiny" and not config.eval_source):
        return
    if not _has_splits(config.source):
        if config.eval_source and config.source != "tiny":
            raise DataError(
                f"{config.source}: data.eval_source is the data trained on; name another, or leave it empty "
                "and set data.eval_fraction"
            )
    elif config.eval_split == config.split:
        raise DataError(
            f"{config.source}: data.eval_split is '{config.split}', the split trained on; name another, or "
            "leave it empty and set data.eval_fraction"
        )


def _has_splits(source: str) -> bool:
    return source != "tiny" and has_splits(source)


def _rows_of(source: str, config: DataConfig, split: str, tiny_file: str) -> Iterator[Row]:
    if source == "tiny":
        return read_file(str(bundled_path(tiny_file)))
    if place_of(source) is Place.FILE:
        return read_file(source)
    return read_dataset(source, subset=config.subset, split=split)


def _split_by_question(problems: list[Problem], fraction: float) -> tuple[list[Problem], list[Problem]]:
    """Hold out the problems whose hash falls into the first ``fraction`` of all hashes.

    Equal questions fall on one side, and a row added or moved changes no other row's side. Where chance would
    hold out nothing, the question with the lowest hash is held out, and one is always left to train on.
    """
    places = {text: _place(text) for text in map(_whole_text, problems)}
    if fraction <= 0 or len(places) < 2:
        return problems, []
    apart = {text for text, place in places.items() if place < fraction}
    if not apart:
        apart = {min(places, key=places.__getitem__)}
    if len(apart) == len(places):
        apart.remove(max(places, key=places.__getitem__))
    return (
        [problem for problem in problems if _whole_text(problem) not in apart],
        [problem for problem in problems if _whole_text(problem) in apart],
    )


def _whole_text(problem: Problem) -> str:
    """Return all that the data says before the answer: what makes two problems the same."""
    return "\n\n".join(message["content"] for message in problem.messages)


def _place(text: str) -> float:
    """Return where a text falls in [0, 1), for ever the same."""
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def _apart_from(
    train: Iterable[Problem], held_out: list[Problem], rejected: list[Rejected]
) -> Iterator[Problem]:
    texts = {_whole_text(problem) for problem in held_out}
    for problem in train:
        if _whole_text(problem) in texts:
            rejected.append(Rejected(problem.id, "the same question is held out"))
        else:
            yield problem


# --- from a row to a problem -----------------------------------------------------------------------------


@dataclass(slots=True)
class _Intake:
    """Makes problems of rows, with ids unique over all it reads, and keeps the list of those kept out."""

    config: DataConfig
    check_gold: CheckGold
    rejected: list[Rejected] = field(default_factory=list)
    num_rows: int = 0
    _ids: dict[str, int] = field(default_factory=dict)
    _reasons: dict[str, str | None] = field(default_factory=dict)

    def read(self, rows: Iterator[Row]) -> Iterator[Problem]:
        for row in rows:
            self.num_rows += 1
            problem_id = self._unique(_id_of(row, self.config.id_field))
            try:
                yield _problem(row, problem_id, self.config)
            except NoAnswerError as reason:
                self.rejected.append(Rejected(problem_id, str(reason)))

    def judged(self, problems: Iterable[Problem], *, limit: int = 0) -> list[Problem]:
        """Return the problems whose gold answer can be judged, the first ``limit`` of them (0: all)."""
        kept: list[Problem] = []
        for problem in problems:
            if problem.answer not in self._reasons:
                self._reasons[problem.answer] = self.check_gold(problem.answer)
            reason = self._reasons[problem.answer]
            if reason is None:
                kept.append(problem)
                if len(kept) == limit:
                    break
            else:
                self.rejected.append(Rejected(problem.id, reason))
        return kept

    def nothing_left(self, source: str, purpose: str) -> str:
        """Say why reading gave no problem."""
        if not self.num_rows:
            return f"{source}: holds no problems"
        if not self.rejected:
            return f"{source}: no problem is left {purpose}; lower data.eval_fraction"
        last = self.rejected[-1]
        return (
            f"{source}: no problem is left {purpose}; of {self.num_rows} read, the last kept out is {last.id}, "
            f"because {last.reason}; check data.answer_field and data.answer_format"
        )

    def _unique(self, problem_id: str) -> str:
        """Return the id, or for one seen before the id with ``~2``, ``~3`` … after it."""
        wanted = problem_id
        while problem_id in self._ids:
            self._ids[wanted] += 1
            problem_id = f"{wanted}~{self._ids[wanted]}"
        self._ids[problem_id] = 1
        return problem_id


def _problem(row: Row, problem_id: str, config: DataConfig) -> Problem:
    messages = _messages(_column(row, "prompt_field", config), row)
    raw_answer = _column(row, "answer_field", config)
    try:
        full_answer = answer_text(raw_answer)
    except TypeError as error:
        raise DataError(
            f"{row.where}: the column '{config.answer_field}' holds {error}; a gold answer must be text or a number"
        ) from error
    answer = extract_answer(full_answer, config.answer_format)
    question = messages[-1]["content"]
    for text in (answer, *(message["content"] for message in messages)):
        _check_text(text)
    metadata = _metadata(row, config)
    if config.answer_format != "raw":
        # The worked solution is worth showing beside a completion.
        metadata[config.answer_field] = full_answer
    return Problem(id=problem_id, question=question, messages=messages, answer=answer, metadata=metadata)


def _id_of(row: Row, id_field: str) -> str:
    value = row.values.get(id_field)
    return row.default_id if value is None or isinstance(value, list | dict) or not str(value) else str(value)


def _column(row: Row, setting: str, config: DataConfig) -> Any:
    name = getattr(config, setting)
    if name in row.values:
        return row.values[name]
    has = [str(column) for column in row.values]
    close = next((usual for usual in _USUAL_COLUMNS[setting] if usual in has), None) or nearest(name, has)
    hint = f"set data.{setting}={close}" if close else f"set data.{setting}"
    raise DataError(f"{row.where}: there is no column '{name}'; it has {', '.join(has) or 'none'}; {hint}")


def _messages(value: Any, row: Row) -> tuple[Mapping[str, str], ...]:
    if (
        value is None
        or (isinstance(value, str | list) and not value)
        or (isinstance(value, str) and value.isspace())
    ):
        raise NoAnswerError("the prompt is empty")
    if isinstance(value, str):
        return ({"role": "user", "content": value},)
    if not isinstance(value, list):
        kind = type(value).__name__
        raise DataError(f"{row.where}: a prompt must be text or a list of chat messages, not {kind}")
    messages = tuple(_message(item, row) for item in value)
    if messages[-1]["role"] != "user":
        raise DataError(
            f"{row.where}: the last message of a prompt must be the user's, not the {messages[-1]['role']}'s"
        )
    if not messages[-1]["content"].strip():
        raise NoAnswerError("the prompt is empty")
    return messages


def _message(item: Any, row: Row) -> Mapping[str, str]:
    if (
        not isinstance(item, dict)
        or not isinstance(item.get("content"), str)
        or item.get("role") not in _ROLES
    ):
        raise DataError(
            f'{row.where}: a chat message must be {{"role": "user", "content": "…"}} with the role '
            "system, user or assistant"
        )
    return {"role": item["role"], "content": item["content"]}


def _check_text(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise NoAnswerError("its text holds half of a surrogate pair, which is not Unicode text") from error


def _metadata(row: Row, config: DataConfig) -> dict[str, str]:
    used = (config.prompt_field, config.answer_field, config.id_field)
    short: dict[str, str] = {}
    for name, value in row.values.items():
        if name in used or not isinstance(value, str | int | float):
            continue
        text = str(value)
        if len(text) <= _LONGEST_METADATA and text.isprintable():
            short[str(name)] = text
    return short
