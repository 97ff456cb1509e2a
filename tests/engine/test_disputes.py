"""A disputed verdict becomes a case that the verifier's tests read; recorded answers are judged again, never rewritten."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from grpo_tui.cli import main
from grpo_tui.config.schema import RewardConfig, RunConfig
from grpo_tui.engine.requests import obey
from grpo_tui.events.commands import (
    DisputeVerdict,
    KeepReverified,
    Request,
    ReverifyAll,
    StepOnce,
    StepPhase,
    UndoSettings,
)
from grpo_tui.events.fold import reduce
from grpo_tui.events.records import GroupRecord
from grpo_tui.events.state import RunState
from grpo_tui.events.types import RequestFailed, Reverified, StepFinished, VerdictDisputed, VerdictsRevised
from grpo_tui.runs.disputes import DISPUTES, append, case_of
from grpo_tui.runs.reader import RunReader
from grpo_tui.runs.writer import RunWriter
from rewards.base import Explanation, Score, Verdict
from rewards.cases import BadCase, complaint, parse_case, read_cases
from tests.engine.support import Background, Events, run_small, small_config, trainer_of
from tests.rewards.run_cases import judge_cases
from tests.support.builders import ScriptedRun

MATH = RewardConfig(weights={"math": 1.0}, canaries=False, workers=1)


def math_config(*overrides: str, **reward: object) -> RunConfig:
    return replace(small_config("run.steps=2", *overrides), reward=replace(MATH, **reward))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps, judged by the math verifier."""
    path = tmp_path_factory.mktemp("disputes") / "run"
    run_small(math_config(), path)
    return path


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Background]:
    """Paused after its first step."""
    with Background(math_config(), tmp_path / "run", paused=True) as session:
        session.wait_for_mode("paused before step 1")
        session.send(StepOnce())
        session.wait_for_mode("paused before step 2")
        yield session


def recorded_group() -> GroupRecord:
    state = RunState()
    for event in ScriptedRun().whole(2):
        state = reduce(state, event)
    return state.recent[-1].groups[0]


def judged(name: str, verdict: Verdict, *, strict: bool | None = None) -> GroupRecord:
    """A group whose first answer was judged so by one component."""
    group = recorded_group()
    score = Score(value=0.0, verdict=verdict, explanation=Explanation(sentence="so", strict=strict))
    first = replace(group.completions[0], scores={"format": _measure(), name: score})
    return replace(group, completions=(first,))


def _measure() -> Score:
    return Score(value=0.1, verdict=Verdict.NOT_JUDGED, explanation=Explanation(sentence="form"))


def test_a_dispute_is_a_line_that_the_verifier_s_tests_read(session: Background) -> None:
    session.send(DisputeVerdict(step=1, group=1, completion=2, should_be="correct", note="two\nlines ✓"))
    session.wait_for_number(VerdictDisputed, 1)
    [event] = session.events.of(VerdictDisputed)
    path = session.run_dir / DISPUTES
    assert event.path == str(path)
    [line] = path.read_text("utf-8").splitlines()
    case = parse_case(line, "here")
    with RunReader(session.run_dir) as reader:
        group = reader.load_group(1, 1)
    assert group is not None
    completion = group.completions[2]
    assert completion.verdict is not None
    assert (case.id, case.correct, case.strict) == (event.case, True, True)
    assert (case.gold, case.response) == (group.problem.answer, completion.text)
    assert (case.prompt, case.why) == (group.problem.question, "two lines ✓")
    assert event.was == completion.verdict.value
    [score] = judge_cases([case])
    assert "correct should be True" in complaint(case, score), "the verifier is not of that opinion"


def test_a_dispute_within_the_step_in_progress(session: Background) -> None:
    for phase in ("sample", "score", "advantages"):
        session.send(StepPhase())
        session.wait_for_mode(f"paused before {phase}")
    session.send(DisputeVerdict(step=2, group=0, completion=0, should_be="correct"))
    session.wait_for_number(VerdictDisputed, 1)
    assert session.events.of(VerdictDisputed)[0].step == 2


