"""``--break``: stop where a condition holds, save, say what matched, and go on from there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from grpo_tui.events.commands import SetBreakpoint
from grpo_tui.events.records import GroupRecord
from grpo_tui.events.types import ActTaken
from grpo_tui.export.acts import taken_back
from grpo_tui.runs.reader import RunReader
from grpo_tui.runs.writer import RunWriter
from tests.cli.support import Answer, Command
from tests.engine.support import history_hashes, small_options

TWO = ("--break", "any group: size > 0", "--break", "before update")


def trained(grpo_tui: Command, run: Path, *breaks: str) -> Answer:
    return grpo_tui("train", *small_options("run.steps=2"), "--json", "--out", run, *breaks)


@pytest.mark.parametrize("command", ["run", "train"])
@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("any group: sdd == 0", "column 12: no measure 'sdd' of a group; did you mean sd?"),
        ("before updat", "column 8: expected a phase after before"),
        ("before emit", "column 8: emit follows the update at once: stop after update instead"),
        (" ", "a condition or a phase is missing"),
    ],
)
def test_one_that_cannot_be_read(
    grpo_tui: Command, tmp_path: Path, command: str, condition: str, said: str
) -> None:
    answer = grpo_tui(command, "--break", "reward > 1", "--break", condition, "--out", tmp_path / "run")
    assert answer.code == 2
    assert len(answer.errors) == 1
    assert said in answer.errors[0]
    assert not (tmp_path / "run").exists()


def test_train_stops_says_what_matched_and_a_resumed_run_goes_past_it(
    grpo_tui: Command, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    answer = trained(grpo_tui, run, "--break", "any group: size > 0")
    assert answer.code == 0
    assert answer.steps == {}
    first, saved, on = answer.err.splitlines()
    assert first.startswith("stopped before ADVANTAGES of step 1 by 'any group: size > 0': g1: size = ")
    assert saved == f"run saved in {run} after step 0"
    assert on.startswith(f"continue with: grpo-tui resume {run} --headless")

    answer = grpo_tui("resume", run, "--json")
    assert answer.code == 0
    assert list(answer.steps) == [1]  # step 1 was gone past; step 2 is stopped anew
    assert "stopped before ADVANTAGES of step 2 by" in answer.err

    assert grpo_tui("resume", run, "--json").code == 0
    plain = trained(grpo_tui, tmp_path / "plain")
    assert history_hashes(run) == plain.hashes


def test_each_of_two_breakpoints_stops_a_step_once(grpo_tui: Command, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert "before ADVANTAGES of step 1" in trained(grpo_tui, run, *TWO).err
    assert "stopped before UPDATE of step 1 by 'before update'" in grpo_tui("resume", run, "--headless").err
    assert "before ADVANTAGES of step 2" in grpo_tui("resume", run, "--headless").err


def test_one_that_never_holds_stops_nothing(grpo_tui: Command, tmp_path: Path) -> None:
    answer = trained(grpo_tui, tmp_path / "run", "--break", "reward > 1000")
    assert (answer.code, list(answer.steps)) == (0, [1, 2])
    assert "stopped" not in answer.err


def test_run_hands_breakpoints_to_the_app(
    grpo_tui: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Any]] = []

    def app(**given: Any) -> int:
        seen.append(given)
        return 0

    monkeypatch.setattr("grpo_tui.tui.app.run_app", app)
    assert grpo_tui("run", *TWO, "--break", "after score", "--out", tmp_path / "run").code == 0
    assert seen[0]["requests"] == (
        SetBreakpoint(condition="any group: size > 0"),
        SetBreakpoint(phase="update"),
        SetBreakpoint(phase="score", after=True),
    )


def act(act: str, sentence: str, step: int = 1) -> ActTaken:
    return ActTaken(
        time=0.0,
        step=step,
        act=act,
        group=2,
        completion=1,
        sentence=sentence,
        note="[b]" if act != "undo" else "",
    )


def test_acts_are_exported_with_what_became_of_them(grpo_tui: Command, tmp_path: Path) -> None:
    run = tmp_path / "run"
    trained(grpo_tui, run)
    with RunWriter.open(run) as writer:
        for one in (act("verdict", "wrong → correct"), act("reward", "0 → 1"), act("undo", "taken back")):
            writer.write(one)
    answer = grpo_tui("export", run, "--what", "acts")
    assert answer.code == 0
    assert "2 acts" in answer.err
    rows = [json.loads(line) for line in Path(answer.out.strip()).read_text(encoding="utf-8").splitlines()]
    assert [(row["step"], row["group"], row["response"], row["taken_back"]) for row in rows] == [
        (1, 3, 2, False),
        (1, 3, 2, True),
    ]
    assert rows[0]["note"] == "[b]"
    assert rows[0]["time"] == "1970-01-01T00:00:00+00:00"
    answer = grpo_tui("export", run, "--what", "acts", "--step", "2", "--force")
    assert Path(answer.out.strip()).read_text(encoding="utf-8") == ""


def test_what_was_taken_back_is_of_the_same_step() -> None:
    acts = [act("reward", "a"), act("reward", "b", step=2), act("undo", "-"), act("undo", "-", step=2)]
    assert taken_back(acts) == {0, 1}
    assert taken_back([acts[0], acts[0], acts[2], acts[2], acts[2]]) == {0, 1}


def test_kept_out_responses_are_a_column(grpo_tui: Command, tmp_path: Path) -> None:
    from grpo_tui.export.tables import completion_row

    trained(grpo_tui, tmp_path / "run")
    with RunReader(tmp_path / "run") as reader:
        detail = reader.load_step(1)
    assert detail is not None
    group: GroupRecord = detail.groups[0]
    assert completion_row(1, group, group.completions[0])["excluded"] is False
