"""grpo-tui: the debugger for reinforcement fine-tuning.

Public names are found on first use, so importing the package costs nothing and needs no torch::

    from grpo_tui import RunConfig, Trainer, load_config, open_run

    trainer = Trainer.load(load_config(preset="tiny"))
    for metrics in trainer.steps(5):
        print(metrics.step, metrics.reward_mean)
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grpo_tui.config.load import load_config
    from grpo_tui.config.schema import RunConfig
    from grpo_tui.engine.trainer import Trainer
    from grpo_tui.runs.reader import RunReader as open_run

# Before anything loads torch: how long an idle OpenMP thread spins before it sleeps. For ever steals the cores from each
# other, the screen and the verifier (a step of the bundled model: 15 s instead of 1 on 2 virtual cores). Not at all makes
# every short product wait for a thread to wake. About 0.2 ms it is: the step takes two thirds of what it takes with none.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")

__version__ = "0.1.0"
__all__ = ["RunConfig", "Trainer", "__version__", "load_config", "open_run"]

_HOMES = {
    "RunConfig": ("grpo_tui.config.schema", "RunConfig"),
    "Trainer": ("grpo_tui.engine.trainer", "Trainer"),
    "load_config": ("grpo_tui.config.load", "load_config"),
    "open_run": ("grpo_tui.runs.reader", "RunReader"),
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'grpo_tui' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)
