"""What the Playground knows apart from its widgets: the form, why a play waits, and where two answers part."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from grpo_tui.events.commands import ADAPTER, BASE, Play, step_source
from grpo_tui.events.records import CompletionRecord, GroupRecord, ProblemRecord
from grpo_tui.events.state import PlayRecord
from grpo_tui.ops.intervals import wilson_interval
from grpo_tui.tui.run_settings import settings_of
from grpo_tui.tui.tokens import first_split, text_start
from rewards.base import Verdict

if TYPE_CHECKING:
    from grpo_tui.tui.view import RunView

MAX_SAMPLES = 64


@dataclass(slots=True, kw_only=True)
class PlayForm:
    """What is typed and chosen in the Playground; it outlives the screen. Numbers are kept as they were typed."""

    question: str = ""
    answer: str = ""
    num_samples: str = "8"
    temperature: str = "1"
    max_tokens: str = "256"
    seed: int = 0
    problem_id: str = ""
    """The run's problem that the question was taken from, if any."""
    with_base: bool = True
    with_adapter: bool = True
    step: int | None = None
    """The kept checkpoint that stands beside them."""
    row: int = 0
    """The sample looked at."""
    shown: int | None = None
    """Number of the play looked at; None: the newest."""
    asked: Play | None = field(default=None, repr=False)
    """What was asked for last; it may still wait."""

    @property
    def sources(self) -> tuple[str, ...]:
        """The chosen sources in the order of their columns."""
        chosen = [BASE] if self.with_base else []
        chosen += [ADAPTER] if self.with_adapter else []
        return (*chosen, *([step_source(self.step)] if self.step is not None else ()))

    def take(self, problem: ProblemRecord) -> None:
        """Put a problem of the run into the form."""
        self.question, self.answer, self.problem_id = problem.question, problem.answer, problem.id
        self.shown, self.row = None, 0

    def request(self, id: int) -> Play:
        """What the form asks for.

        Raises:
            ValueError: something in it cannot be used; one line.
        """
        if not self.question.strip():
            raise ValueError("the prompt is empty: i, then type one")
        if not self.sources:
            raise ValueError("nothing to sample from: b base, a adapter, c a kept checkpoint")
        num_samples = _whole(self.num_samples, "samples", MAX_SAMPLES)
        return Play(
            id=id,
            question=self.question,
            answer=self.answer.strip(),
            num_samples=num_samples,
            temperature=_temperature(self.temperature),
            max_tokens=_whole(self.max_tokens, "tokens", 1 << 20),
            sources=self.sources,
            seed=self.seed,
            problem_id=self.problem_id,
        )


