"""Checks of the policy and its updates: length, entropy, KL, clipping, gradient, learning rate."""

from __future__ import annotations

import math
import statistics

from grpo_tui.config.validate import USUAL_LR
from grpo_tui.events.records import StepMetrics
from grpo_tui.tui.change import ROUNDING, share_change
from grpo_tui.tui.health.finding import MIN_STEPS, WINDOW, Facts, Finding, Level, graded
from grpo_tui.tui.text import compact, number, percent

CUT_WATCH, CUT_WARN = 0.1, 0.3
"""Share of responses cut at the length limit: an answer that never came is paid as wrong."""
CUT_RISE = 0.05
"""A clear rise by this much is told at any level."""
ENTROPY_LOW, ENTROPY_GONE = 0.15, 0.05
"""Nats a token under which little, or nothing, is left to explore."""
ENTROPY_FALL, ENTROPY_COLLAPSE = 0.75, 0.5
"""Share of the entropy before that is left; less than this is a fast fall, or a collapse."""
TOKEN_WATCH, TOKEN_WARN = 10.0, 100.0
"""k3 of one token: about what a token costs that the reference finds 13, or 104, times likelier than the policy."""
KL_GROWTH = 2.0
"""A mean kl_ref so many times that of the steps before grows fast, once it is worth speaking of."""
KL_WATCH, KL_WARN = 0.1, 0.5
"""Mean kl_ref, nats a token: well away from the reference, and somewhere else."""
CLIP_WATCH, CLIP_WARN = 0.2, 0.4
"""Share of tokens where the clip acted."""
SPIKE_WATCH, SPIKE_WARN = 5.0, 20.0
"""A gradient norm so many times the median of the other steps."""
NOISE_WATCH, NOISE_WARN = 10.0, 50.0
"""Variance of the gradient over its squared length: how many such batches would make a clear direction."""
SKIPPED_WATCH, SKIPPED_WARN = 0.2, 0.5
"""Share of steps that moved nothing."""


def truncation(facts: Facts) -> Finding | None:
    """Responses cut at the limit, and whether they become more."""
    if not facts.enough:
        return None
    cut, total = _cut(facts.now)
    if not total:
        return None
    share = cut / total
    level = graded(share, CUT_WATCH, CUT_WARN)
    evidence = f"{cut} of {total} responses {facts.steps} were cut at the limit ({percent(share)})"
    moved = share_change(cut, total, *_cut(facts.before))
    if moved is not None:
        evidence += f", {percent(moved.before)} of {moved.num_before} in the {len(facts.before)} steps before"
        if moved.rises and moved.by >= CUT_RISE - ROUNDING:
            level = max(level, Level.WATCH)
            evidence += ": rising"
    return Finding(
        check="truncation",
        level=level,
        brief=f"{percent(share)} of {total} cut",
        evidence=f"{evidence}.",
        advice="Let responses be longer, or keep the cut ones out of the update; if length itself is what grows, "
        "charge for it."
        if level
        else "",
        knobs=("sampling.max_completion_tokens", "groups.mask_truncated", "groups.overlong_penalty")
        if level
        else (),
        look="responses with 'cut' in the last column" if level else "",
    )


def _cut(steps: tuple[StepMetrics, ...]) -> tuple[int, int]:
    return sum(m.num_truncated for m in steps), sum(m.num_completions for m in steps)


def entropy(facts: Facts) -> Finding | None:
    """How undecided the policy still is, and how fast that goes."""
    if not facts.enough:
        return None
    values = [m.entropy for m in facts.now if math.isfinite(m.entropy)]
    if not values:
        return None
    mean = statistics.fmean(values)
    level = Level.WARN if mean < ENTROPY_GONE else Level.WATCH if mean < ENTROPY_LOW else Level.OK
    evidence = f"{compact(mean)} nats a token, mean of the last {len(values)} steps"
    moved = facts.change_of(lambda m: m.entropy)
    if moved is not None and moved.before > 0:
        left = moved.now / moved.before
        evidence += f"; {compact(moved.before)} in the {moved.num_before} before ({number(100 * (left - 1), 0, sign=True)} %)"
        reward = facts.change_of(lambda m: m.reward_mean)
        earns = reward is not None and reward.rises
        if moved.falls and left < ENTROPY_COLLAPSE:
            level = max(level, Level.WATCH if earns else Level.WARN)
        elif moved.falls and left < ENTROPY_FALL:
            level = max(level, Level.OK if earns else Level.WATCH)
        if level and earns:
            evidence += ", while the reward rises"
    return Finding(
        check="entropy",
        level=level,
        brief=f"{compact(mean)} nats",
        evidence=f"{evidence}.",
        advice="The policy stops exploring: raise the temperature or beta, or lower the learning rate."
        if level
        else "",
        knobs=("sampling.temperature", "algorithm.beta", "optim.lr") if level else (),
        look="in Live (1), g shows curve after curve" if level else "",
    )


