"""Checks of what is paid for: dead groups, unread answers, form against truth, held-out accuracy."""

from __future__ import annotations

import math
from collections import Counter

from grpo_tui.config.validate import NEEDS_GROUP
from grpo_tui.events.records import DEAD_CAUSES, EvalRecord
from grpo_tui.runs.triage import dead_odds
from grpo_tui.tui.change import ROUNDING, Change, change
from grpo_tui.tui.health.finding import MIN_STEPS, Facts, Finding, Level, graded
from grpo_tui.tui.text import number, percent
from rewards.base import Verdict

DEAD_WATCH, DEAD_WARN = 0.3, 0.5
"""Share of groups with equal rewards: every one was sampled and scored for nothing."""
UNREAD_WATCH, UNREAD_WARN = 0.1, 0.3
"""Share of responses whose answer was missing or could not be read: they are paid as wrong, whatever they meant."""
FORM_GAIN = 0.05
"""How much a part of the reward that is not about truth must rise for its rise to matter."""
FLAT = 0.01
"""Accuracy that rose by no more than this has not risen."""
ONE_PART = 0.95
"""Share of what was paid that makes a reward of several parts one of a single part."""
TRUTH = ("math", "math_lenient")
"""Components that judge whether an answer is right."""
DEAD_ADVICE = {
    "too easy": ("Take harder problems, or let dead groups be replaced.", ("groups.resample_tries",)),
    "too hard": (
        "Take easier problems, or larger groups, so that one response in each is right.",
        ("sampling.group_size", "groups.max_group_size"),
    ),
    "identical text": (
        "The policy repeats itself: raise the temperature, or hold it back more.",
        ("sampling.temperature", "algorithm.beta"),
    ),
    "equal rewards": (
        "The reward has too few levels to tell responses apart: give it parts, or larger groups.",
        ("reward.weights", "sampling.group_size"),
    ),
}


def dead_groups(facts: Facts) -> Finding | None:
    """Groups without signal, and why they have none."""
    if not facts.enough or facts.config.algorithm.advantage not in NEEDS_GROUP:
        return None
    total = sum(facts.num_groups(m) for m in facts.now)
    dead = sum(m.num_degenerate_groups for m in facts.now)
    if not total:
        return None
    share = dead / total
    causes: Counter[str] = Counter()
    for metrics in facts.now:
        causes.update(metrics.degenerate_causes)
    parts = [f"{causes[cause]} {cause}" for cause in DEAD_CAUSES if causes[cause]]
    evidence = f"{percent(share)} of {total} groups {facts.steps} had equal rewards"
    evidence += f": {', '.join(parts)}." if parts else "."
    level = graded(share, DEAD_WATCH, DEAD_WARN)
    advice, knobs = "", tuple[str, ...]()
    if level:
        main = causes.most_common(1)[0][0] if causes else "equal rewards"
        advice, knobs = DEAD_ADVICE.get(main, DEAD_ADVICE["equal rewards"])
        advice += _odds(facts)
    return Finding(
        check="dead groups",
        level=level,
        brief=f"{percent(share)} of {total}",
        evidence=evidence,
        advice=advice,
        knobs=knobs,
        look="H lists the prompts, why each is dead, and what would help" if level else "",
    )


def _odds(facts: Facts) -> str:
    size = facts.config.sampling.group_size
    p = sum(m.accuracy for m in facts.now) / len(facts.now)
    now, twice = (percent(dead_odds(p, g)) for g in (size, 2 * size))
    return f" Were all prompts alike at {percent(p)} right, {now} of groups of {size} would be dead, {twice} of {2 * size}."


def unread_answers(facts: Facts) -> Finding | None:
    """Responses whose answer was not found or not understood."""
    if not facts.enough:
        return None
    total = sum(m.num_completions for m in facts.now)
    counts: Counter[str] = Counter()
    for metrics in facts.now:
        counts.update(metrics.verdict_counts)
    unread = counts[Verdict.UNPARSED] + counts[Verdict.NO_ANSWER]
    if not total or counts[Verdict.NOT_JUDGED] == total:
        return None
    level = graded(unread / total, UNREAD_WATCH, UNREAD_WARN)
    missing = counts[Verdict.NO_ANSWER] > counts[Verdict.UNPARSED]
    advice = (
        "Say in the prompt how the answer is to be given, or pay a little for the form."
        if missing
        else "Look at what could not be read: the prompt may ask for another form than the verifier expects."
    )
    return Finding(
        check="unread answers",
        level=level,
        brief=f"{percent(unread / total)} of {total}",
        evidence=f"Of {total} responses {facts.steps}, {counts[Verdict.UNPARSED]} answers could not be read and "
        f"{counts[Verdict.NO_ANSWER]} responses had none; {counts[Verdict.TIMEOUT]} timed out.",
        advice=advice if level else "",
        knobs=("data.prompt_template", "reward.weights", "reward.answer_form") if level else (),
        look="responses marked ? and ø; the Why panel says what was found" if level else "",
    )


