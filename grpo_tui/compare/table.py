"""A comparison as Markdown: what each algorithm is and learnt, what it cost, how its step size was chosen, on what terms."""

from __future__ import annotations

from collections.abc import Sequence

from grpo_tui.compare.plan import SweepResult
from grpo_tui.compare.report import Comparison
from grpo_tui.compare.summary import AlgorithmResult, unequal_starts

UNKNOWN = "–"


def to_markdown(comparison: Comparison) -> str:
    """The whole text."""
    rows = comparison.rows()
    parts = ["# Algorithms compared", _setting(comparison)]
    if rows:
        parts += [_learnt(rows), _cost(rows), _seeds(rows)]
    notes = _notes(comparison, rows)
    if notes:
        parts.append("\n".join(f"- {note}" for note in notes))
    if comparison.sweep:
        parts += ["## Step sizes tried", _sweep(comparison), _SWEEP_WORDS]
    if rows:
        parts += ["## What the columns mean", _COLUMN_WORDS]
    return "\n\n".join(parts) + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


# --- the setting ---------------------------------------------------------------------------------------------


def _setting(comparison: Comparison) -> str:
    terms = comparison.terms
    config = next(iter(comparison.configs.values()))
    first = config.run.seed
    seeds = f"seed {first}" if terms.num_seeds == 1 else f"seeds {first} to {first + terms.num_seeds - 1}"
    model = next((run.model for run in comparison.runs if run.model is not None), None)
    on = f"{config.model.source} ({model.dtype}, {model.device})" if model else config.model.source
    machine = comparison.machine
    versions = machine.get("versions", {})
    num_problems = next((run.before.num_problems for run in comparison.runs if run.before is not None), 0)
    held_out = f", {num_problems} held-out problems before and after each run" if num_problems else ""
    one = (
        f"Model {on}, LoRA rank {config.model.lora_rank}, problems {config.data.source}; "
        f"{config.sampling.prompts_per_step} prompts × {config.sampling.group_size} answers a step; "
        f"{terms.max_tokens:,} generated tokens a run, {seeds}{held_out}."
    )
    two = (
        f"{machine.get('processor')}, {machine.get('cores')} cores; {comparison.jobs} {_plural('run', comparison.jobs)} at "
        f"once with {comparison.threads} {_plural('thread', comparison.threads)} each; grpo-tui {machine.get('grpo_tui')}, "
        f"Python {machine.get('python')}, torch {versions.get('torch', UNKNOWN)}."
    )
    return f"{one}\n{two}"


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"


# --- the two tables ------------------------------------------------------------------------------------------


def _learnt(rows: Sequence[AlgorithmResult]) -> str:
    head = (
        "algorithm",
        "value function",
        "advantage",
        "held back by",
        "held-out accuracy",
        "rise (95 %)",
        "learns",
        "peak memory",
        "own state",
    )
    return _table(head, [_learnt_row(row) for row in rows])


def _learnt_row(row: AlgorithmResult) -> list[str]:
    accuracy = UNKNOWN
    if row.before is not None and row.after is not None:
        accuracy = f"{row.before:.3f} → {row.after:.3f}"
    rise = UNKNOWN
    if row.rise is not None:
        rise = f"{row.rise.value:+.3f} ({row.rise.low:+.3f} to {row.rise.high:+.3f})"
    return [
        f"`{row.algorithm}`",
        row.nature.value_function,
        row.nature.advantage,
        row.nature.held_back_by,
        accuracy,
        rise,
        row.learns,
        _bytes(row.peak_memory_bytes),
        UNKNOWN if row.state_bytes is None else _bytes(row.state_bytes),
    ]


def _cost(rows: Sequence[AlgorithmResult]) -> str:
    head = (
        "algorithm",
        "step size",
        "training reward",
        "gradient noise / signal",
        "KL per update, mean / max",
        "tokens",
        "steps",
        "updates",
        "time",
        "besides",
    )
    return _table(head, [_cost_row(row) for row in rows])


def _cost_row(row: AlgorithmResult) -> list[str]:
    kl = UNKNOWN
    if row.kl_mean is not None and row.kl_max is not None:
        kl = f"{row.kl_mean:.2g} / {row.kl_max:.2g}"
    return [
        f"`{row.algorithm}`",
        f"{_step_word(row)} {row.choice.step_size:.3g}{' (edge)' if row.choice.at_edge else ''}",
        f"{row.reward_first:.3f} → {row.reward_last:.3f}",
        _noise(row),
        kl,
        f"{row.tokens:,.0f}",
        f"{row.steps:.0f}",
        f"{row.updates:.0f}",
        f"{row.seconds:.0f} s",
        _besides(row),
    ]


def _step_word(row: AlgorithmResult) -> str:
    return "δ" if row.step_size_key == "trust_region.kl_limit" else "lr"


def _noise(row: AlgorithmResult) -> str:
    if row.noise_to_signal is not None:
        return f"{row.noise_to_signal:.3g}"
    return UNKNOWN if row.gradient_signal is None else "no signal seen"


def _besides(row: AlgorithmResult) -> str:
    parts = []
    if row.accepted is not None:
        parts.append(f"{row.accepted:.0%} of steps accepted")
    if row.max_kl_over_limit is not None:
        parts.append(f"max KL {row.max_kl_over_limit:.2f} δ")
    if row.explained_variance is not None:
        parts.append(f"critic explains {row.explained_variance:.0%} at the end")
    if row.warmup_steps:
        parts.append(f"{row.warmup_steps:.0f} steps of critic warm-up")
    return ", ".join(parts) or UNKNOWN


