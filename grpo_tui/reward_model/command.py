"""``grpo-tui train-reward``: from recorded runs to a reward model on disk, and how much it learnt."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grpo_tui.config.load import load_config
from grpo_tui.reward_model.pairs import Answers, Collected, bounded, collect, split

if TYPE_CHECKING:
    from grpo_tui.reward_model.measuring import Measured, PairAccuracy

FOLDER = "reward_model"
EXIT_FAILED, EXIT_USER_ERROR, EXIT_INTERRUPTED = 1, 2, 130


class UserError(ValueError):
    """The person can mend it: one line that says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What will be trained on what, and where it goes."""

    source: str
    out: Path
    collected: Collected
    train: tuple[Answers, ...]
    held_out: tuple[Answers, ...]


def run(arguments: argparse.Namespace) -> int:
    """Run the command, and give its exit code: 2 for what the person can mend, 1 for a failure, 130 for ctrl-C."""
    try:
        plan = _plan(arguments)
        return _train(plan, arguments)
    except UserError as error:
        return _complain(str(error), EXIT_USER_ERROR)
    except KeyboardInterrupt:
        return _complain("stopped; nothing was saved", EXIT_INTERRUPTED)


def _plan(arguments: argparse.Namespace) -> Plan:
    """Everything that can be found wrong before torch is imported.

    Raises:
        UserError: no run, nothing to compare, or a place that is taken.
        RunFileError: a run's file cannot be read.
        ConfigError: the first run's config cannot be read.
    """
    runs: list[Path] = arguments.runs
    for folder in runs:
        if not (folder / "run.db").is_file():
            raise UserError(
                f"{folder} is not a run (it has no run.db); give the folder of one, e.g. below runs/"
            )
    out: Path = arguments.out or runs[0] / FOLDER
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(f"--out {out} is there already; remove it or choose another folder")
    source = arguments.model or load_config(file=runs[0] / "config.toml").model.source
    collected = collect(list(dict.fromkeys(folder.resolve() for folder in runs)))
    if not collected.answers:
        raise UserError(
            f"no problem in {', '.join(map(str, runs))} has both a right and a wrong answer "
            f"({collected.num_problems} problems, {collected.num_completions} judged answers); "
            "record more steps, with a reward that judges truth (reward.weights.math, 0 will do)"
        )
    try:
        train, held_out = split(collected.answers, arguments.eval_fraction, arguments.seed)
    except ValueError as error:
        raise UserError(f"{error}; record more steps, or give --eval-fraction 0") from None
    return Plan(
        source=source,
        out=out,
        collected=collected,
        train=bounded(train, arguments.max_pairs, arguments.seed),
        held_out=bounded(held_out, arguments.max_pairs, arguments.seed),
    )


def _train(plan: Plan, arguments: argparse.Namespace) -> int:
    """Train, measure, save and report."""
    _quiet_libraries()
    from torch import OutOfMemoryError

    from grpo_tui.policy.errors import PolicyError
    from grpo_tui.reward_model.measuring import measure
    from grpo_tui.reward_model.training import TrainingOptions, load_untrained, save, train

    _say(_data_line(plan))
    started = time.monotonic()
    try:
        classifier = load_untrained(plan.source, device=arguments.device, seed=arguments.seed)
    except PolicyError as error:
        raise UserError(
            str(error).replace("model.source", "--model", 1).replace("model.device", "--device", 1)
        ) from None
    options = TrainingOptions(
        lr=arguments.lr, epochs=arguments.epochs, batch_size=arguments.batch_size, seed=arguments.seed
    )

    def measured() -> Measured | None:
        return measure(classifier, plan.held_out) if plan.held_out else None

    before = measured()
    _say(f"before training: held-out pairs in order {_shown_whole(before)}")
    epochs: list[dict[str, Any]] = []
    after = before
    try:
        for number, loss in enumerate(train(classifier, plan.train, options, _progress), start=1):
            after = measured()
            _say(f"epoch {number}: loss {loss:.4f}, held-out pairs in order {_shown_whole(after)}")
            epochs.append({"epoch": number, "loss": loss, "held_out": _json(after)})
    except FloatingPointError as error:
        return _complain(str(error), EXIT_FAILED)
    except (MemoryError, OutOfMemoryError) as error:
        return _complain(
            f"out of memory ({' '.join(str(error).split())[:120]}); lower --batch-size or name a smaller --model",
            EXIT_FAILED,
        )
    result = _result(plan, options.lr, before, epochs, time.monotonic() - started)
    try:
        save(
            classifier,
            plan.out,
            {name: result[name] for name in ("model", "runs_steps", "lr", "pairs", "held_out")},
        )
    except OSError as error:
        return _complain(f"cannot write {plan.out}: {error.strerror or error}", EXIT_FAILED)
    sys.stdout.write(
        json.dumps(result, ensure_ascii=False) + "\n" if arguments.json else _report(plan, before, after)
    )
    return 0


def _result(
    plan: Plan, lr: float, before: Measured | None, epochs: Sequence[dict[str, Any]], seconds: float
) -> dict[str, Any]:
    """The whole result, JSON-ready."""
    return {
        "out": str(plan.out),
        "model": plan.source,
        "lr": lr,
        "runs_steps": plan.collected.num_steps,
        "judged_completions": plan.collected.num_completions,
        "pairs": {
            "train": sum(problem.num_pairs for problem in plan.train),
            "train_problems": len(plan.train),
            "held_out": sum(problem.num_pairs for problem in plan.held_out),
            "held_out_problems": len(plan.held_out),
        },
        "before": _json(before),
        "epochs": list(epochs),
        "held_out": epochs[-1]["held_out"],
        "longer_is_better": _json(_by_length(plan)),
        "seconds": round(seconds, 2),
    }


def _report(plan: Plan, before: Measured | None, after: Measured | None) -> str:
    lines = [_data_line(plan)]
    by_length = _by_length(plan)
    if before is not None and after is not None and by_length is not None:
        lines += [
            "held-out pairs in order (95 % interval, pairs taken as independent):",
            f"  before training   {_shown(before.every)}",
            f"  after training    {_shown(after.every)}",
            f"  longer is better  {_shown(by_length)}",
            f"  after training, where the right answer is not the longer one: {_shown(after.not_longer)}",
        ]
    lines += [
        f"saved in {plan.out}",
        f"use it: grpo-tui train --set reward.weights.learned=1 --set reward.learned_model={plan.out}",
    ]
    return "\n".join(lines) + "\n"


def _data_line(plan: Plan) -> str:
    train, held_out = (sum(p.num_pairs for p in part) for part in (plan.train, plan.held_out))
    return (
        f"{plan.collected.num_steps} steps, {plan.collected.num_completions} judged answers: {train} pairs of "
        f"{len(plan.train)} problems to train on, {held_out} pairs of {len(plan.held_out)} other problems held out"
    )


def _by_length(plan: Plan) -> PairAccuracy | None:
    from grpo_tui.reward_model.measuring import length_accuracy

    return length_accuracy(plan.held_out) if plan.held_out else None


def _shown(measured: PairAccuracy | None) -> str:
    if measured is None:
        return "not measured, there is no such pair"
    return f"{measured.accuracy:.3f} ({measured.low:.3f} to {measured.high:.3f}, n={measured.num_pairs})"


def _shown_whole(measured: Measured | None) -> str:
    return _shown(measured.every if measured is not None else None)


def _json(measured: Measured | PairAccuracy | None) -> dict[str, Any] | None:
    return asdict(measured) if measured is not None else None


def _progress(done: int, total: int) -> None:
    """A counter that overwrites itself, where stderr is a terminal."""
    if sys.stderr is not None and sys.stderr.isatty():
        sys.stderr.write(f"\rgradient step {done} of {total}\x1b[K" + "\r\x1b[K" * (done == total))
        sys.stderr.flush()


def _quiet_libraries() -> None:
    """No bars and no table of fresh weights: a fresh head is what is asked for."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TQDM_DISABLE", "1")
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def _say(text: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(f"{text}\n")


def _complain(message: str, code: int) -> int:
    _say(f"grpo-tui train-reward: error: {message}")
    return code
