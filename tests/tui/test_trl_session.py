"""A folder of TRL's completions as a run: what is there, what is not, and files that come later."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from grpo_tui.runs.query import parse
from grpo_tui.runs.reader import RunReader
from grpo_tui.runs.schema import RunFileError
from grpo_tui.runs.trl import chat_text
from grpo_tui.tui.recorded_session import open_recording
from grpo_tui.tui.trl_session import TrlSession
from grpo_tui.tui.view import RunView

CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is 2 + 2?"}]


def write(folder: Path, step: int, **changes: list[Any]) -> None:
    """One file as TRL writes it: two prompts, two completions each, not beside each other."""
    folder.mkdir(parents=True, exist_ok=True)
    columns: dict[str, list[Any]] = {
        "step": [str(step)] * 4,
        "prompt": ["1 + 1?", "2 + 2?", "1 + 1?", "2 + 2?"],
        "completion": ["2", "4", "3", "4 of course"],
        "accuracy_reward": [1.0, 1.0, 0.0, 1.0],
        "format_reward": [0.5, 0.0, None, 0.0],
        "note": ["a", "b", "c", "d"],
        "advantage": [0.7, 0.0, -0.7, 0.0],
    }
    pq.write_table(pa.table({**columns, **changes}), folder / f"completions_{step:05d}.parquet")


def until(session: TrlSession, condition: Callable[[RunView], object]) -> RunView:
    view = RunView(session)
    session.start()
    deadline = time.monotonic() + 20
    while True:
        view.pump()
        if condition(view):
            return view
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def test_groups_rewards_and_what_is_not_known(tmp_path: Path) -> None:
    write(tmp_path / "out" / "completions", 10)
    session = open_recording(tmp_path / "out")
    assert isinstance(session, TrlSession)
    view = until(session, lambda v: v.state.last_step == 10 and v.watched and v.watched.status == "recorded")
    assert view.imported
    groups = view.detail.groups if view.detail else ()
    assert [g.problem.prompt for g in groups] == ["1 + 1?", "2 + 2?"]
    assert [c.text for c in groups[0].completions] == ["2", "3"]
    assert [c.reward for c in groups[0].completions] == [1.5, 0.0]
    assert [c.advantage for c in groups[0].completions] == [0.7, -0.7]
    first = groups[0].completions[0]
    assert {name: score.value for name, score in first.scores.items()} == {
        "accuracy_reward": 1.0,
        "format_reward": 0.5,
    }
    assert groups[0].completions[1].scores["format_reward"].value is None
    assert groups[1].degenerate
    assert (first.num_tokens, first.kl_ref, first.finish_reason) == (0, None, "")
    metrics = view.metrics
    assert metrics is not None
    assert metrics.reward_mean == pytest.approx((1.5 + 1.0 + 0.0 + 1.0) / 4)
    assert metrics.component_means == pytest.approx({"accuracy_reward": 0.75, "format_reward": 0.5 / 3})
    assert metrics.kl_ref is None
    assert all(
        math.isnan(v) for v in (metrics.entropy, metrics.seconds, metrics.mean_length, metrics.accuracy)
    )
    place = session.run_dir
    with RunReader(place) as reader:
        assert len(reader.matching(parse("accuracy_reward=1", reader.components()))) == 3
        assert not reader.matching(parse("len>=0 | kl_ref>=0"))
        assert len(reader.search("course")) == 1
    session.close()
    session.close()
    assert not place.exists()
    assert [path.name for path in (tmp_path / "out" / "completions").iterdir()] == [
        "completions_00010.parquet"
    ]


def test_files_in_order_those_that_come_later_and_those_that_cannot_be_read(tmp_path: Path) -> None:
    write(tmp_path, 20)
    write(tmp_path, 5)
    (tmp_path / "completions_00012.parquet").write_bytes(b"PAR1 and no more")
    session = TrlSession(tmp_path, poll_seconds=0.01, look_seconds=0.05)
    view = until(session, lambda v: v.state.last_step == 20)
    assert [m.step for m in view.state.history] == [5, 20]
    assert any("completions_00012" in line.message and line.level == "warning" for line in view.state.log)
    view.look_at(20)
    view.move_step(-1)
    assert view.cursor.step == 5
    write(tmp_path, 30)
    deadline = time.monotonic() + 20
    while view.state.last_step != 30:
        view.pump()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    session.close()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        (CHAT, "[system] Be brief.\n[user] What is 2 + 2?"),
        ([{"role": "assistant", "content": "4"}], "4"),
        (
            [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "this?"}]}],
            "[user] <image> this?",
        ),
        (None, ""),
        ([], ""),
    ],
)
def test_texts_of_chats(value: Any, text: str) -> None:
    assert chat_text(value) == text


def test_chat_prompts_make_groups(tmp_path: Path) -> None:
    answer = [{"role": "assistant", "content": "4"}]
    write(tmp_path, 1, prompt=[CHAT] * 4, completion=[answer] * 4)
    session = TrlSession(tmp_path)
    view = until(session, lambda v: v.state.last_step == 1)
    assert view.group is not None
    assert view.group.problem.question == "What is 2 + 2?"
    assert [c.text for c in view.group.completions] == ["4"] * 4
    session.close()


def test_other_files_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(RunFileError, match=r"neither run\.db nor completions_\*\.parquet"):
        open_recording(tmp_path)
    pq.write_table(pa.table({"x": [1]}), tmp_path / "completions_00001.parquet")
    with pytest.raises(RunFileError, match="no column prompt"):
        open_recording(tmp_path)
    (tmp_path / "completions_00001.parquet").write_bytes(b"nothing")
    with pytest.raises(RunFileError, match="not a Parquet file"):
        open_recording(tmp_path)


def test_neither_torch_nor_datasets_is_imported(tmp_path: Path) -> None:
    write(tmp_path, 1)
    code = (
        "import sys; from pathlib import Path; from grpo_tui.tui.recorded_session import open_recording\n"
        "s = open_recording(Path(sys.argv[1])); s.start(); s.close()\n"
        "print(sorted({'torch', 'datasets', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
