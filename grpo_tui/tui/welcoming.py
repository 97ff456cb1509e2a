"""What the Welcome room knows apart from its widgets: rows to choose from, and what a choice would do, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from grpo_tui.config.estimate import PROMPT_TOKENS, FitEstimate, estimate_fit
from grpo_tui.config.local_models import LocalModel
from grpo_tui.config.presets import PRESET_DESCRIPTIONS, PRESETS
from grpo_tui.config.schema import RunConfig
from grpo_tui.tui.starting import Survey
from grpo_tui.tui.text import Line, Span, cells, clean, clip, count, fit, memory, number

if TYPE_CHECKING:
    from grpo_tui.runs.store import RunSummary

MAX_RUNS = 30
"""Recent runs that are listed; older ones are opened by their path."""
DATA_COLUMN = 96
"""From this width on a preset's row names its data set."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What a row stands for: one of the three."""

    preset: str = ""
    run: RunSummary | None = None
    model: LocalModel | None = None

    @property
    def key(self) -> str:
        """What stays the same while the list around it changes."""
        if self.run is not None:
            return f"run {self.run.path}"
        return f"model {self.model.source}" if self.model is not None else f"preset {self.preset}"


Row = tuple[Line, Choice | None]
"""A line, and what it stands for; None for a heading."""


def rows(
    width: int,
    runs: Sequence[RunSummary] | None,
    survey: Survey | None,
    chosen: str,
    *,
    airy: bool = True,
) -> list[Row]:
    """All rows: presets, recent runs, models.

    Args:
        width: cells of a row.
        runs: found on disk; None while they are looked for.
        survey: of the machine; None while it is made.
        chosen: source of the model that takes the place of the presets'.
        airy: an empty row before each heading.
    """
    gap = [_BLANK] if airy else []
    made: list[Row] = [(_heading("New run", "a preset: model, problems and settings"), None)]
    made += [(_preset_line(name, width), Choice(preset=name)) for name in PRESETS]
    made += [*gap, (_heading("Recent runs", ""), None)]
    if runs is None:
        made.append((_note("looking…"), None))
    elif not runs:
        made.append((_note("none yet"), None))
    made += [(_run_line(run, width), Choice(run=run)) for run in (runs or ())[:MAX_RUNS]]
    if runs and len(runs) > MAX_RUNS:
        made.append((_note(f"{len(runs) - MAX_RUNS} older ones: o opens a run by its path"), None))
    made += [*gap, (_heading("Models on this machine", "Enter takes one for the preset"), None)]
    if survey is None:
        made.append((_note("looking…"), None))
    elif not survey.models:
        made.append((_note("none found; m takes a hub id, a folder or a .gguf file"), None))
    for model in survey.models if survey is not None else ():
        made.append((_model_line(model, width, model.source == chosen), Choice(model=model)))
    return made


_BLANK: Row = ((("", ""),), None)


def _heading(text: str, more: str) -> Line:
    return ((text, "accent bold"), (f"  {more}" if more else "", "dim"))


def _note(text: str) -> Line:
    return ((f"  {text}", "dim"),)


def _preset_line(name: str, width: int) -> Line:
    text, source = PRESET_DESCRIPTIONS.get(name, ""), PRESETS[name]().data.source
    left: Span = (f"  {fit(name, 14)}", "bold")
    if width < DATA_COLUMN:
        return (left, (clip(text, width - 18), ""))
    column = 32
    return (
        left,
        (fit(clip(text, width - 20 - column), width - 18 - column), ""),
        (clip(source, column), "dim"),
    )


def _run_line(run: RunSummary, width: int) -> Line:
    room = max(12, min(48, width - 46))
    name, rest = f"  {fit(clean(run.name), room)}  ", max(0, width - room - 4)
    if run.problem:
        return ((name, "dim"), (clip(clean(run.problem), rest), "bad"))
    steps = f"step {run.finished_steps}/{run.total_steps}"
    reward = f"reward {number(run.last_reward, 3)}" if run.last_reward is not None else ""
    state = "running now" if run.running else "done" if run.finished_steps >= run.total_steps else ""
    text = clip(f"{fit(steps, 15)} {fit(reward, 14)} {state}", rest)
    return ((name, "bold"), (text, ""))


