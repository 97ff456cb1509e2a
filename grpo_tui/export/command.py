"""``grpo-tui export``: one thing out of a run, its path on stdout, what was done on stderr."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from grpo_tui.export import EXPORTS
from grpo_tui.export.card import FORMATS, make_card, render
from grpo_tui.export.errors import ExportError
from grpo_tui.export.files import write_text
from grpo_tui.runs.reader import RunReader
from grpo_tui.runs.schema import CONFIG, database_of


def run(arguments: argparse.Namespace) -> int:
    """Do it and give the exit code.

    Raises:
        ExportError: it cannot be done as asked.
        RunFileError: the run cannot be read, or the disk refuses.
    """
    database_of(arguments.run)
    done, out = _WRITERS[arguments.what](arguments)
    sys.stderr.write(f"{done}\n")
    sys.stdout.write(f"{out}\n")
    return 0


def _place(arguments: argparse.Namespace, name: str) -> Path:
    return Path(arguments.out) if arguments.out is not None else Path(arguments.run) / EXPORTS / name


def _completions(arguments: argparse.Namespace) -> tuple[str, Path]:
    from grpo_tui.export.tables import write_completions

    name = "completions" if arguments.step is None else f"completions-step-{arguments.step:06d}"
    out = _place(arguments, f"{name}.parquet")
    rows = write_completions(arguments.run, out, step=arguments.step, replace=arguments.force)
    return f"{rows} completions", out


def _metrics(arguments: argparse.Namespace) -> tuple[str, Path]:
    from grpo_tui.export.tables import write_metrics

    out = _place(arguments, "metrics.parquet")
    return f"{write_metrics(arguments.run, out, replace=arguments.force)} steps", out


def _acts(arguments: argparse.Namespace) -> tuple[str, Path]:
    from grpo_tui.export.acts import acts_as_json

    out = _place(arguments, "acts.jsonl")
    rows = acts_as_json(arguments.run, step=arguments.step)
    write_text(out, "".join(f"{row}\n" for row in rows), replace=arguments.force)
    return f"{len(rows)} acts", out


def _adapter(arguments: argparse.Namespace) -> tuple[str, Path]:
    from grpo_tui.export.adapter import find_checkpoint, write_adapter

    step, _ = find_checkpoint(arguments.run, arguments.step)
    out = _place(arguments, f"adapter-step-{step:06d}")
    write_adapter(arguments.run, out, step=step, replace=arguments.force)
    return f"adapter of step {step}", out


def _merged(arguments: argparse.Namespace) -> tuple[str, Path]:
    from grpo_tui.export.adapter import find_checkpoint
    from grpo_tui.export.merged import write_merged

    step, _ = find_checkpoint(arguments.run, arguments.step)
    out = _place(arguments, f"merged-step-{step:06d}")
    merged = write_merged(
        arguments.run,
        out,
        step=step,
        dtype=arguments.dtype,
        overwrite=arguments.force,
        say=lambda name, detail: _tell(f"{name}  {detail}"),
    )
    return (
        f"step {step} merged, {merged.dtype}; log-probs within {merged.deviation:.1e} of base with adapter",
        out,
    )


def _trl_script(arguments: argparse.Namespace) -> tuple[str, Path]:
    from grpo_tui.config.load import load_config
    from grpo_tui.export.trl_script import grpo_arguments, trl_script

    config = load_config(file=arguments.run / CONFIG)
    out = _place(arguments, "train_trl.py")
    write_text(out, trl_script(config, arguments.run.name), replace=arguments.force)
    gaps = grpo_arguments(config)[1]
    return f"TRL script; {len(gaps)} things have no equivalent there, see its comments", out


def _card(arguments: argparse.Namespace) -> tuple[str, Path]:
    with RunReader(arguments.run) as reader:
        step = arguments.step if arguments.step is not None else reader.last_step()
        detail = reader.load_step(step)
    if detail is None or not detail.groups:
        raise ExportError(f"{arguments.run} has no finished step {step}")
    groups = {group.index + 1: group for group in detail.groups}
    group = groups.get(arguments.group)
    if group is None:
        raise ExportError(f"step {step} has no group {arguments.group}; it has groups 1 to {max(groups)}")
    answers = {completion.index + 1: completion for completion in group.completions}
    if arguments.answer not in answers:
        raise ExportError(
            f"group {arguments.group} of step {step} has no answer {arguments.answer}; "
            f"it has answers 1 to {max(answers)}"
        )
    card = make_card(arguments.run.resolve().name, step, group, answers[arguments.answer])
    form = arguments.format or _form_of(arguments.out)
    out = _place(arguments, f"card-step-{step:06d}-g{card.group}-r{card.answer}.{form}")
    write_text(out, render(card, form), replace=arguments.force)
    return f"{card.title}: {card.sign} {card.judged}", out


def _form_of(out: Path | None) -> str:
    form = out.suffix.removeprefix(".").lower() if out is not None else ""
    return form if form in FORMATS else "svg"


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")


_WRITERS = {
    "completions": _completions,
    "metrics": _metrics,
    "acts": _acts,
    "adapter": _adapter,
    "merged": _merged,
    "trl-script": _trl_script,
    "card": _card,
}
