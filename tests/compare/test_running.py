from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from grpo_tui.compare.command import carry_out, new_folder, prepare
from grpo_tui.compare.plan import PlannedRun, Terms
from grpo_tui.compare.processes import Exit, last_complaint, threads_for
from grpo_tui.compare.report import Comparison
from grpo_tui.compare.running import BEGUN, FINISHED, NEW, Outcome, run_all, state_of
from grpo_tui.compare.telling import Teller
from grpo_tui.config.errors import ConfigError
from grpo_tui.events.records import StepMetrics
from tests.compare.support import FakeLauncher, planned, terms, usual_steps, write_run


def compare(asked: Terms, out: Path, launcher: FakeLauncher) -> Comparison:
    return carry_out(prepare(asked, out, jobs=1), out, launcher, Teller(as_json=False))


def outcomes(runs: Sequence[PlannedRun], launcher: FakeLauncher) -> dict[str, Outcome]:
    return {outcome.run.name: outcome for outcome in run_all(runs, launcher, jobs=1)}


def test_the_state_of_a_folder(tmp_path: Path) -> None:
    run = planned(tmp_path)
    assert state_of(run) == NEW
    write_run(run, usual_steps(1), reason="stopped", after=None)
    assert state_of(run) == BEGUN
    write_run(run, usual_steps(2))
    assert state_of(run) == FINISHED


def test_a_run_with_other_settings_is_not_taken_for_this_one(tmp_path: Path) -> None:
    write_run(planned(tmp_path), usual_steps(1))
    with pytest.raises(
        ConfigError, match=r"runs/grpo-seed0: optim.lr: was run with 0.001, and would now be run with 0.002"
    ):
        state_of(planned(tmp_path, "grpo", "optim.lr=0.002"))


def test_finished_runs_are_kept_and_begun_ones_go_on(tmp_path: Path) -> None:
    runs = [planned(tmp_path, name) for name in ("grpo", "rloo", "dr_grpo")]
    write_run(runs[0], usual_steps(4))
    write_run(runs[1], usual_steps(2), reason="stopped", after=None)
    launcher = FakeLauncher()
    found = outcomes(runs, launcher)
    assert launcher.made == [("rloo-seed0", True), ("dr_grpo-seed0", False)]
    assert {name: outcome.reused for name, outcome in found.items()} == {
        "grpo-seed0": True,
        "rloo-seed0": False,
        "dr_grpo-seed0": False,
    }
    assert {outcome.state for outcome in found.values()} == {"finished"}


def test_after_a_stop_nothing_new_begins(tmp_path: Path) -> None:
    runs = [planned(tmp_path, name) for name in ("grpo", "rloo", "dr_grpo")]
    launcher = FakeLauncher(stops_at="rloo-seed0")
    found = outcomes(runs, launcher)
    assert {name: outcome.state for name, outcome in found.items()} == {
        "grpo-seed0": "finished",
        "rloo-seed0": "stopped",
        "dr_grpo-seed0": "stopped",
    }
    assert [name for name, _ in launcher.made] == ["grpo-seed0", "rloo-seed0"]


def test_a_process_that_ends_well_without_finishing_its_run_has_failed(tmp_path: Path) -> None:
    class Lazy(FakeLauncher):
        def run(self, planned: PlannedRun, *, resume: bool) -> Exit:
            return Exit(0, "nothing to do")

    run = planned(tmp_path)
    assert outcomes([run], Lazy())["grpo-seed0"].message == "nothing to do (exit 0)"


def by_factor(run: PlannedRun) -> list[StepMetrics]:
    """The larger the factor the better for rloo; grpo does best in the middle."""
    if run.measured:
        return usual_steps()
    rewards = {"grpo": {0.5: 0.2, 1.0: 0.6, 2.0: 0.4}, "rloo": {0.5: 0.1, 1.0: 0.2, 2.0: 0.3}}
    return usual_steps(4, reward_mean=rewards[run.algorithm][run.factor])


def test_a_whole_comparison(tmp_path: Path) -> None:
    launcher = FakeLauncher(steps_of=by_factor)
    comparison = compare(terms(), tmp_path, launcher)
    assert comparison.complete
    assert len(launcher.made) == 6 + 4
    assert {name: choice.factor for name, choice in comparison.choices.items()} == {"grpo": 1.0, "rloo": 2.0}
    assert {run.algorithm: run.config.optim.lr for run in comparison.planned} == {
        "grpo": 0.001,
        "rloo": 0.002,
    }
    document = json.loads((tmp_path / "compare.json").read_text())
    assert (document["version"], document["complete"], document["unequal_starts"]) == (1, True, {})
    assert [run["name"] for run in document["runs"]] == [
        "grpo-seed0",
        "rloo-seed0",
        "grpo-seed1",
        "rloo-seed1",
    ]
    assert [row["algorithm"] for row in document["algorithms"]] == ["grpo", "rloo"]
    assert document["algorithms"][0]["rise"]["value"] == pytest.approx(0.2)
    assert document["differences"]["algorithm.advantage"] == {"grpo": "zscore", "rloo": "leave_one_out"}
    assert "optim.lr" not in document["differences"]
    assert "| `grpo` | none |" in (tmp_path / "compare.md").read_text()


