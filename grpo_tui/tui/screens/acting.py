"""Keys that change the step in progress, shared by the Live, Group and Response rooms."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from textual.binding import Binding, BindingType

from grpo_tui.events.commands import (
    DrawMore,
    Exclude,
    OverrideReward,
    OverrideVerdict,
    Reroll,
    UndoAct,
)
from grpo_tui.events.records import CompletionRecord, GroupRecord
from grpo_tui.tui.action import bindings
from grpo_tui.tui.actions import ACT_ACTIONS
from grpo_tui.tui.glyphs import VERDICTS
from grpo_tui.tui.screens.ask import Answer, AskScreen, Blank, Choice
from grpo_tui.tui.text import number
from rewards.base import Verdict

if TYPE_CHECKING:
    from grpo_tui.tui.view import RunView

MOST = 64
"""Responses that can be drawn at once."""
_NAMES = frozenset(action.action.removeprefix("screen.") for action in ACT_ACTIONS)
_KEYS = ",".join(action.keys for action in ACT_ACTIONS)
_LETTERS = dict(zip(Verdict, "cwunt!g-", strict=False))
NOTE = Blank("note", "note (recorded with it)", placeholder="why")

ACT_BINDINGS: list[BindingType] = [
    *bindings(ACT_ACTIONS),
    # The same keys while nothing can be changed: a dead key would leave one guessing.
    Binding(_KEYS, "why_no_act", "", show=False, id="act.why"),
]


def read_count(text: str) -> int:
    """A number of responses to draw.

    Raises:
        ValueError: a line for the person.
    """
    try:
        count = int(text)
    except ValueError:
        count = 0
    if not 1 <= count <= MOST:
        raise ValueError(f"a whole number from 1 to {MOST}")
    return count


def read_reward(text: str) -> float:
    """A reward.

    Raises:
        ValueError: a line for the person.
    """
    try:
        reward = float(text.replace("−", "-").replace(",", "."))
    except ValueError:
        reward = math.nan
    if not math.isfinite(reward):
        raise ValueError("a number, such as 1 or 0.5")
    return reward


class Acting:
    """Actions of a screen over a RunView. To be mixed into a Screen with ``view`` and ``sync_view``."""

    view: RunView

    def sync_view(self, *, force: bool = False) -> None:
        """Bring the screen up to date."""
        raise NotImplementedError

    def check_acting(self, action: str) -> bool | None:
        """Whether an act is possible now; None for actions that are none."""
        acts = self.view.acts
        if action == "why_no_act":
            return self.view.group is not None and self.view.state.failure is None
        if action == "undo_act":
            return acts.can_undo
        return not acts.why_not if action in _NAMES else None

    def _selected(self) -> tuple[GroupRecord, CompletionRecord] | None:
        group, completion = self.view.group, self.view.completion
        return (group, completion) if group is not None and completion is not None else None

    def _where(self, group: GroupRecord, completion: CompletionRecord | None = None) -> str:
        answer = "" if completion is None else f"·r{completion.index + 1}"
        return f"g{group.index + 1}{answer} of step {self.view.shown_step}"

    def _ask(self, screen: AskScreen, then: Callable[[Answer | None], None]) -> None:
        self.app.push_screen(screen, then)  # type: ignore[attr-defined]

    def action_why_no_act(self) -> None:
        """Say why an act is not possible now."""
        acts = self.view.acts
        acts.complain(acts.why_not or "there is no act on this step to take back")
        self.sync_view()

    # --- acts without a question ---------------------------------------------------------------------------

    def action_exclude(self) -> None:
        """Keep the response out, or take it in again."""
        selected = self._selected()
        if selected is not None:
            group, completion = selected
            self._send(
                Exclude(self.view.shown_step, group.index, completion.index, excluded=not completion.excluded)
            )

    def action_exclude_group(self) -> None:
        """Keep the group out, or take it in again."""
        group = self.view.group
        if group is not None:
            out = not all(c.excluded for c in group.completions)
            self._send(Exclude(self.view.shown_step, group.index, None, excluded=out))

    def action_reroll(self) -> None:
        """The whole group anew."""
        group = self.view.group
        if group is not None:
            self._send(Reroll(self.view.shown_step, group.index))

    def action_undo_act(self) -> None:
        """Take back the last act."""
        self._send(UndoAct(self.view.shown_step))

    def _send(
        self, request: Exclude | Reroll | UndoAct | OverrideVerdict | OverrideReward | DrawMore
    ) -> None:
        # The step may have gone on while a question was open.
        why_not = self.view.acts.why_not
        if why_not:
            self.view.acts.complain(why_not)
        else:
            self.view.acts.ask(request)
        self.sync_view()

    # --- acts with a question ------------------------------------------------------------------------------

    def action_override_verdict(self) -> None:
        """Ask for the verdict that it should be."""
        selected = self._selected()
        if selected is None:
            return
        group, completion = selected
        judged: list[Verdict] = [v for v in Verdict if v is not Verdict.NOT_JUDGED]
        choices = [
            Choice(v.value, f"{VERDICTS[v][0]} {v.value}", _LETTERS.get(v, ""), VERDICTS[v][1])
            for v in judged
        ]
        likely = Verdict.WRONG if completion.verdict is Verdict.CORRECT else Verdict.CORRECT
        step = self.view.shown_step

        def answered(answer: Answer | None) -> None:
            if answer is not None:
                self._send(
                    OverrideVerdict(step, group.index, completion.index, answer.choice, answer.blanks["note"])
                )

        self._ask(
            AskScreen(
                f"What should the verdict be on {self._where(group, completion)}?",
                f"The verifier says {completion.verdict}. Correct is worth 1, all else 0; other parts of the reward stay.",
                choices=choices,
                chosen=judged.index(likely),
                blanks=[NOTE],
            ),
            answered,
        )

    def action_override_reward(self) -> None:
        """Ask for the reward that it should get."""
        selected = self._selected()
        if selected is None:
            return
        group, completion = selected
        step = self.view.shown_step
        now = number(completion.reward, 2)

        def answered(answer: Answer | None) -> None:
            if answer is not None:
                reward = read_reward(answer.blanks["reward"])
                self._send(OverrideReward(step, group.index, completion.index, reward, answer.blanks["note"]))

        self._ask(
            AskScreen(
                f"Reward of {self._where(group, completion)}",
                f"It is {now}; the group has a mean of {number(group.reward_mean, 2)}.",
                blanks=[Blank("reward", "reward", now), NOTE],
                check=lambda answer: complaint(read_reward, answer.blanks["reward"]),
            ),
            answered,
        )

    def action_draw_more(self) -> None:
        """Ask how many more."""
        group = self.view.group
        if group is None:
            return
        step, size = self.view.shown_step, len(group.completions)

        def answered(answer: Answer | None) -> None:
            if answer is not None:
                self._send(DrawMore(step, group.index, read_count(answer.blanks["count"])))

        self._ask(
            AskScreen(
                f"More responses to {self._where(group)}",
                f"It has {size}. New ones are drawn, judged and compared with those.",
                blanks=[Blank("count", "how many", str(min(size, MOST)))],
                check=lambda answer: complaint(read_count, answer.blanks["count"]),
            ),
            answered,
        )


def complaint(read: Callable[[str], object], text: str) -> str:
    """What is wrong with a text that is to be read; empty where nothing is."""
    try:
        read(text)
    except ValueError as error:
        return str(error)
    return ""