@pytest.mark.parametrize(
    ("request_", "line"),
    [
        (DisputeVerdict(step=9, group=0, completion=0, should_be="correct"), "step 9 has no response 1"),
        (DisputeVerdict(step=1, group=0, completion=77, should_be="correct"), "no response 78 in group 1"),
        (DisputeVerdict(step=1, group=0, completion=0, should_be="maybe"), "'correct' or 'wrong'"),
        (DisputeVerdict(step=1, group=0, completion=0, should_be="wrong"), "already"),
        (KeepReverified(), "judge the recorded answers again first"),
        (ReverifyAll((("optim.lr", "1"),)), "optim.lr: answers are judged again by other rewards only"),
        (ReverifyAll((("reward.no_such", "1"),)), "there is no such setting"),
    ],
)
def test_what_cannot_be_done_is_one_line(request_: Request, line: str, session: Background) -> None:
    session.send(request_)
    session.wait_for_number(RequestFailed, 1)
    [failed] = session.events.of(RequestFailed)
    assert line in failed.message
    assert "\n" not in failed.message
    assert failed.detail == ""
    assert not (session.run_dir / DISPUTES).exists()


def test_without_a_folder_there_is_nowhere_to_write() -> None:
    events = Events()
    with trainer_of(math_config(), events) as trainer:
        obey(trainer, DisputeVerdict(step=1, group=0, completion=0, should_be="wrong"))
        obey(trainer, ReverifyAll())
    assert all("has none" in failed.message for failed in events.of(RequestFailed))
    assert len(events.of(RequestFailed)) == 2


@pytest.mark.parametrize(
    ("name", "verdict", "strict", "should_be", "labels"),
    [
        ("math", Verdict.WRONG, False, "correct", (True, True)),
        ("math_lenient", Verdict.WRONG, False, "correct", (True, False)),
        ("math_lenient", Verdict.CORRECT, True, "wrong", (False, False)),
        ("math", Verdict.CORRECT, True, "wrong", (False, False)),
    ],
)
def test_the_reading_that_judged_is_the_one_that_is_disputed(
    name: str, verdict: Verdict, strict: bool, should_be: str, labels: tuple[bool, bool]
) -> None:
    group = judged(name, verdict, strict=strict)
    case = case_of(group, group.completions[0], should_be, "", "id")
    assert (case.correct, case.strict) == labels
    assert verdict.value in case.why


def test_what_was_never_judged_for_truth_cannot_be_disputed() -> None:
    group = judged("length", Verdict.NOT_JUDGED)
    with pytest.raises(ValueError, match="no reward judged this answer"):
        case_of(group, group.completions[0], "correct", "", "id")


def test_hostile_text_stays_one_line_and_comes_back_whole(tmp_path: Path) -> None:
    text = "line\nline\r\x1b[31m \u2028 漢字 \ud800 " + "x" * 9000
    group = judged("math", Verdict.WRONG)
    group = replace(group, completions=(replace(group.completions[0], text=text),))
    for _ in range(2):
        append(tmp_path, case_of(group, group.completions[0], "correct", "", "id"))
    lines = (tmp_path / DISPUTES).read_text("ascii").splitlines()
    assert len(lines) == 2
    assert [case.response for case in read_cases(lines)] == [text, text]


@pytest.mark.parametrize(
    ("line", "complaint_"),
    [
        ("nonsense", "line 2: not JSON"),
        ("[]", "line 2: a JSON object is wanted"),
        ('{"id": "a"}', "line 2: 'category' is missing"),
        ('{"id": "a", "category": "c", "gold": "1", "response": "1", "correct": 1}', "must be true or false"),
        ('{"id": "a", "colour": "red"}', "unknown field 'colour'"),
    ],
)
def test_a_line_that_is_no_case_names_itself(line: str, complaint_: str) -> None:
    with pytest.raises(BadCase, match=complaint_.replace("'", ".")):
        read_cases(["", line])