def kl(facts: Facts) -> Finding | None:
    """Distance from the reference: its mean, its growth, and the worst single token."""
    values = [m.kl_ref for m in facts.now if m.kl_ref is not None and math.isfinite(m.kl_ref)]
    if not facts.enough or len(values) < MIN_STEPS:
        return None
    mean = statistics.fmean(values)
    level = graded(mean, KL_WATCH, KL_WARN)
    evidence = f"kl_ref {compact(mean)} nats a token, mean of the last {len(values)} steps"
    moved = facts.change_of(lambda m: m.kl_ref)
    if moved is not None:
        evidence += f" ({compact(moved.before)} in the {moved.num_before} before)"
        if level and moved.rises and moved.now >= KL_GROWTH * moved.before:
            level = Level.WARN
            evidence += ", growing fast"
    worst = max(
        ((m.update.kl_ref_worst, m.step) for m in facts.now if m.update and m.update.kl_ref_worst),
        key=lambda pair: pair[0].value,
        default=None,
    )
    look = "in Live (1), g shows curve after curve" if level else ""
    if worst is not None:
        token, step = worst
        level = max(level, graded(token.value, TOKEN_WATCH, TOKEN_WARN))
        where = f"g{token.group + 1}·r{token.completion + 1} @{step}"
        evidence += f"; its worst token {compact(token.value)}, {token.text!r} in {where}"
        if token.value >= TOKEN_WATCH:
            look = f"[ ] to step {step}, then response {where.split()[0]}"
    return Finding(
        check="KL",
        level=level,
        brief=f"{compact(mean)} nats" + (f", worst {compact(worst[0].value)}" if worst else ""),
        evidence=f"{evidence}.",
        advice="The policy leaves its reference: raise beta or lower the learning rate, unless it is meant to."
        if level
        else "",
        knobs=("algorithm.beta", "optim.lr") if level else (),
        look=look,
    )


def is_on_policy(facts: Facts) -> bool:
    """Whether each rollout batch gets one gradient step, at which every ratio is 1 and nothing can be clipped."""
    algorithm = facts.config.algorithm
    one_gradient = algorithm.num_epochs == 1 and algorithm.num_minibatches == 1
    return one_gradient and not any(m.num_ahead for m in facts.now)


def clipping(facts: Facts) -> Finding | None:
    """Tokens that the clip held back; does not exist with one gradient step a batch."""
    algorithm = facts.config.algorithm
    if not facts.enough or is_on_policy(facts) or "none" in (algorithm.clip, algorithm.ratio):
        return None
    mean = statistics.fmean(m.clip_fraction for m in facts.now)
    level = graded(mean, CLIP_WATCH, CLIP_WARN)
    tokens = sum(m.num_completion_tokens for m in facts.now)
    return Finding(
        check="clipping",
        level=level,
        brief=f"{percent(mean)} of tokens",
        evidence=f"The clip acted on {percent(mean)} of tokens {facts.steps} ({tokens} tokens).",
        advice="The policy moves too far within one batch: a lower learning rate, or fewer gradient steps a batch."
        if level
        else "",
        knobs=("optim.lr", "algorithm.num_epochs", "algorithm.num_minibatches") if level else (),
    )