def test_a_comparison_that_was_stopped_goes_on_to_the_same_end(tmp_path: Path) -> None:
    whole = compare(terms(), tmp_path / "whole", FakeLauncher(steps_of=by_factor))
    for name in ("rloo-x1", "grpo-seed1"):
        stopped = FakeLauncher(steps_of=by_factor, stops_at=name)
        assert not compare(terms(), tmp_path / "stopped", stopped).complete
    launcher = FakeLauncher(steps_of=by_factor)
    resumed = compare(terms(), tmp_path / "stopped", launcher)
    assert launcher.made == [("grpo-seed1", True), ("rloo-seed1", False)]
    assert (resumed.sweep, resumed.choices, resumed.runs) == (whole.sweep, whole.choices, whole.runs)


def test_more_seeds_and_algorithms_are_added_to_what_is_there(tmp_path: Path) -> None:
    compare(terms("grpo", factors=(1.0,)), tmp_path, FakeLauncher())
    launcher = FakeLauncher()
    comparison = compare(terms("grpo", "rloo", factors=(1.0,), num_seeds=3), tmp_path, launcher)
    assert [name for name, _ in launcher.made] == ["rloo-seed0", "rloo-seed1", "grpo-seed2", "rloo-seed2"]
    assert comparison.complete


def test_a_failed_run_is_left_out_with_its_error(tmp_path: Path) -> None:
    comparison = compare(terms(), tmp_path, FakeLauncher(fails=["rloo-seed1"]))
    assert not comparison.complete
    assert [row.num_runs for row in comparison.rows()] == [2, 1]
    text = (tmp_path / "compare.md").read_text()
    assert "`runs/rloo-seed1` failed and is left out: step 3: CUDA out of memory (exit 1)" in text
    assert "**Not complete**: 1 of 4 runs are missing." in text


def test_an_algorithm_whose_sweep_failed_is_left_out(tmp_path: Path) -> None:
    failing = ["rloo-x0.5", "rloo-x1", "rloo-x2", "grpo-x2"]
    launcher = FakeLauncher(fails=failing)
    comparison = compare(terms(), tmp_path, launcher)
    assert {run.algorithm for run in comparison.runs} == {"grpo"}
    text = (tmp_path / "compare.md").read_text()
    assert "`rloo` is left out: no run of its sweep finished." in text
    assert not comparison.complete


def test_what_every_run_would_fail_with_is_told_once(tmp_path: Path) -> None:
    class Wrong(FakeLauncher):
        def run(self, planned: PlannedRun, *, resume: bool) -> Exit:
            self.made.append((planned.name, resume))
            return Exit(2, "model.source: nowhere is not on this machine")

    launcher = Wrong()
    with pytest.raises(ConfigError, match=r"^model.source: nowhere is not on this machine$"):
        compare(terms(), tmp_path, launcher)
    assert len(launcher.made) == 1


def test_changed_terms_are_refused_before_anything_runs(tmp_path: Path) -> None:
    compare(terms("grpo"), tmp_path, FakeLauncher())
    with pytest.raises(
        ConfigError, match=r"run\.max_tokens: was run with 500, and would now be run with 700"
    ):
        prepare(terms("grpo", sweep_tokens=700), tmp_path, jobs=1)


def test_a_run_is_no_place_for_a_comparison(tmp_path: Path) -> None:
    run = planned(tmp_path)
    write_run(run, usual_steps(1))
    with pytest.raises(ConfigError, match="is a run itself"):
        prepare(terms(), run.run_dir, jobs=1)


def test_a_new_folder_is_not_one_that_is_there(tmp_path: Path) -> None:
    first = new_folder(tmp_path)
    first.mkdir()
    assert first.name.startswith("compare-")
    assert new_folder(tmp_path) != first


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("grpo-tui: error: step 3: out of memory\n  lower it\nrun saved in x\n", "step 3: out of memory"),
        ("Fatal Python error: Segmentation fault\n", "Fatal Python error: Segmentation fault"),
        ("", "it said nothing"),
    ],
)
def test_the_last_complaint_of_a_process(text: str, complaint: str) -> None:
    assert last_complaint(text) == complaint


def test_runs_at_once_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grpo_tui.compare.processes.num_cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert [threads_for(jobs) for jobs in (1, 3, 16)] == [8, 2, 1]
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert threads_for(2) == 5
