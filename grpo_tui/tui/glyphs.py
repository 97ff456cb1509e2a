"""The signs of the program: one glyph and one role for each thing, so that meaning survives without colour."""

from __future__ import annotations

from grpo_tui.events.records import CompletionRecord, GroupRecord, Mode, Phase
from rewards.base import Verdict

VERDICTS: dict[Verdict, tuple[str, str]] = {
    Verdict.CORRECT: ("✓", "good"),
    Verdict.WRONG: ("✗", "bad"),
    Verdict.UNPARSED: ("?", "warn"),
    Verdict.NO_ANSWER: ("ø", "warn"),
    Verdict.TIMEOUT: ("t", "warn"),
    Verdict.CRASH: ("!", "bad"),
    Verdict.BAD_GOLD: ("G", "bad"),
    Verdict.NOT_JUDGED: ("–", "dim"),
}
PENDING = ("░", "dim")
NEAR_MISS = ("≈", "warn")
EXCLUDED = ("⊖", "dim")
"""An answer that a person keeps out of the update."""
ACTED = "✎"
"""Changed by hand."""
DEAD = "·"
FORM_ONLY = "!"

LEGEND = "✓ correct  ✗ wrong  ≈ near miss  ? unparsed  ø no answer  t timed out  ! crash  G bad gold  ░ not yet scored"

MODES: dict[Mode, tuple[str, str, str]] = {
    Mode.LOADING: ("◌", "LOADING", "warn"),
    Mode.PAUSED: ("‖", "PAUSED", "warn"),
    Mode.RUNNING: ("●", "RUN", "good"),
    Mode.FAILED: ("✖", "FAILED", "bad"),
    Mode.FINISHED: ("■", "DONE", "accent"),
    Mode.STOPPED: ("■", "STOPPED", "dim"),
}

WATCHED: dict[str, tuple[str, str]] = {
    "recorded": ("■", "accent"),
    "following": ("●", "good"),
    "ended": ("■", "warn"),
    "reading": ("◌", "warn"),
}
"""Recordings, by status: glyph and role."""

PHASE_SHORT: dict[Phase, str] = {
    Phase.PROBLEMS: "prob",
    Phase.SAMPLE: "samp",
    Phase.SCORE: "score",
    Phase.ADVANTAGES: "adv",
    Phase.REFERENCE: "ref",
    Phase.UPDATE: "upd",
    Phase.EMIT: "emit",
}


def verdict_glyph(completion: CompletionRecord) -> tuple[str, str]:
    """Glyph and role of a completion's verdict; near misses have their own sign."""
    verdict = completion.verdict
    if verdict is None:
        return PENDING
    if verdict is Verdict.WRONG and near_miss(completion):
        return NEAR_MISS
    return VERDICTS.get(verdict, ("?", "warn"))


def strip_glyph(completion: CompletionRecord) -> tuple[str, str]:
    """The one glyph of a completion where there is room for no other: that it is kept out goes first."""
    return EXCLUDED if completion.excluded else verdict_glyph(completion)


def near_miss(completion: CompletionRecord) -> str:
    """The near-miss class of a wrong answer, or empty."""
    return next(
        (s.explanation.near_miss for s in completion.scores.values() if s.verdict is completion.verdict), ""
    )


def group_mark(group: GroupRecord) -> str:
    """``·`` before a group whose rewards are all equal, ``!`` before one whose form alone makes a difference."""
    return DEAD if group.degenerate else FORM_ONLY if group.form_only else " "
