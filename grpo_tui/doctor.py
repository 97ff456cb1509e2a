"""``grpo-tui doctor``: what this machine has, and with ``--fit`` whether a model trains here, measured."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from importlib import metadata
from typing import TYPE_CHECKING, Any

from grpo_tui.config import machine
from grpo_tui.config.schema import RunConfig

if TYPE_CHECKING:
    from grpo_tui.events.preflight import FitReport

PACKAGES = ("grpo-tui", "torch", "transformers", "peft", "datasets", "textual", "sympy", "gguf")
GB = 1e9


def run(arguments: argparse.Namespace, config: RunConfig) -> int:
    """Run the command and give its exit code."""
    facts = machine_facts()
    fit: FitReport | None = None
    if arguments.fit is not None:
        from grpo_tui.engine.advice import USER_ERRORS, one_line

        try:
            fit = _measure(config, arguments.prompt_tokens)
        except Exception as error:
            if type(error).__name__ not in (*USER_ERRORS, "ValueError"):
                raise
            sys.stderr.write(f"grpo-tui: error: {one_line(error)}\n")
            return 2
    if arguments.json:
        if fit is not None:
            facts["fit"] = fit_json(config, fit)
        sys.stdout.write(json.dumps(facts, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write("\n".join((*fact_lines(facts), *(fit_lines(config, fit) if fit else ()))) + "\n")
    return 0 if fit is None or fit.fits else 1


def machine_facts() -> dict[str, Any]:
    """Versions, device, memory and terminal, JSON-ready."""
    import torch

    from grpo_tui.generation.fast import way_of_decoding
    from grpo_tui.policy.loading import auto_dtype, pick_device

    device = pick_device("auto")
    facts: dict[str, Any] = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "packages": {name: _version(name) for name in PACKAGES},
        "cores": machine.num_cores(),
        "torch_threads": torch.get_num_threads(),
        "memory_bytes": machine.total_memory(),
        "free_memory_bytes": machine.free_memory(),
        "device": str(device),
        "dtype": str(auto_dtype(device)).removeprefix("torch."),
        "bf16": auto_dtype(device) is torch.bfloat16,
        "decoding": way_of_decoding(device, auto_dtype(device)),
        "gpus": [_gpu(torch, index) for index in range(torch.cuda.device_count())],
        "terminal": terminal_facts(os.environ),
    }
    return facts


def _gpu(torch: Any, index: int) -> dict[str, Any]:
    free, total = torch.cuda.mem_get_info(index)
    return {"name": torch.cuda.get_device_name(index), "memory_bytes": total, "free_memory_bytes": free}


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def terminal_facts(environment: Mapping[str, str]) -> dict[str, Any]:
    """What can be known of the terminal without asking it."""
    size = shutil.get_terminal_size()
    term, shown = environment.get("TERM", ""), environment.get("COLORTERM", "")
    colours = "none" if environment.get("NO_COLOR") else "16"
    if colours != "none":
        if shown in ("truecolor", "24bit"):
            colours = "16 million"
        elif "256" in term:
            colours = "256"
        elif term in ("", "dumb"):
            colours = "none"
    inside = "tmux" if environment.get("TMUX") else "screen" if environment.get("STY") else ""
    return {
        "columns": size.columns,
        "rows": size.lines,
        "term": term,
        "colours": colours,
        "inside": inside,
        "ssh": bool(environment.get("SSH_CONNECTION")),
        "is_terminal": sys.stdout.isatty(),
        "clipboard": "unknown: no terminal says whether it takes OSC 52"
        + ("; tmux needs set -g set-clipboard on" if inside == "tmux" else ""),
    }


def _measure(config: RunConfig, prompt_tokens: int) -> FitReport:
    from grpo_tui.engine.libraries import libraries_to_notices
    from grpo_tui.engine.preflight import measure_fit
    from grpo_tui.engine.trainer import Trainer
    from grpo_tui.events.types import Event, LoadingStage, Notice

    def tell(event: Event) -> None:
        if isinstance(event, LoadingStage):
            _say(f"{event.name} {event.detail}".rstrip())
        elif isinstance(event, Notice) and event.level != "info":
            _say(f"{event.level}: {event.message}")

    config = replace(
        config, reward=replace(config.reward, canaries=False), eval=replace(config.eval, every=0)
    )
    with libraries_to_notices(tell):
        trainer = Trainer.load(config, emit=tell)
        try:
            return measure_fit(trainer, prompt_tokens=prompt_tokens, say=_say)
        finally:
            trainer.close()


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


# --- telling ---------------------------------------------------------------------------------------------


def fact_lines(facts: Mapping[str, Any]) -> list[str]:
    """The machine, one fact a line."""
    versions = " · ".join(f"{name} {version}" for name, version in facts["packages"].items() if version)
    missing = [name for name, version in facts["packages"].items() if not version]
    terminal = facts["terminal"]
    lines = [
        f"python      {facts['python']} on {facts['system']}",
        f"packages    {versions}" + (f" · not installed: {', '.join(missing)}" if missing else ""),
        f"device      {facts['device']}, trains in {facts['dtype']} (bf16 {'yes' if facts['bf16'] else 'no'})",
        f"decoding    by {facts['decoding']}",
        f"cores       {facts['cores']}, torch uses {facts['torch_threads']}",
        f"memory      {_gb(facts['free_memory_bytes'])} free of {_gb(facts['memory_bytes'])}",
    ]
    for gpu in facts["gpus"]:
        lines.append(
            f"gpu         {gpu['name']}, {_gb(gpu['free_memory_bytes'])} free of {_gb(gpu['memory_bytes'])}"
        )
    inside = f" in {terminal['inside']}" if terminal["inside"] else ""
    over = " over ssh" if terminal["ssh"] else ""
    size = f"{terminal['columns']}x{terminal['rows']}" if terminal["is_terminal"] else "stdout is no terminal"
    lines += [
        f"terminal    {size}, {terminal['term'] or 'TERM not set'}{inside}{over}, colours: {terminal['colours']}",
        f"clipboard   {terminal['clipboard']}",
    ]
    return lines


def fit_json(config: RunConfig, fit: FitReport) -> dict[str, Any]:
    """The measurement, JSON-ready."""
    return {
        "model": config.model.source,
        **dataclasses.asdict(fit),
        "fits": fit.fits,
        "budget_bytes": fit.budget_bytes,
        "seconds_per_step": fit.seconds_per_step,
        "config": fit.config_lines,
    }


def fit_lines(config: RunConfig, fit: FitReport) -> list[str]:
    """The measurement in words."""
    worst = f"{fit.prompt_tokens} prompt + {fit.completion_tokens} completion tokens"
    step = f"{fit.prompts_per_step} prompts × {fit.group_size}"
    lines = [
        "",
        f"fit of {config.model.source}: worst step, {step} at {worst}",
        f"memory      {_gb(fit.free_bytes)} free with the model loaded, {fit.margin:.0%} left alone: "
        f"{_gb(fit.budget_bytes)} to use",
        f"sampling    {_point(fit, 'all at once', fit.sampling.extra_bytes, fit.sampling.seconds)}",
    ]
    for point in fit.microbatches:
        what = f"{point.num_rows} rows, {point.num_tokens} tokens"
        lines.append(f"update      {_point(fit, what, point.extra_bytes, point.seconds)}")
    lines += [f"note        {note}" for note in fit.notes]
    if not fit.fits:
        return [
            *lines,
            "does not fit: lower sampling.max_completion_tokens or sampling.group_size, or take a smaller model",
        ]
    return [
        *lines,
        f"a step      about {fit.seconds_per_step:.1f} s at worst: sampling {fit.sampling_seconds:.1f}, "
        f"reference {fit.reference_seconds:.1f}, update {fit.update_seconds:.1f}",
        f"groups      up to {fit.max_group_size} completions a prompt are sampled at once",
        "",
        "fits. To paste into a config file:",
        "",
        *fit.config_lines.rstrip().splitlines(),
        "",
        f"or: --set optim.max_tokens_per_microbatch={fit.max_tokens_per_microbatch}",
    ]


def _point(fit: FitReport, what: str, extra: int | None, seconds: float) -> str:
    if extra is None:
        return f"{what}: out of memory"
    verdict = "" if extra <= fit.budget_bytes else ", too much"
    return f"{what}: {_gb(extra)} more, {seconds:.2f} s{verdict}"


def _gb(num_bytes: int) -> str:
    return f"{num_bytes / GB:.1f} GB" if num_bytes >= GB else f"{num_bytes / 1e6:.0f} MB"
