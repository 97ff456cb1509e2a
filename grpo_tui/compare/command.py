"""``grpo-tui compare``: the sweep, the measured runs, and what they gave, written down after each."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType

from grpo_tui.compare.plan import (
    PlannedRun,
    SweepResult,
    Terms,
    base_configs,
    choose,
    parse_algorithms,
    passed_over,
    plan_measured,
    plan_sweep,
    without_sweep,
)
from grpo_tui.compare.processes import Processes, threads_for
from grpo_tui.compare.report import Comparison, Failure, describe_machine
from grpo_tui.compare.results import read_result, read_sweep_result
from grpo_tui.compare.running import Launcher, Outcome, run_all, state_of
from grpo_tui.compare.telling import Teller, write_down
from grpo_tui.config.errors import ConfigError
from grpo_tui.config.schema import RunConfig
from grpo_tui.data.problem import DataError
from grpo_tui.data.sources import load_problems
from grpo_tui.runs.lock import RunLock
from grpo_tui.runs.schema import DATABASE, RunFileError, os_error

EXIT_FAILED, EXIT_USER_ERROR, EXIT_INTERRUPTED, EXIT_TERMINATED = 1, 2, 130, 143


def run(arguments: argparse.Namespace, runs_root: Path) -> int:
    """Run the command and give its exit code: 1 when a run failed, 130 or 143 when it was stopped.

    Raises:
        ConfigError: the settings cannot be used, or are not those that ``--out`` was begun with.
        RunFileError: a folder cannot be read or written.
    """
    terms = terms_of(arguments)
    out: Path = arguments.out if arguments.out is not None else new_folder(runs_root)
    comparison = prepare(terms, out, jobs=arguments.jobs)
    teller = Teller(as_json=arguments.json)
    decided = passed_over(terms, comparison.configs, out)
    if decided:
        teller.say(
            f"not used: {', '.join(decided)}; a run of a comparison ends by --tokens, is evaluated before and after, "
            "and is named for its algorithm and seed"
        )
    lock = _lock(out)
    try:
        processes = Processes(out, comparison.threads, on_step=teller.pace)
        teller.on_closed = processes.stop
        with _stopping(processes) as received, teller:
            comparison = carry_out(comparison, out, processes, teller)
        if processes.is_stopping():
            teller.say(f"stopped; the same command with --out {out} goes on")
            return EXIT_TERMINATED if signal.SIGTERM in received else EXIT_INTERRUPTED
        teller.end(comparison, out)
        return 0 if comparison.complete else EXIT_FAILED
    finally:
        lock.release()


def terms_of(arguments: argparse.Namespace) -> Terms:
    """What the command line asks for.

    Raises:
        ConfigError: an algorithm is not known.
    """
    return Terms(
        algorithms=parse_algorithms(arguments.algorithms),
        num_seeds=arguments.seeds,
        max_tokens=arguments.tokens,
        factors=arguments.sweep,
        sweep_tokens=arguments.sweep_tokens or arguments.tokens,
        preset=arguments.preset,
        config_file=arguments.config,
        overrides=tuple(arguments.overrides),
    )


def prepare(terms: Terms, out: Path, *, jobs: int) -> Comparison:
    """A comparison before its first run. Whatever can be found wrong beforehand is found here.

    Raises:
        ConfigError: the settings cannot be used, or are not those that the folder was begun with.
        RunFileError: a run in the folder cannot be read.
    """
    if (out / DATABASE).exists():
        raise ConfigError(f"--out {out}", "", "is a run itself; choose another folder for the comparison")
    configs = base_configs(terms)
    for factor in terms.factors:
        plan_measured(terms, configs, dict.fromkeys(configs, factor), out)
    for planned in plan_sweep(terms, configs, out):
        state_of(planned)
    _demand_held_out(next(iter(configs.values())))
    return Comparison(
        terms=terms,
        configs=configs,
        command=("grpo-tui", *sys.argv[1:]),
        jobs=jobs,
        threads=threads_for(jobs),
        machine=describe_machine(),
    )


def _demand_held_out(config: RunConfig) -> None:
    """The sweep does without held-out problems, so that nobody would miss them before it is over."""
    try:
        loaded = load_problems(config.data, check_gold=lambda _gold: None)
    except DataError as error:
        raise ConfigError("", "", str(error)) from error
    if not loaded.held_out:
        message = "no problems are held out; set data.eval_fraction=0.1, or name a file with data.eval_source"
        raise ConfigError(config.data.source, "", message)


def carry_out(comparison: Comparison, out: Path, launcher: Launcher, teller: Teller) -> Comparison:
    """Make all runs that are not made yet, and return the comparison with what they gave, as far as it came."""
    terms, configs = comparison.terms, comparison.configs
    planned = plan_sweep(terms, configs, out)
    if planned:
        teller.begin("step sizes", planned)
        comparison = _sweep(comparison, planned, launcher, teller)
        if launcher.is_stopping():
            return comparison
        choices = choose(comparison.sweep)
    else:
        choices = without_sweep(terms, configs)
    factors = {name: choice.factor for name, choice in choices.items()}
    runs = plan_measured(terms, configs, factors, out)
    comparison = replace(comparison, choices=choices, planned=tuple(runs))
    teller.begin("measured runs", runs)
    for outcome in run_all(runs, launcher, jobs=comparison.jobs):
        if outcome.state == "failed":
            any_finished = bool(comparison.runs) or any(r.reward is not None for r in comparison.sweep)
            _give_up_if_all_would_fail(outcome, launcher, any_finished=any_finished)
        comparison = _with_outcome(comparison, outcome, teller)
        write_down(comparison, out)
    write_down(comparison, out)
    return comparison


def _sweep(
    comparison: Comparison, planned: Sequence[PlannedRun], launcher: Launcher, teller: Teller
) -> Comparison:
    results: dict[str, SweepResult] = {}
    failures = list(comparison.failures)
    for outcome in run_all(planned, launcher, jobs=comparison.jobs):
        if outcome.state == "stopped":
            continue
        if outcome.state == "failed":
            any_finished = any(result.reward is not None for result in results.values())
            _give_up_if_all_would_fail(outcome, launcher, any_finished=any_finished)
            failures.append(Failure(run=f"sweep/{outcome.run.name}", message=outcome.message))
        result = read_sweep_result(outcome.run, finished=outcome.state == "finished")
        results[outcome.run.name] = result
        teller.swept(outcome, result)
    # In the order planned, so that a comparison that went on is the same as one that never stopped.
    ordered = tuple(results[run.name] for run in planned if run.name in results)
    return replace(comparison, sweep=ordered, failures=tuple(failures))


def _give_up_if_all_would_fail(outcome: Outcome, launcher: Launcher, *, any_finished: bool) -> None:
    """A model or data set that cannot be loaded is told once, not by every run."""
    if outcome.code == EXIT_USER_ERROR and not any_finished:
        launcher.stop()
        raise ConfigError("", "", outcome.message.removesuffix(f" (exit {EXIT_USER_ERROR})"))


def _with_outcome(comparison: Comparison, outcome: Outcome, teller: Teller) -> Comparison:
    if outcome.state == "finished":
        result = read_result(outcome.run)
        teller.measured(outcome, result)
        order = [run.name for run in comparison.planned]
        runs = sorted((*comparison.runs, result), key=lambda run: order.index(run.name))
        return replace(comparison, runs=tuple(runs))
    if outcome.state == "failed":
        teller.failed(outcome)
        failure = Failure(run=f"runs/{outcome.run.name}", message=outcome.message)
        return replace(comparison, failures=(*comparison.failures, failure))
    return comparison


# --- folder and signals --------------------------------------------------------------------------------------


def new_folder(root: Path) -> Path:
    """A name for a new comparison below the folder of runs; nothing is made yet."""
    stem = f"compare-{time.strftime('%Y%m%d-%H%M%S')}"
    path, number = root / stem, 1
    while path.exists():
        number += 1
        path = root / f"{stem}-{number}"
    return path


def _lock(out: Path) -> RunLock:
    """One comparison at a time in a folder."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise os_error("create", out, error) from error
    try:
        return RunLock(out)
    except RunFileError as error:
        if "is training this run" not in str(error):
            raise
        message = "another comparison is running in this folder; wait for it, or choose another"
        raise RunFileError(f"--out {out}: {message}") from error


@contextmanager
def _stopping(processes: Processes) -> Iterator[list[int]]:
    """Within: SIGINT and SIGTERM ask the runs to save and stop; again, to stop at once."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def stop(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        with contextlib.suppress(OSError):
            os.write(
                2,
                b"\nstopping: each run saves after the token in progress\n" if len(received) == 1 else b"\n",
            )
        processes.stop()

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
