"""What the Breakpoints room says: rows of what can be asked, what a line means so far, and what it matches now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from grpo_tui.events.breakpoints import MAX_MATCHES, Breakpoint, Match, find_matches, read_breakpoint
from grpo_tui.events.conditions import Condition, ConditionError, parse_condition
from grpo_tui.events.measures import NAMES, WORDS
from grpo_tui.events.records import PHASES, Phase, StepDetail, StepMetrics

EXAMPLES: tuple[tuple[str, str], ...] = (
    ("any group: dead", "a group that teaches nothing"),
    ("any group: sd == 0 and mean_length > 150", "dead, and dear to sample"),
    ("group has exactly 1 correct", "one right answer carries the group"),
    ("verdict(unparsed) > 20%", "the verifier cannot read the answers"),
    ("any response: verdict(correct) and truncated", "right, but cut at the limit"),
    ("worst_token.kl_ref > 5", "a token far from the reference"),
    ("reward jumped > .2", "against the step before"),
    ("no group: accuracy > 0", "not one right answer"),
)


@dataclass(frozen=True, slots=True)
class Offer:
    """A row of the guide. ``text`` is what Enter puts into the line; a heading has none."""

    text: str
    help: str
    whole: bool = True
    """It is a line by itself, not a word of one."""


def offers() -> list[Offer]:
    """Phases, examples, then every measure of every scope with its meaning."""
    rows = [Offer("", "Examples")]
    rows += [Offer(text, help) for text, help in EXAMPLES]
    rows.append(Offer("", "At a phase"))
    for phase in PHASES:
        if phase is not Phase.EMIT:  # it follows the update at once
            rows.append(Offer(f"before {phase}", ""))
        rows.append(Offer(f"after {phase}", "the weights are new then" if phase is Phase.UPDATE else ""))
    heads = {
        "step": "Measures of the step",
        "group": "of a group, after any group: all group: no group:",
        "response": "of a response, after any response: all response: no response:",
    }
    for scope, measures in NAMES.items():
        rows.append(Offer("", heads[scope]))
        for name, measure in measures.items():
            text = f"{name}({WORDS[0]})" if measure.of_verdict else name
            change = "; can have jumped or fell" if measure.before is not None else ""
            rows.append(Offer(text, f"{measure.help}{change}", whole=False))
    rows.append(Offer("", "Verdicts, in brackets"))
    rows += [Offer(word, "", whole=False) for word in WORDS]
    rows.append(Offer("", "< <= == != >= >   and or not   + - * / ( )   20% is 0.2"))
    return rows


@dataclass(frozen=True, slots=True)
class Checked:
    """What a line means so far: a breakpoint, or what is wrong with it and at which character."""

    breakpoint: Breakpoint | None = None
    error: str = ""
    column: int = 0


def check_line(text: str) -> Checked:
    """Read a line as it is typed; an empty one is neither right nor wrong."""
    if not text.strip():
        return Checked()
    try:
        return Checked(breakpoint=read_breakpoint(text))
    except ConditionError as error:
        return Checked(error=str(error), column=error.column)


def same(one: Breakpoint, other: Breakpoint) -> bool:
    """Whether two stop at the same thing."""
    return (one.condition, one.phase, one.after) == (other.condition, other.phase, other.after)


def try_it(
    condition: str, detail: StepDetail | None, history: Sequence[StepMetrics]
) -> tuple[Match, ...] | None:
    """What a condition matches in the step looked at; None where there is none to ask."""
    if detail is None or not detail.groups:
        return None
    before = next((m for m in reversed(history) if m.step == detail.step - 1), None)
    parsed: Condition = parse_condition(condition)
    return find_matches(parsed, detail.groups, before)


def how_many(matches: Sequence[Match], step: int) -> str:
    """``would stop step 47: 3 matches``."""
    if not matches:
        return f"would not stop step {step}"
    least = "at least " if len(matches) == MAX_MATCHES else ""
    return f"would stop step {step}: {least}{len(matches)} {'match' if len(matches) == 1 else 'matches'}"
