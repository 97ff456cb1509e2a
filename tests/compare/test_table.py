from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from grpo_tui.compare.command import carry_out, prepare
from grpo_tui.compare.describe import describe
from grpo_tui.compare.plan import base_configs
from grpo_tui.compare.report import Comparison
from grpo_tui.compare.table import to_markdown
from grpo_tui.compare.telling import Teller
from grpo_tui.config.schema import ALGORITHM_NAMES
from grpo_tui.events.records import UpdateReport
from tests.compare.support import FakeLauncher, terms, usual_steps
from tests.compare.test_results import CRITIC, REGION

MACHINE = {
    "grpo_tui": "0.1.0",
    "python": "3.11.7",
    "versions": {"torch": "2.13.0"},
    "processor": "A Processor",
    "cores": 2,
}

GOLDEN = """\
# Algorithms compared

Model tiny (fp32, cpu), LoRA rank 16, problems tiny; 8 prompts × 8 answers a step; 1,000 generated tokens a run, \
seeds 0 to 1, 100 held-out problems before and after each run.
A Processor, 2 cores; 1 run at once with 2 threads each; grpo-tui 0.1.0, Python 3.11.7, torch 2.13.0.

| algorithm | value function | advantage | held back by | held-out accuracy | rise (95 %) | learns | peak memory | own state |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
| `grpo` | none | z-score in the group | ratio 0.8 to 1.2 (idle), β 0.04 × KL to reference | 0.400 → 0.600 | \
+0.200 (+0.102 to +0.292) | yes | 1.07 GB | 1 kB |
| `ppo` | critic adapter | GAE, λ 0.95 | ratio 0.8 to 1.2 | 0.400 → 0.600 | \
+0.200 (+0.102 to +0.292) | yes | 1.07 GB | 1 kB |
| `trpo` | none | minus group mean | trust region, KL ≤ δ 0.005 | 0.400 → 0.600 | \
+0.200 (+0.102 to +0.292) | yes | 1.07 GB | 1 kB |

| algorithm | step size | training reward | gradient noise / signal | KL per update, mean / max | tokens | steps | updates \
| time | besides |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
| `grpo` | lr 0.0005 (edge) | 0.100 → 0.400 | 3 | 0.01 / 0.01 | 1,000 | 4 | 4 | 5 s | – |
| `ppo` | lr 0.0005 (edge) | 0.100 → 0.400 | no signal seen | – | 1,000 | 4 | 4 | 5 s | critic explains 30% at the end |
| `trpo` | δ 0.005 (edge) | 0.100 → 0.400 | – | 0.005 / 0.005 | 1,000 | 4 | 4 | 5 s | 100% of steps accepted, \
max KL 0.50 δ |

| algorithm | held-out answers, n | runs | rise of each seed | mean over seeds (95 %, t) |
| --- | --- | --- | --- | --- |
| `grpo` | 200 | 2 | +0.200 +0.200 | +0.200 (+0.200 to +0.200) |
| `ppo` | 200 | 2 | +0.200 +0.200 | +0.200 (+0.200 to +0.200) |
| `trpo` | 200 | 2 | +0.200 +0.200 | +0.200 (+0.200 to +0.200) |

- Equal starts were checked: at each seed all runs answered the held-out problems alike before training, and drew the \
same first rollout batch, token by token.

## Step sizes tried

| algorithm | step size | × 0.5 | × 1 | × 2 | tokens |
| --- | --- | --- | --- | --- | --- |
| `grpo` | optim.lr 0.001 | **0.400** | 0.400 | 0.400 | 1,000 |
| `ppo` | optim.lr 0.001 | **0.400** | 0.400 | 0.400 | 1,000 |
| `trpo` | trust_region.kl_limit 0.01 | **0.400** | 0.400 | 0.400 | 1,000 |
"""


@pytest.fixture
def comparison(tmp_path: Path) -> Comparison:
    reports = {
        "grpo": UpdateReport(kl_step=0.01, gradient_variance=6.0, gradient_signal=2.0),
        "ppo": UpdateReport(critic=CRITIC, gradient_variance=6.0, gradient_signal=-0.5),
        "trpo": UpdateReport(kl_step=0.005, trust_region=REGION),
    }
    launcher = FakeLauncher(steps_of=lambda run: usual_steps(update=reports[run.algorithm]))
    begun = replace(prepare(terms("grpo", "ppo", "trpo"), tmp_path, jobs=1), machine=MACHINE, threads=2)
    return carry_out(begun, tmp_path, launcher, Teller(as_json=False))


def test_the_table(comparison: Comparison) -> None:
    text = to_markdown(comparison)
    told, words = text.split("\nMean training reward of the last quarter")
    assert told == GOLDEN
    assert "## What the columns mean" in words


def test_every_column_of_the_first_two_tables_is_a_word_below_or_plain(comparison: Comparison) -> None:
    rows = [line for line in to_markdown(comparison).splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in rows[:5]}) == 1
    assert len({line.count("|") for line in rows[5:10]}) == 1


def test_starts_that_differ_are_told(comparison: Comparison) -> None:
    other = replace(comparison.runs[0], start_digest="other")
    text = to_markdown(replace(comparison, runs=(other, *comparison.runs[1:])))
    assert "**Starts differ** (seed 0: grpo ≠ ppo, trpo)" in text
    assert "Equal starts were checked" not in text


def test_shared_cores_are_told(comparison: Comparison) -> None:
    text = to_markdown(replace(comparison, jobs=2, threads=1))
    assert "2 runs at once with 1 thread each" in text
    assert "their times are not those of a run alone" in text


def test_a_busy_machine_is_told(comparison: Comparison) -> None:
    text = to_markdown(replace(comparison, machine={**MACHINE, "load_at_start": 1.74}))
    assert "Other programs kept 1.7 cores busy when the comparison began" in text


def test_before_the_first_run_there_is_a_setting_and_no_table(tmp_path: Path) -> None:
    text = to_markdown(prepare(terms("grpo"), tmp_path, jobs=1))
    assert "1,000 generated tokens a run" in text
    assert "| algorithm" not in text


def test_every_algorithm_has_words_for_what_it_is() -> None:
    natures = {name: describe(config) for name, config in base_configs(terms(*ALGORITHM_NAMES)).items()}
    assert {name for name, nature in natures.items() if nature.value_function != "none"} == {"ppo"}
    assert natures["reinforce"].held_back_by == "nothing"
    assert natures["reinforce"].advantage == "minus running mean"
    assert natures["dr_grpo"].held_back_by == "ratio 0.8 to 1.2 (idle)"
    assert natures["grpo_basic"].held_back_by == "β 0.04 × KL to old policy (idle)"
    assert natures["cispo"].held_back_by == "weight ≤ 5 (idle)"
    for nature in natures.values():
        assert all((nature.value_function, nature.advantage, nature.held_back_by))