def _model_line(model: LocalModel, width: int, chosen: bool) -> Line:
    mark: Span = ("● ", "good bold") if chosen else ("  ", "")
    room = max(12, min(44, width - 32))
    name: Span = (fit(clip(clean(model.source), room), room), "" if model.problem else "bold")
    if model.problem:
        return (mark, name, (clip(f" {clean(model.problem)}", max(0, width - room - 2)), "warn"))
    size = count(model.shape.num_parameters) if model.shape and model.shape.num_parameters else "?"
    facts = f" {size:>5} params  {memory(model.num_bytes):>7}  {model.kind}"
    return (mark, name, (clip(facts, max(0, width - room - 2)), ""))


# --- what a choice would do ------------------------------------------------------------------------------


def composed(preset: str, model: str, data: str) -> RunConfig:
    """The config of a preset with another model or other problems, where they are given."""
    config = PRESETS[preset]()
    if model:
        config = replace(config, model=replace(config.model, source=model))
    if data:
        config = replace(config, data=replace(config.data, source=data))
    return config


def device_line(survey: Survey | None, width: int) -> Line:
    """Cores, memory and GPUs."""
    if survey is None:
        return (("this machine: looking…", "dim"),)
    parts = [f"{survey.cores} {'core' if survey.cores == 1 else 'cores'}"]
    if survey.total_bytes:
        parts.append(f"{memory(survey.free_bytes)} free of {memory(survey.total_bytes)}")
    parts += [
        f"{clean(gpu.name)}, {memory(gpu.free_bytes)} free of {memory(gpu.total_bytes)}"
        for gpu in survey.gpus
    ] or ["no GPU: trains on the CPU"]
    return _cut(width, ("this machine: ", "dim"), (" · ".join(parts), ""))


def about(
    choice: Choice,
    config: RunConfig,
    model: LocalModel | str | None,
    survey: Survey | None,
    width: int,
) -> list[Line]:
    """What Enter would do on a row, and what it would take.

    Args:
        choice: the row.
        config: of the preset with the model and problems that were chosen or typed.
        model: what is known of the model that the row is about; text says why nothing is, None: not on this machine.
        survey: of the machine; None while it is made.
        width: cells of a line.
    """
    if choice.run is not None:
        return _about_run(choice.run, width)
    sampling = config.sampling
    lines: list[Line] = []
    if choice.model is not None:
        lines.append(_cut(width, ("Enter ", "key"), (f"takes {clean(choice.model.source)}", "bold")))
    else:
        lines.append(
            _cut(
                width,
                ("model ", "dim"),
                (clean(config.model.source), "bold"),
                ("  problems ", "dim"),
                (clean(config.data.source), "bold"),
            )
        )
    lines.append(
        _cut(
            width,
            (
                f"{sampling.prompts_per_step} prompts × {sampling.group_size} responses of up to "
                f"{sampling.max_completion_tokens} tokens a step · {config.run.steps} steps · "
                f"lr {config.optim.lr:g} · beta {config.algorithm.beta:g}",
                "",
            ),
        )
    )
    return [*lines, *_fit_lines(config, model, survey, width)]


def _cut(width: int, *spans: Span) -> Line:
    """A line of at most so many cells."""
    made: list[Span] = []
    for text, role in spans:
        shown = clip(text, max(0, width))
        made.append((shown, role))
        width -= cells(shown)
    return tuple(made)


def _about_run(run: RunSummary, width: int) -> list[Line]:
    lines = [_cut(width, (clean(str(run.path)), "bold"))]
    if run.problem:
        return [*lines, _cut(width, (clean(run.problem), "bad"))]
    if run.running:
        first: Line = (("Enter, v ", "key"), ("follow it, read-only: another process is training it", ""))
    else:
        where = f"after step {run.finished_steps}" if run.finished_steps else "from its start"
        first = (
            ("Enter ", "key"),
            (f"goes on {where}, paused   ", ""),
            ("v ", "key"),
            ("views it, read-only", ""),
        )
    return [*lines, _cut(width, *first)]