def _whole(text: str, what: str, largest: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if not 1 <= number <= largest:
        raise ValueError(
            f"{what}: {text.strip()[:20] or 'nothing'} is not a whole number from 1 to {largest}"
        )
    return number


def _temperature(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= 100:
        raise ValueError(f"temperature: {text.strip()[:20] or 'nothing'} is not a number from 0 to 100")
    return number


def form_of(view: RunView) -> PlayForm:
    """The view's form; a new one begins with the run's own settings."""
    if view.play_form is None:
        settings = settings_of(view.state)
        sampling = settings.sampling
        view.play_form = PlayForm(
            num_samples=str(min(MAX_SAMPLES, sampling.group_size)),
            temperature=f"{sampling.temperature:g}",
            max_tokens=str(sampling.max_completion_tokens),
            seed=settings.run.seed,
        )
    return view.play_form


def next_id(view: RunView) -> int:
    """A number that no play of the run has."""
    form = form_of(view)
    used = [play.started.id for play in view.state.plays]
    return 1 + max([0, *used, *([form.asked.id] if form.asked else [])])


def kept_steps(view: RunView) -> list[int]:
    """Steps whose checkpoints are on disk, newest first."""
    run = view.state.run
    if run is None:
        return []
    try:
        from grpo_tui.runs.checkpoints import (
            complete,
        )  # with it comes sqlite3, which the first paint does not need

        return sorted(complete(Path(run.run_dir) / "checkpoints"), reverse=True)
    except (OSError, ValueError):
        return []


def shown_play(view: RunView) -> PlayRecord | None:
    """The play looked at."""
    plays, form = view.state.plays, form_of(view)
    return next((p for p in plays if p.started.id == form.shown), plays[-1] if plays else None)


def waiting(view: RunView) -> Play | None:
    """What was asked for and has not begun."""
    asked = form_of(view).asked
    if asked is None or view.over:
        return None
    begun = any(play.started.id == asked.id for play in view.state.plays)
    end = view.state.last_play_end
    return None if begun or (end is not None and end.id == asked.id) else asked


def in_progress(view: RunView) -> PlayRecord | None:
    """The play that the engine is sampling."""
    plays = view.state.plays
    return plays[-1] if plays and plays[-1].ended is None and not view.over else None


def pending(view: RunView) -> Play | None:
    """What was asked for and is not over: it waits, or is being sampled."""
    asked, playing = form_of(view).asked, in_progress(view)
    if asked is not None and playing is not None and playing.started.id == asked.id:
        return asked
    return waiting(view)


def why_refused(view: RunView) -> str:
    """Why nothing can be sampled in this session; empty where it can."""
    if view.session.read_only:
        return "a recorded run: plays can be read, not made"
    if view.over:
        return "the run is over: resume it (grpo-tui resume RUN) to sample"
    return ""


# --- comparing answers -----------------------------------------------------------------------------------


def splits(play: PlayRecord, row: int) -> dict[str, int]:
    """Where the sample of each source leaves that of the first that has answered; the first has the earliest of all."""
    samples = {
        answered.source: answered.group.completions[row]
        for answered in (play.of(source) for source in play.started.sources)
        if answered is not None and row < len(answered.group.completions)
    }
    found: dict[str, int] = {}
    for source, completion in list(samples.items())[1:]:
        split = first_split(next(iter(samples.values())), completion)
        if split is not None:
            found[source] = split
    if found:
        found[next(iter(samples))] = min(found.values())
    return found


def token_span(completion: CompletionRecord, token: int) -> tuple[int, int]:
    """Characters of a token in the completion's text; empty at its end for one without text."""
    return text_start(completion, token), text_start(completion, token + 1)


def token_label(completion: CompletionRecord, token: int) -> str:
    """A token as text and probability, ``' 4' p .61``."""
    if token >= completion.num_tokens:
        return "ends here"
    start, end = token_span(completion, token)
    text = completion.text[start:end]
    probability = math.exp(min(0.0, float(completion.logprobs_T[token])))
    shown = f"{text!r}" if text else "end"
    return f"{shown} p {f'{probability:.2f}'.lstrip('0') if probability < 0.995 else '1.0'}"


@dataclass(frozen=True, slots=True)
class PassRate:
    """How many of a source's samples are right, with a 95 % Wilson interval."""

    num_correct: int
    num_samples: int

    @property
    def interval(self) -> tuple[float, float]:
        """Bounds of the true rate."""
        return wilson_interval(self.num_correct, self.num_samples)

    @property
    def text(self) -> str:
        """``6/8 75% [41, 93]``."""
        low, high = self.interval
        share = 100 * self.num_correct / max(1, self.num_samples)
        return f"{self.num_correct}/{self.num_samples} {share:.0f}% [{100 * low:.0f}, {100 * high:.0f}]"


def pass_rate(group: GroupRecord) -> PassRate | None:
    """The pass rate of a group; None where nothing was judged for truth."""
    verdicts: Sequence[Verdict | None] = [completion.verdict for completion in group.completions]
    if not any(verdict not in (None, Verdict.NOT_JUDGED) for verdict in verdicts):
        return None
    return PassRate(sum(verdict is Verdict.CORRECT for verdict in verdicts), len(verdicts))
