"""``grpo-tui doctor`` as a person runs it."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from grpo_tui.config.load import load_config
from grpo_tui.doctor import fit_lines, terminal_facts
from grpo_tui.events.preflight import FitReport, FitTrial

SMALL = (
    *("--set", "sampling.prompts_per_step=2"),
    *("--set", "sampling.group_size=2"),
    *("--set", "sampling.max_completion_tokens=6"),
    *("--set", "data.limit=8"),
)


def doctor(*arguments: str, timeout: float = 240) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "grpo_tui", "doctor", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


def test_the_machine_in_words() -> None:
    done = doctor()
    assert done.returncode == 0, done.stderr
    names = [line.split()[0] for line in done.stdout.splitlines()]
    assert names[:6] == ["python", "packages", "device", "decoding", "cores", "memory"]
    assert names[-2:] == ["terminal", "clipboard"]
    assert "unknown" in done.stdout.splitlines()[-1]


def test_a_fit_as_json_and_its_config_is_one() -> None:
    done = doctor("--fit", "tiny", "--json", *SMALL)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    fit = facts["fit"]
    assert facts["packages"]["torch"]
    assert fit["fits"] is True
    assert [point["num_rows"] for point in fit["microbatches"]] == [1, 2, 4]
    assert fit["seconds_per_step"] > 0
    assert fit["free_bytes"] > fit["budget_bytes"] > fit["sampling"]["extra_bytes"]
    settings = tomllib.loads(fit["config"])
    assert settings == {"optim": {"max_tokens_per_microbatch": fit["max_tokens_per_microbatch"]}}
    assert "forward and backward of 4 rows" in done.stderr, "what it does is told while it is done"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--fit", "/no/such/model"), "model.source: /no/such/model is not a model folder"),
        (("--fit", "missing.gguf"), "model.source: no such file: missing.gguf"),
        (("--fit", "tiny", "--set", "data.source=/no/such.jsonl"), "/no/such.jsonl"),
        (("--fit", "tiny", *SMALL, "--prompt-tokens", "100000"), "exceed the model's context"),
        (("--set", "sampling.group_sise=2"), "group_size"),
        (("--prompt-tokens", "-1"), "must be at least 0"),
    ],
)
def test_a_mistake_is_one_line(arguments: tuple[str, ...], said: str) -> None:
    done = doctor(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    [line] = [line for line in done.stderr.splitlines() if "error" in line]
    assert said in line
    assert "Traceback" not in done.stderr


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys; from grpo_tui.cli import main\n"
        "try: main(['doctor', '--help'])\n"
        "except SystemExit: pass\n"
        "print('HEAVY', sorted({'torch', 'numpy', 'textual', 'transformers', 'grpo_tui.doctor'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert "--fit MODEL" in done.stdout
    assert done.stdout.splitlines()[-1] == "HEAVY []"


def made_fit(extra: int | None) -> FitReport:
    point = FitTrial(num_rows=4, num_tokens=400, extra_bytes=extra, seconds=1.0)
    return FitReport(
        prompt_tokens=36,
        completion_tokens=64,
        prompts_per_step=2,
        group_size=8,
        free_bytes=4_000_000_000,
        margin=0.1,
        sampling=replace(point, extra_bytes=9_000_000_000),
        microbatches=(point,),
        max_tokens_per_microbatch=0 if extra is None else 400,
        max_group_size=3,
        sampling_seconds=1.0,
        reference_seconds=0.5,
        update_seconds=2.0,
        notes=("a note",),
    )


def test_a_smaller_group_is_proposed_where_the_chosen_one_does_not_fit_at_once() -> None:
    fit = made_fit(100)
    assert tomllib.loads(fit.config_lines) == {
        "optim": {"max_tokens_per_microbatch": 400},
        "sampling": {"group_size": 3},
    }
    text = "\n".join(fit_lines(load_config(preset="tiny"), fit))
    assert "9.0 GB more, 1.00 s, too much" in text
    assert "about 3.5 s at worst" in text
    assert "a note" in text


def test_what_does_not_fit_says_what_to_lower() -> None:
    lines = fit_lines(load_config(preset="tiny"), made_fit(None))
    assert lines[-1].startswith("does not fit: lower sampling.max_completion_tokens")
    assert any(line.endswith("out of memory") for line in lines)


@pytest.mark.parametrize(
    ("environment", "colours", "inside"),
    [
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, "16 million", ""),
        ({"TERM": "screen-256color", "TMUX": "/tmp/x"}, "256", "tmux"),
        ({"TERM": "xterm", "NO_COLOR": "1", "COLORTERM": "truecolor"}, "none", ""),
        ({"TERM": "dumb"}, "none", ""),
        ({"TERM": "xterm", "STY": "1"}, "16", "screen"),
    ],
)
def test_terminals(environment: dict[str, str], colours: str, inside: str) -> None:
    facts = terminal_facts(environment)
    assert (facts["colours"], facts["inside"]) == (colours, inside)
    assert ("set-clipboard" in facts["clipboard"]) == (inside == "tmux")


def test_memory_is_read_from_this_machine() -> None:
    from grpo_tui.config import machine

    assert machine.num_cores() >= 1
    assert 0 < machine.free_memory() <= machine.total_memory()
    if Path("/proc/self/status").exists():
        assert 0 < machine.held_memory() <= machine.peak_memory()
