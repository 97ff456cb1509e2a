"""``grpo-tui replay``: the same states, its script, and what it says when it cannot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from grpo_tui.replay import OTHER_ROUNDING
from tests.cli.support import Command
from tests.engine.support import run_small, small_config


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("recorded") / "run"
    run_small(small_config("run.steps=2", "optim.lr=1e-3"), run_dir)
    return run_dir


def test_a_run_is_repeated_and_its_script_can_be_changed(
    grpo_tui: Command, recorded: Path, tmp_path: Path
) -> None:
    answer = grpo_tui("replay", recorded)
    assert (answer.code, answer.err) == (0, "")
    last = answer.out.splitlines()[-1]
    assert last.startswith("the same: 2 steps and 0 commands, 2 states compared, left in state ")

    script = tmp_path / "session.jsonl"
    assert grpo_tui("replay", recorded, "--script", script).code == 0
    head, *steps = [json.loads(line) for line in script.read_text().splitlines()]
    assert (head["script"], head["steps"]) == (1, 2)
    assert [line["finished"] for line in steps] == [1, 2]

    back = {"at": {"step": 3}, "do": {"command": "Undo"}}
    script.write_text("\n".join(json.dumps(line) for line in ({**head, "steps": 3}, *steps, back)))
    answer = grpo_tui("replay", "--from-script", script, "--out", tmp_path / "again")
    assert answer.code == 0, answer
    assert answer.out.splitlines()[-1].startswith("the same: 3 steps and 1 commands, 2 states compared")
    assert (tmp_path / "again" / "run.db").is_file()

    steps[1]["hash"] = "0" * 64
    script.write_text("\n".join(json.dumps(line) for line in (head, *steps)))
    answer = grpo_tui("replay", "--from-script", script)
    assert answer.code == 1
    assert "differs: step 2 came to state" in answer.out.splitlines()[-1]
    assert answer.out.splitlines()[-1].endswith(OTHER_ROUNDING)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it is empty; its first line must hold the settings"),
        ("{", "line 1: it is not JSON"),
        ("[]", "line 1: it is not a JSON object"),
        ("{}", "line 1: there is no 'script'"),
        ('{"script": 9}', "it was written by a newer grpo-tui; upgrade"),
        ('{"script": 1}\n{"at": {"step": 1}, "do": {"command": "Fly"}}', "line 2: there is no command 'Fly'"),
        ('{"script": 1, "config_toml": "["}', "the script's settings are not TOML"),
    ],
)
def test_a_script_that_cannot_be_read(grpo_tui: Command, tmp_path: Path, text: str, message: str) -> None:
    script = tmp_path / "session.jsonl"
    script.write_text(text)
    answer = grpo_tui("replay", "--from-script", script)
    assert answer.code == 1
    assert message in answer.err
    assert len(answer.err.splitlines()) == 1


def test_what_to_give(grpo_tui: Command, recorded: Path) -> None:
    for arguments in ((), (recorded, "--from-script", recorded)):
        answer = grpo_tui("replay", *arguments)
        assert answer.code == 2
        assert "give the folder of a run, or --from-script FILE" in answer.err
    answer = grpo_tui("replay", recorded, "--out", recorded)
    assert answer.code == 1
    assert "it holds a run; choose another folder" in answer.err