def _fit_lines(
    config: RunConfig, model: LocalModel | str | None, survey: Survey | None, width: int
) -> list[Line]:
    """Whether the model is here, and the estimate of its memory."""
    if isinstance(model, str):
        return [_cut(width, (clean(model), "dim" if model.endswith("…") else "bad"))]
    if model is None:
        return [
            _cut(
                width,
                ("not on this machine: it is downloaded first, if the model hub can be reached", "warn"),
            )
        ]
    if model.problem:
        return [_cut(width, (clean(model.problem), "warn"))]
    shape = model.shape
    if shape is not None and 0 < shape.context_length < config.sampling.max_completion_tokens:
        return [
            _cut(
                width,
                (
                    f"its context of {shape.context_length} tokens is too short for responses of "
                    f"{config.sampling.max_completion_tokens}",
                    "bad",
                ),
            )
        ]
    guess = _estimate(config, model, survey)
    if guess is None:
        return [_cut(width, ("no estimate: its files do not tell its size", "dim"))]
    role = {True: "good", False: "bad", None: ""}[guess.fits]
    verdict = {True: "fits", False: "too large", None: ""}[guess.fits]
    room = f" of {memory(guess.available_bytes)} free" if guess.available_bytes else ""
    first = _cut(
        width,
        ("memory, estimated: ", "dim"),
        (f"{memory(guess.total)}{room}  ", "bold"),
        (verdict, role),
        (
            f"  ({guess.dtype}, prompts taken as {PROMPT_TOKENS} tokens)",
            "dim",
        ),
    )
    return [first, _cut(width, *_parts(guess))]


def _parts(guess: FitEstimate) -> tuple[Span, ...]:
    parts = [("weights", guess.weights), ("adapter", guess.adapter)]
    updates = guess.activations >= guess.sampling
    if guess.twin_stays or not updates:
        parts += [("sampler's copy", guess.twin)]
    parts += [("activations", guess.activations) if updates else ("cache", guess.cache)]
    text = " + ".join(f"{name} {memory(size)}" for name, size in parts if size)
    return ((text, ""),)


def _estimate(config: RunConfig, model: LocalModel, survey: Survey | None) -> FitEstimate | None:
    if model.shape is None or survey is None:
        return None
    wants = config.model.device
    on_gpu = bool(survey.gpus) and wants != "cpu"
    free = max(gpu.free_bytes for gpu in survey.gpus) if on_gpu else survey.free_bytes
    return estimate_fit(config, model.shape, on_gpu=on_gpu, available_bytes=free)


def inspected(source: str) -> LocalModel | str | None:
    """What is on disk of a model: as :func:`about` takes it. Reads files; not for the UI thread."""
    from grpo_tui.config.local_models import inspect_model
    from grpo_tui.data.bundled import TINY_MODEL, bundled_path

    try:
        if source == "tiny":
            found = inspect_model(str(bundled_path(TINY_MODEL)))
            return replace(found, source="tiny", problem="") if found is not None else None
        return inspect_model(source)
    except ValueError as error:
        return str(error)


def opened(text: str) -> RunSummary | Path:
    """What stands at a path: a run in short, or the folder of completions that TRL logged. Not for the UI thread.

    Raises:
        ValueError: neither; one line.
    """
    from grpo_tui.runs.schema import DATABASE
    from grpo_tui.runs.store import summarize
    from grpo_tui.runs.trl import completions_folder

    try:
        path = Path(text).expanduser()
        if path.name == DATABASE and path.is_file():
            path = path.parent
        if (path / DATABASE).is_file():
            return summarize(path.resolve())
        if not path.exists():
            raise ValueError(f"there is nothing at {text}")
        folder = completions_folder(path) if path.is_dir() else None
    except (OSError, RuntimeError) as error:  # RuntimeError: a home that is not known
        raise ValueError(f"cannot open {text}: {error}") from error
    if folder is None:
        raise ValueError(f"neither a run ({DATABASE}) nor TRL completions (completions_*.parquet) in {text}")
    return folder
