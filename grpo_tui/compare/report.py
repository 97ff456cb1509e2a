"""Everything that a comparison measured as one JSON document, and where it was measured."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import math
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpo_tui
from grpo_tui.compare.plan import Choice, PlannedRun, SweepResult, Terms
from grpo_tui.compare.processes import num_cores
from grpo_tui.compare.results import RunResult
from grpo_tui.compare.summary import AlgorithmResult, summarize, unequal_starts
from grpo_tui.config.emit import to_dict
from grpo_tui.config.schema import RunConfig
from grpo_tui.config.settings import all_settings, value_of

VERSION = 1
"""Of ``compare.json``: raised when a field changes its meaning or goes away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A run that is left out, and why."""

    run: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All that is known so far, of a comparison that goes on or is done."""

    terms: Terms
    configs: Mapping[str, RunConfig]
    """Each algorithm's, before its step size and seed."""
    command: tuple[str, ...]
    jobs: int
    threads: int
    machine: Mapping[str, Any]
    sweep: tuple[SweepResult, ...] = ()
    choices: Mapping[str, Choice] = field(default_factory=dict)
    planned: tuple[PlannedRun, ...] = ()
    """The runs that are measured, finished or not."""
    runs: tuple[RunResult, ...] = ()
    failures: tuple[Failure, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every measured run is there. That a step size of the sweep fails is an outcome, too."""
        return len(self.choices) == len(self.terms.algorithms) and 0 < len(self.planned) == len(self.runs)

    def rows(self) -> list[AlgorithmResult]:
        """One for each algorithm that has a finished run, in the order asked for."""
        rows = []
        for algorithm, choice in self.choices.items():
            runs = [run for run in self.runs if run.algorithm == algorithm]
            planned = next((run for run in self.planned if run.algorithm == algorithm), None)
            if runs and planned is not None:
                rows.append(summarize(planned.config, choice, runs))
        return rows


def differences(configs: Mapping[str, RunConfig]) -> dict[str, dict[str, Any]]:
    """Settings in which the algorithms' configs are not all equal, with each one's value."""
    found = {}
    for key in all_settings():
        values = {name: value_of(config, key) for name, config in configs.items()}
        if len(set(values.values())) > 1:
            found[key] = values
    return found


def to_document(comparison: Comparison) -> dict[str, Any]:
    """The whole comparison, ready for JSON. Numbers that are not finite become null."""
    terms = comparison.terms
    first = next(iter(comparison.configs.values()))
    document = {
        "version": VERSION,
        "complete": comparison.complete,
        "command": list(comparison.command),
        "machine": dict(comparison.machine),
        "jobs": comparison.jobs,
        "threads_per_run": comparison.threads,
        "terms": {
            "algorithms": list(terms.algorithms),
            "seeds": [first.run.seed + number for number in range(terms.num_seeds)],
            "tokens_per_run": terms.max_tokens,
            "sweep_factors": list(terms.factors),
            "sweep_tokens_per_run": terms.sweep_tokens if terms.sweeps else 0,
        },
        "config": to_dict(first),
        "differences": differences(comparison.configs),
        "unequal_starts": {
            str(seed): plain(parts) for seed, parts in unequal_starts(comparison.runs).items()
        },
        "sweep": [plain(result) for result in comparison.sweep],
        "choices": [plain(choice) for choice in comparison.choices.values()],
        "algorithms": [row_document(row) for row in comparison.rows()],
        "runs": [plain(run) for run in comparison.runs],
        "failures": [plain(failure) for failure in comparison.failures],
    }
    return document


def row_document(row: AlgorithmResult) -> dict[str, Any]:
    """One algorithm's row, ready for JSON."""
    data: dict[str, Any] = plain(row)
    for name in ("rise", "rise_over_seeds"):
        interval = getattr(row, name)
        data[name] = None if interval is None else plain(interval._asdict())
    return {**data, "learns": row.learns}


def plain(value: Any) -> Any:
    """A record as dictionaries, lists and finite numbers."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def describe_machine() -> dict[str, Any]:
    """What the figures depend on beside the settings."""
    versions = {}
    for name in ("torch", "transformers", "peft", "numpy", "sympy"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return {
        "grpo_tui": grpo_tui.__version__,
        "python": platform.python_version(),
        "versions": versions,
        "system": platform.platform(),
        "processor": _processor(),
        "cores": num_cores(),
        "load_at_start": round(os.getloadavg()[0], 2),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    }


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