def _seeds(rows: Sequence[AlgorithmResult]) -> str:
    """The spread over seeds, which the pooled interval does not hold."""
    lines = []
    for row in rows:
        each = " ".join(f"{rise:+.3f}" for rise in row.rises) or UNKNOWN
        mean = row.rise_over_seeds
        over = UNKNOWN if mean is None else f"{mean.value:+.3f} ({mean.low:+.3f} to {mean.high:+.3f})"
        lines.append([f"`{row.algorithm}`", f"{row.num_answers}", f"{row.num_runs}", each, over])
    head = ("algorithm", "held-out answers, n", "runs", "rise of each seed", "mean over seeds (95 %, t)")
    return _table(head, lines)


def _bytes(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count / 1e3:.3g} kB" if count else UNKNOWN


# --- notes and words -----------------------------------------------------------------------------------------


def _notes(comparison: Comparison, rows: Sequence[AlgorithmResult]) -> list[str]:
    notes = []
    missing = len(comparison.planned) - len(comparison.runs)
    if missing > 0:
        notes.append(f"**Not complete**: {missing} of {len(comparison.planned)} runs are missing.")
    for failure in comparison.failures:
        notes.append(f"`{failure.run}` failed and is left out: {failure.message}")
    for algorithm in comparison.terms.algorithms:
        if comparison.planned and algorithm not in comparison.choices:
            notes.append(f"`{algorithm}` is left out: no run of its sweep finished.")
    unequal = unequal_starts(comparison.runs)
    if unequal:
        seeds = "; ".join(
            f"seed {seed}: {' ≠ '.join(', '.join(names) for names in parts)}"
            for seed, parts in unequal.items()
        )
        notes.append(
            f"**Starts differ** ({seeds}): these runs did not answer alike before their first update, though their "
            "configs say they should. Another precision, machine or version makes such a difference."
        )
    elif len(rows) > 1:
        notes.append(
            "Equal starts were checked: at each seed all runs answered the held-out problems alike before training, and "
            "drew the same first rollout batch, token by token."
        )
    load = comparison.machine.get("load_at_start", 0.0)
    if load > 0.5:
        notes.append(
            f"Other programs kept {load:.1f} cores busy when the comparison began: times are longer than alone."
        )
    if comparison.jobs > 1:
        notes.append("Runs shared the cores, so their times are not those of a run alone.")
    return notes


def _sweep(comparison: Comparison) -> str:
    factors = comparison.terms.factors
    head = ("algorithm", "step size", *(f"× {factor:.3g}" for factor in factors), "tokens")
    lines = []
    for algorithm in comparison.terms.algorithms:
        results = {r.factor: r for r in comparison.sweep if r.algorithm == algorithm}
        if results:
            choice = comparison.choices.get(algorithm)
            cells = [_swept(results.get(factor), choice.factor if choice else None) for factor in factors]
            key = (
                "trust_region.kl_limit"
                if comparison.configs[algorithm].algorithm.update == "trust_region"
                else "optim.lr"
            )
            base = next(iter(results.values()))
            tokens = max(result.tokens for result in results.values())
            lines.append(
                [
                    f"`{algorithm}`",
                    f"{key} {base.step_size / base.factor:.3g}",
                    *cells,
                    f"{tokens:,}" if tokens else UNKNOWN,
                ]
            )
    return _table(head, lines)


def _swept(result: SweepResult | None, chosen: float | None) -> str:
    if result is None:
        return UNKNOWN
    if result.reward is None:
        return "failed"
    return f"**{result.reward:.3f}**" if result.factor == chosen else f"{result.reward:.3f}"


_SWEEP_WORDS = """\
Mean training reward of the last quarter of a run's steps, on one seed that is not among those measured; the bold one was
taken. Held-out problems had no part in it. *(edge)* above: the best was the smallest or the largest tried, and a better
one may lie beyond."""

_COLUMN_WORDS = """\
- **held back by**: *(idle)* marks what cannot act with these settings: with one gradient step a batch every ratio is 1.
- **held-out accuracy**: share of right answers, one answer a problem at the evaluation's temperature, over all seeds.
  **rise**: after − before with Newcombe's interval for the difference of two proportions, all answers pooled as
  independent. The seeds answer the same problems, so the interval is narrower than one for new problems and does not hold
  the spread of training itself: that stands in the table of seeds. **learns**: the interval excludes 0.
- **peak memory**: the largest of an algorithm's runs, a process each: on a CPU all that the process held, Python and libraries
  included; on an accelerator what torch allocated there. **own state**: adapter, critic and optimiser on disk.
- **training reward**: mean of the first and of the last quarter of the steps.
- **gradient noise / signal**: trace of the gradient's covariance over the squared length of its mean, for the step's rollout
  batch, each estimated from two halves of it and averaged over all steps before dividing. *no signal seen*: the
  unbiased estimate of the signal is not above 0, so the ratio has no meaning.
- **KL per update**: exact KL(policy before ‖ policy after) in nats a token, of updates that moved the policy.
- **time**: of training steps, these measurements included, evaluations not. Tokens, steps, updates and time are means of a run."""