def form_against_truth(facts: Facts) -> Finding | None:
    """A part of the reward that rises while accuracy does not: the policy learns the form alone."""
    accuracy = facts.change_of(lambda m: m.accuracy)
    names = sorted({n for m in facts.now for n in m.component_means if n not in TRUTH})
    if accuracy is None or not names:
        return None
    gains = {
        name: gain
        for name in names
        if (gain := facts.change_of(lambda m, name=name: m.component_means.get(name))) is not None  # type: ignore[misc]
    }
    if not gains:
        return None
    name, gain = max(gains.items(), key=lambda item: item[1].by)
    rises = gain.rises and gain.by >= FORM_GAIN - ROUNDING
    alone = rises and not (accuracy.rises and accuracy.by > FLAT)
    return Finding(
        check="form",
        level=Level.WARN if alone else Level.OK,
        brief=f"{name} {_signed(gain.by)}, accuracy {_signed(accuracy.by)}",
        evidence=f"'{name}' went from {gain.before:.2f} to {gain.now:.2f} and accuracy from {accuracy.before:.2f} to "
        f"{accuracy.now:.2f}: means of {gain.num_now} steps and the {gain.num_before} before.",
        advice="The form is being learnt and the answers are not: pay it less, or stop paying it once it is kept."
        if alone
        else "",
        knobs=("reward.weights",) if alone else (),
        look="groups marked ! differ by their form alone" if alone else "",
    )


def one_component(facts: Facts) -> Finding | None:
    """A reward of several paid parts of which only one pays anything."""
    weights = {name: w for name, w in facts.config.reward.weights.items() if w}
    if not facts.enough or len(weights) < 2:
        return None
    paid = {
        name: sum(abs(w * m.component_means.get(name, 0.0)) for m in facts.now) for name, w in weights.items()
    }
    total = sum(paid.values())
    if total <= 0:
        return None
    name, most = max(paid.items(), key=lambda item: item[1])
    share = most / total
    level = Level.OK if share < ONE_PART else Level.WATCH if name in TRUTH else Level.WARN
    return Finding(
        check="reward parts",
        level=level,
        brief=f"{name} pays {percent(share)}",
        evidence=f"'{name}' made {percent(share)} of all that the {len(weights)} parts paid {facts.steps} "
        f"({sum(m.num_completions for m in facts.now)} responses).",
        advice=(
            "The other parts pay next to nothing: drop them, or find out why they are never earned."
            if name in TRUTH
            else "Nothing is paid for being right: the policy can only learn this part."
        )
        if level
        else "",
        knobs=("reward.weights",) if level else (),
    )


def difference(new: EvalRecord, old: EvalRecord) -> tuple[float, float]:
    """95 % interval of the difference of two accuracies, from their Wilson intervals (Newcombe 1998, method 10)."""
    by = new.accuracy - old.accuracy
    low = math.hypot(new.accuracy - new.low, old.high - old.accuracy)
    high = math.hypot(new.high - new.accuracy, old.accuracy - old.low)
    return by - low, by + high


def held_out(facts: Facts) -> Finding | None:
    """Held-out accuracy against the first and the best before, and against accuracy in training."""
    if len(facts.evals) < 2:
        return None
    new, first = facts.evals[-1], facts.evals[0]
    best = max(facts.evals[:-1], key=lambda e: e.accuracy)
    low, high = difference(new, first)
    change = "up" if low > 0 else "down" if high < 0 else "no clear change"
    evidence = (
        f"{_measured(new)}; at {first.step} it was {first.accuracy:.2f}: {change} "
        f"(by {_signed(new.accuracy - first.accuracy)}, 95 % interval {_signed(low)} to {_signed(high)})."
    )
    trained = _trained(facts, first, new)
    fell = difference(new, best)[1] < 0
    level, advice = Level.OK, ""
    if fell:
        level = Level.WARN
        advice = f"It was {best.accuracy:.2f} at {best.step}: go back to that step's adapter, then train on gentler."
    elif trained is not None and trained.rises and low <= 0:
        level = Level.WATCH
        evidence += f" Training accuracy rose by {_signed(trained.by)} meanwhile."
        advice = (
            "What is learnt may not carry over, or n is too small to see it: hold out more problems, "
            "or train on more of them."
        )
    return Finding(
        check="held-out",
        level=level,
        brief=f"{new.accuracy:.2f} n={new.num_problems}, {change}",
        evidence=evidence,
        advice=advice,
        knobs=("optim.lr", "algorithm.beta")
        if fell
        else ("eval.num_problems", "data.limit")
        if level
        else (),
        look="the Held-out panel; ○ on the reward curve" if level else "",
    )


def _signed(value: float) -> str:
    return number(value, 2, sign=True)


def _measured(result: EvalRecord) -> str:
    return (
        f"Held-out accuracy {result.accuracy:.2f} [{result.low:.2f}, {result.high:.2f}] at step {result.step}, "
        f"n = {result.num_problems} problems"
    )


def _trained(facts: Facts, first: EvalRecord, new: EvalRecord) -> Change | None:
    """Training accuracy in the steps just before the last evaluation, against those after the first."""
    after = [m.accuracy for m in facts.history if first.step < m.step <= new.step]
    size = min(10, len(after) // 2)
    return change(after[-size:], after[:size]) if size >= MIN_STEPS else None