def test_verify_runs_a_file_of_cases(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = {"id": "good", "category": "c", "gold": "1/2", "response": "so \\boxed{0.5}", "correct": True}
    bad = {**good, "id": "bad", "correct": False}
    file = tmp_path / "cases.jsonl"
    file.write_text(f"{json.dumps(good)}\n{json.dumps(bad)}\n", "utf-8")
    assert main(["verify", "--cases", str(file), "--jobs", "1"]) == 1
    out = capsys.readouterr().out
    assert "1 of 2 cases come out as they must" in out
    assert "bad: correct should be False; strict should be False" in out
    assert "good:" not in out
    file.write_text(json.dumps(good), "utf-8")
    assert main(["verify", "--cases", str(file), "--jobs", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["passes"] is True
    assert main(["verify", "--cases", str(tmp_path / "none")]) == 1
    assert "No such file" in capsys.readouterr().err
    file.write_text("{", "utf-8")
    assert main(["verify", "--cases", str(file)]) == 1
    assert "line 1: not JSON" in capsys.readouterr().err


def test_the_same_rules_flip_nothing(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reverify", str(run_dir)]) == 0
    assert "16 answers judged again under the rules in force: 0 verdicts differ, 0 rewards" in (
        capsys.readouterr().out
    )


def forged(run_dir: Path, path: Path) -> Path:
    """The run with one recorded verdict that the verifier does not give."""
    shutil.copytree(run_dir, path)
    with sqlite3.connect(path / "run.db") as db:
        db.execute("UPDATE completions SET verdict = 'correct', reward = 1.0 WHERE id = 6")
    db.close()
    return path


def test_flips_are_listed_and_stored_only_if_asked_for(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = forged(run_dir, tmp_path / "run")
    assert main(["reverify", str(path), "--json"]) == 0
    flip, total = map(json.loads, capsys.readouterr().out.splitlines())
    assert (flip["step"], flip["group"], flip["completion"]) == (1, 1, 1)
    assert flip["old"] == "correct"
    assert flip["new"] != "correct"
    assert flip["reason"]
    assert (total["num_answers"], total["num_flips"], total["num_changed_rewards"]) == (16, 1, 1)
    with RunReader(path) as reader:
        assert not reader.load_state().revised
    assert main(["reverify", str(path), "--store"]) == 0
    assert "correct → " in capsys.readouterr().out
    with RunReader(path) as reader:
        state, recorded = reader.load_state(), reader.recorded_answers(0, 1, 8)
    found = state.revised_verdict(1, 1, 1)
    assert found is not None
    assert (found.old, found.new) == (flip["old"], flip["new"])
    assert state.revised_verdict(1, 1, 0) is None
    assert [(a.verdict, a.reward) for a in recorded if (a.group, a.completion) == (1, 1)] == [
        ("correct", 1.0)
    ]


def test_storing_changes_no_recorded_answer(run_dir: Path, tmp_path: Path) -> None:
    path = forged(run_dir, tmp_path / "run")
    with RunReader(path) as reader:
        before = [reader.recorded_answers(0, step, 8) for step in (1, 2)]
        history = reader.history()
    assert main(["reverify", str(path), "--store"]) == 0
    with RunReader(path) as reader:
        assert [reader.recorded_answers(0, step, 8) for step in (1, 2)] == before
        assert reader.history() == history


def test_other_rules_and_wrong_ones(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reverify", str(run_dir), "--set", "reward.answer_form=boxed"]) == 0
    assert "under reward.answer_form=boxed" in capsys.readouterr().out
    assert main(["reverify", str(run_dir), "--set", "optim.lr=1"]) == 2
    assert "other rewards only" in capsys.readouterr().err
    assert main(["reverify", str(run_dir / "nowhere")]) == 1
    assert "no such directory" in capsys.readouterr().err


def test_a_run_that_is_being_trained_is_not_written_to(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = forged(run_dir, tmp_path / "run")
    with RunWriter.open(path):
        assert main(["reverify", str(path), "--store"]) == 1
    assert "error" in capsys.readouterr().err


def test_beside_the_training(run_dir: Path, tmp_path: Path) -> None:
    """Judged while the engine goes on; the flips come as an event that is not recorded, and are kept if asked for."""
    path = forged(run_dir, tmp_path / "run")
    config = math_config("run.steps=4")
    with Background(config, path, paused=True, resume=True) as session:
        session.wait_for_mode("paused before step 3")
        session.send(ReverifyAll())
        session.send(StepOnce())
        session.wait_for_number(Reverified, 1)
        session.wait_for_number(StepFinished, 1)
        [event] = session.events.of(Reverified)
        assert len(event.flips) == 1
        assert event.num_answers >= 16
        session.send(KeepReverified())
        session.wait_for_number(VerdictsRevised, 1)
        assert any(gauge.of == "reverify" for gauge in session.gauges)
    with RunReader(path) as reader:
        state = reader.load_state()
    assert state.reverified is None
    assert state.revised_verdict(1, 1, 1) == event.flips[0]
    assert state.revised_rules == "the rules in force"


def test_nothing_that_is_only_looked_at_enters_the_script() -> None:
    for request in (
        DisputeVerdict(step=1, group=0, completion=0, should_be="wrong"),
        ReverifyAll(),
        KeepReverified(),
    ):
        assert not request.changes_course
    assert UndoSettings().changes_course
