"""What was said of a verdict after it was given: disputes, and other rules' verdicts stored beside it."""

from __future__ import annotations

from grpo_tui.tui.view import RunView

Fact = tuple[str, str, str]
"""Label, text, role."""


def second_opinions(view: RunView) -> list[Fact]:
    """Of the selected answer, newest last."""
    group, completion = view.group, view.completion
    if group is None or completion is None:
        return []
    state, step = view.state, view.shown_step
    place = (step, group.index, completion.index)
    facts: list[Fact] = []
    for dispute in state.disputes:
        if (dispute.step, dispute.group, dispute.completion) == place:
            note = f": {dispute.note}" if dispute.note else ""
            facts.append(("disputed", f"should be {dispute.should_be}{note}", "warn"))
    flip = state.revised_verdict(*place)
    if flip is not None:
        facts.append(
            ("revised", f"{flip.old} → {flip.new} under {state.revised_rules}; the record stays", "warn")
        )
    return facts


def opinions_key(view: RunView) -> tuple[object, ...]:
    """What :func:`second_opinions` depends on besides the selection."""
    return view.state.disputes, view.state.revised
