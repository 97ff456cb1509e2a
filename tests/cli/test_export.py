"""``grpo-tui export``: the path on stdout, one line on stderr, nothing heavy for what needs nothing heavy."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pyarrow.parquet as parquet
import pytest

from tests.cli.support import ROOT, Command
from tests.export.conftest import recorded as recorded

HEAVY = ("torch", "transformers", "peft", "textual", "datasets")


def test_completions_go_below_the_run_and_are_not_overwritten(
    grpo_tui: Command, recorded: Path, tmp_path: Path
) -> None:
    answer = grpo_tui("export", recorded, "--out", tmp_path / "c.parquet")
    assert (answer.code, answer.out.strip()) == (0, str(tmp_path / "c.parquet"))
    assert answer.err == "120 completions\n"
    assert parquet.read_metadata(tmp_path / "c.parquet").num_rows == 120
    again = grpo_tui("export", recorded, "--out", tmp_path / "c.parquet")
    assert again.code == 2
    assert len(again.errors) == 1
    assert grpo_tui("export", recorded, "--out", tmp_path / "c.parquet", "--force").code == 0
    below = grpo_tui("export", recorded, "--what", "metrics")
    assert below.out.strip() == str(recorded / "exports" / "metrics.parquet")


@pytest.mark.parametrize(
    ("form", "begin"), [("svg", "<svg"), ("md", "### "), ("txt", "run · step 10"), ("json", "{")]
)
def test_a_card_in_the_form_of_its_name(
    grpo_tui: Command, recorded: Path, tmp_path: Path, form: str, begin: str
) -> None:
    out = tmp_path / f"card.{form}"
    answer = grpo_tui("export", recorded, "--what", "card", "--group", "2", "--answer", "3", "--out", out)
    assert answer.code == 0, answer.err
    assert answer.err.startswith("step 10 · g2·r3: ")
    assert out.read_text(encoding="utf-8").startswith(begin)
    if form == "svg":
        ElementTree.parse(out)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--what", "card", "--group", "9"], 2, "step 10 has no group 9; it has groups 1 to 3"),
        (["--what", "card", "--answer", "0"], 2, "has no answer 0; it has answers 1 to 4"),
        (["--what", "card", "--step", "99"], 2, "has no finished step 99"),
        (["--step", "99"], 2, "no finished step 99; it has steps 1 to 10"),
        (["--what", "adapter"], 2, "has no checkpoint yet"),
        (["--what", "merged"], 2, "has no checkpoint yet"),
    ],
)
def test_errors_are_one_line(
    grpo_tui: Command, recorded: Path, arguments: list[str], code: int, said: str
) -> None:
    answer = grpo_tui("export", recorded, *arguments)
    assert answer.code == code
    [error] = answer.errors
    assert said in error
    assert answer.out == ""


def test_no_such_run(grpo_tui: Command, tmp_path: Path) -> None:
    answer = grpo_tui("export", tmp_path / "none")
    assert answer.code == 1
    assert "no such directory; give the directory of a run" in answer.errors[0]


def test_the_script_says_how_many_things_have_no_equivalent(
    grpo_tui: Command, recorded: Path, tmp_path: Path
) -> None:
    answer = grpo_tui("export", recorded, "--what", "trl-script", "--out", tmp_path / "train.py")
    assert answer.code == 0
    assert "1 things have no equivalent there" in answer.err  # the preset evaluates on the way
    compile((tmp_path / "train.py").read_text(encoding="utf-8"), "train.py", "exec")


def test_tables_and_cards_import_no_torch(recorded: Path, tmp_path: Path) -> None:
    program = (
        "import sys\nfrom grpo_tui.cli import main\n"
        f"assert main(['export', {str(recorded)!r}, '--out', {str(tmp_path / 'a.parquet')!r}]) == 0\n"
        f"assert main(['export', {str(recorded)!r}, '--what', 'card', '--out', {str(tmp_path / 'a.svg')!r}]) == 0\n"
        f"print(sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
