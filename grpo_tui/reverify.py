"""``grpo-tui reverify``: every recorded answer of a run judged again; the flips first, and stored only if asked for."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from grpo_tui.config.errors import ConfigError
from grpo_tui.config.load import load_config
from grpo_tui.config.schema import RunConfig
from grpo_tui.engine.reverify import Result, judge_again, revised, rules_for
from grpo_tui.engine.rewarding import make_reward
from grpo_tui.engine.tuning import replayed
from grpo_tui.events.codec import encode_record
from grpo_tui.events.judgements import Flip
from grpo_tui.runs.reader import RunReader
from grpo_tui.runs.schema import CONFIG
from grpo_tui.visible import clean, clip


def run(arguments: argparse.Namespace) -> int:
    """Run the command; the exit code is 0 whatever flips.

    Raises:
        ConfigError: a rule cannot be used.
        RunFileError: the run cannot be read, or, with ``--store``, is being trained.
    """
    run_dir: Path = arguments.run
    with RunReader(run_dir) as reader:
        config = replayed(
            load_config(preset=None, file=run_dir / CONFIG, overrides=[]), reader.settings_changes()
        )
        config, rules = _rules(config, arguments.overrides)
        reward = make_reward(config)
        try:
            result = judge_again(reader, reward, config.sampling.max_completion_tokens, _report)
        finally:
            reward.close()
    if arguments.json:
        _print_json(result, rules)
    else:
        _print(result, rules)
    if arguments.store and result.flips:
        _store(run_dir, result, rules)
    return 0


def _rules(config: RunConfig, overrides: list[str]) -> tuple[RunConfig, str]:
    changes = [(key.strip(), text) for key, _, text in (pair.partition("=") for pair in overrides)]
    try:
        return rules_for(config, changes)
    except ValueError as error:
        raise ConfigError("--set", "", str(error)) from error


def _report(done: int, total: int) -> None:
    if sys.stderr.isatty():
        end = "\n" if done == total else ""
        sys.stderr.write(f"\rjudged {done} of {total} steps{end}")
        sys.stderr.flush()


def _print(result: Result, rules: str) -> None:
    for flip in result.flips:
        sys.stdout.write(f"{line_of(flip)}\n")
    sys.stdout.write(
        f"{result.num_answers} answers judged again under {rules}: {len(result.flips)} verdicts differ, "
        f"{result.num_changed_rewards} rewards\n"
    )


def line_of(flip: Flip) -> str:
    """A flip in one line: where, what it was and is, the answer, and why."""
    where = f"step {flip.step} g{flip.group + 1}·r{flip.completion + 1}"
    where += f" (branch {flip.branch})" if flip.branch else ""
    answer = clip(clean(" ".join(flip.answer.split())), 40)
    gold = clip(clean(" ".join(flip.gold.split())), 30)
    return f"{where}  {flip.old} → {flip.new}  {answer!r} gold {gold!r}  {clip(clean(flip.reason), 120)}"


def _print_json(result: Result, rules: str) -> None:
    for flip in result.flips:
        _print_record(encode_record(flip)[0])
    _print_record(
        {
            "rules": rules,
            "num_answers": result.num_answers,
            "num_flips": len(result.flips),
            "num_changed_rewards": result.num_changed_rewards,
        }
    )


def _print_record(record: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(record) + "\n")


def _store(run_dir: Path, result: Result, rules: str) -> None:
    from grpo_tui.runs.writer import RunWriter

    with RunWriter.open(run_dir) as writer:
        writer.write(revised(result, rules))
    sys.stderr.write(f"stored {len(result.flips)} second verdicts beside the recorded ones in {run_dir}\n")