def learning_rate(facts: Facts) -> Finding | None:
    """A learning rate that adapters are seldom trained with."""
    if not facts.history or facts.config.algorithm.update != "gradient":
        return None
    lowest, highest = USUAL_LR
    lr = facts.history[-1].learning_rate
    peak = max(m.learning_rate for m in facts.history)
    warm = len(facts.history) > facts.config.optim.warmup_steps
    too_high, too_low = lr > highest, warm and peak < lowest
    level = Level.WARN if too_high or (warm and peak == 0) else Level.WATCH if too_low else Level.OK
    advice = ""
    if peak == 0 and warm:
        advice = "The learning rate is 0: the adapter does not change."
    elif level:
        advice = (
            f"{'Lower' if too_high else 'Raise'} it into the range usual for LoRA, {lowest:g} to {highest:g}."
        )
    return Finding(
        check="learning rate",
        level=level,
        brief=f"{lr:g}",
        evidence=f"The learning rate of step {facts.history[-1].step} was {lr:g}; the highest so far {peak:g}.",
        advice=advice,
        knobs=("optim.lr",) if level else (),
    )


def grad_norm(facts: Facts) -> Finding | None:
    """Gradients far longer than usual, or that are no numbers."""
    if not facts.enough:
        return None
    steps = facts.history[-2 * WINDOW :]
    broken = [m.step for m in facts.now if not math.isfinite(m.grad_norm)]
    norms = [(m.grad_norm, m.step) for m in facts.now if math.isfinite(m.grad_norm)]
    if broken:
        return Finding(
            check="grad norm",
            level=Level.WARN,
            brief=f"not a number @{broken[-1]}",
            evidence=f"The gradient of step {broken[-1]} was not a number; so in {len(broken)} of the last "
            f"{len(facts.now)} steps.",
            advice="Lower the learning rate, or train in fp32.",
            knobs=("optim.lr", "model.dtype"),
        )
    highest, step = max(norms)
    usual = statistics.median([m.grad_norm for m in steps if m.step != step and math.isfinite(m.grad_norm)])
    times = highest / usual if usual > 0 else 0.0
    level = graded(times, SPIKE_WATCH, SPIKE_WARN)
    limit = facts.config.optim.max_grad_norm
    held = f" (clipped to {limit:g})" if level and 0 < limit < highest else ""
    return Finding(
        check="grad norm",
        level=level,
        brief=f"{compact(highest)} at most" + (f", {times:.0f}× usual @{step}" if level else ""),
        evidence=f"The longest gradient of the last {len(facts.now)} steps was {compact(highest)}{held} in step {step}, "
        f"{times:.1f} times the median of the other {len(steps) - 1}.",
        advice="Look at that step's group before you trust it; clip gradients lower or lower the learning rate."
        if level
        else "",
        knobs=("optim.max_grad_norm", "optim.lr") if level else (),
        look=f"[ ] to step {step}" if level else "",
    )


def gradient_noise(facts: Facts) -> Finding | None:
    """Whether a batch's gradient points anywhere; only where the run measures it."""
    pairs = [
        (m.update.gradient_variance, m.update.gradient_signal)
        for m in facts.now
        if m.update is not None
        and m.update.gradient_variance is not None
        and m.update.gradient_signal is not None
    ]
    if len(pairs) < MIN_STEPS:
        return None
    variance = statistics.fmean(v for v, _ in pairs)
    signal = statistics.fmean(s for _, s in pairs)
    ratio = variance / signal if signal > 0 else math.inf
    level = graded(ratio, NOISE_WATCH, NOISE_WARN)
    ratio_text = "no signal" if math.isinf(ratio) else f"noise {ratio:.1f}× signal"
    return Finding(
        check="gradient noise",
        level=level,
        brief=ratio_text,
        evidence=f"Mean over {len(pairs)} steps: variance of the gradient {compact(variance)}, its squared length "
        f"{compact(signal)} ({ratio_text}).",
        advice="One batch hardly tells a direction: more prompts a step or larger groups, or a lower learning rate."
        if level
        else "",
        knobs=("sampling.prompts_per_step", "sampling.group_size", "optim.lr") if level else (),
    )


def updates(facts: Facts) -> Finding | None:
    """Steps in which no update was made."""
    if not facts.enough:
        return None
    skipped = [m for m in facts.now if m.update_skipped]
    level = graded(len(skipped) / len(facts.now), SKIPPED_WATCH, SKIPPED_WARN)
    reason = f": {skipped[-1].update_skipped}" if skipped else ""
    return Finding(
        check="updates",
        level=level,
        brief=f"{len(skipped)} of {len(facts.now)} skipped",
        evidence=f"{len(skipped)} of the last {len(facts.now)} steps changed nothing{reason}.",
        advice="These steps were sampled for nothing: mend their cause first." if level else "",
        look="l, the log, says it step by step" if level else "",
    )
