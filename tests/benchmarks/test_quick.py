"""Each benchmark runs in its quick form and prints a table of the right shape. Times are nobody's business here."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.benchmarks import decode, on_gpu, peak_memory, refilling, run_file, scaling, tables

NUMBER = re.compile(r"[0-9,.]+")


def printed_tables(text: str) -> list[list[list[str]]]:
    """The cells of each table, its head first."""
    found: list[list[list[str]]] = []
    before = ""
    for line in text.splitlines():
        if line.startswith("|"):
            if not before.startswith("|"):
                found.append([])
            if not line.startswith("|-"):
                found[-1].append([cell.strip() for cell in line.strip("|").split("|")])
        before = line
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("main", "shapes"),
    [
        (decode.main, [(3, 7)]),
        (refilling.main, [(2, 9)]),
        (scaling.main, [(2, 6), (2, 10)]),
        (run_file.main, [(1, 10)]),
        (peak_memory.main, [(2, 8)]),
    ],
    ids=["decode", "refilling", "scaling", "run_file", "peak_memory"],
)
def test_tables_have_their_shape(
    main: Callable[[list[str]], None], shapes: list[tuple[int, int]], capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--quick", "--device", "cpu"])
    out = capsys.readouterr().out
    found = printed_tables(out)
    assert [(len(table) - 1, len(table[0])) for table in found] == shapes
    for table in found:
        assert all(len(row) == len(table[0]) for row in table)
        assert all(NUMBER.fullmatch(row[0]) for row in table[1:])
    assert "torch" in out
    assert "python -m tests.benchmarks." in out


@pytest.mark.parametrize(
    ("seconds", "said"), [([1.0, 2.0, 4.1], "at most doubles"), ([1.0, 2.2, 2.3], "MORE THAN DOUBLES")]
)
def test_the_verdict_is_of_the_worst_doubling(seconds: list[float], said: str) -> None:
    assert said in scaling.verdict("it", scaling.doublings(seconds))


def test_results_are_appended_only_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "RESULTS.md"
    results.write_text("# Results\n")
    monkeypatch.setattr(tables, "RESULTS", results)
    table = tables.markdown(("a", "b"), [(1, "x"), (22, "yy")])
    assert table.splitlines() == ["|  a |  b |", "|---:|---:|", "|  1 |  x |", "| 22 | yy |"]
    tables.publish("Title", "command", [table], ["so"], record=False)
    assert results.read_text() == "# Results\n"
    tables.publish("Title", "command", [table], ["so"], record=True)
    assert results.read_text().startswith("# Results\n\n## Title\n\n`command`, 20")
    assert results.read_text().endswith(f"{table}\n\nso\n")
    assert "Title" in capsys.readouterr().out


EVALS: list[dict[str, object]] = [
    {
        "step": 0,
        "eval": {"accuracy": 0.25, "low": 0.1, "high": 0.4, "num_problems": 40, "accuracy_lenient": 0.5},
    },
    {"step": 1, "num_sampled_tokens": 1200},
    {"step": 2, "num_sampled_tokens": 800},
    {
        "step": 2,
        "eval": {"accuracy": 0.5, "low": 0.35, "high": 0.65, "num_problems": 40, "accuracy_lenient": None},
    },
]


def test_the_report_of_a_run_has_both_readings_with_intervals() -> None:
    text = on_gpu.gsm8k_report(EVALS, 90.0)
    [[head, before, after]] = printed_tables(text)
    assert head == ["after step", "strict, 95 %", "lenient, 95 %", "n"]
    assert before == ["0", "0.250 [0.100, 0.400]", "0.500 [0.352, 0.648]", "40"]
    assert after == ["2", "0.500 [0.350, 0.650]", "–", "40"]
    assert text.endswith("2 steps, 2,000 completion tokens, 1.5 minutes in all")


def test_no_part_of_the_gpu_report_can_end_the_rest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(_bench: on_gpu.Bench) -> str:
        raise RuntimeError("it broke")

    monkeypatch.setitem(on_gpu.RUNNERS, "decode", fails)
    monkeypatch.setitem(on_gpu.RUNNERS, "memory", lambda _bench: "a table")
    assert on_gpu.main(["--device", "cpu", "--quick", "--parts", "decode,gsm8k,trl,memory"]) == 1
    out = capsys.readouterr().out
    assert "### decode: failed (0 s)\n\nRuntimeError: it broke" in out
    assert "### gsm8k: not run (0 s)\n\ngive the folder" in out
    assert "### trl: not run (0 s)\n\ngive a real model" in out
    assert "### memory: ok (0 s)\n\na table" in out
    assert on_gpu.main(["--device", "cpu", "--minutes", "0", "--parts", "memory"]) == 0
    assert "### memory: not run (0 s)\n\nno time was left" in capsys.readouterr().out


def on_a_cpu(*words: str) -> list[list[list[str]]]:
    """The tables that the report has. In a process of its own: parts are split off, which a process that has computed cannot."""
    command = [
        sys.executable,
        "-m",
        "tests.benchmarks.on_gpu",
        "--device",
        "cpu",
        "--quick",
        "--minutes",
        "4.5",
    ]
    done = subprocess.run([*command, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return printed_tables(done.stdout)


@pytest.mark.slow
def test_the_precision_part_runs_on_a_cpu() -> None:
    [[_, single, half]] = on_a_cpu("--parts", "bf16")
    assert [single[0], half[0]] == ["fp32", "bf16"]
    assert float(single[2]) <= 1e-4 < float(half[2])


@pytest.mark.slow
def test_the_gsm8k_part_runs_on_a_cpu(tmp_path: Path) -> None:
    rows = [f'{{"question": "{n} + 1 = ?", "answer": "so #### {n + 1}"}}\n' for n in range(40)]
    (tmp_path / "train.jsonl").write_text("".join(rows))
    [accuracy] = on_a_cpu("--parts", "gsm8k", "--data", str(tmp_path))
    assert [row[0] for row in accuracy] == ["after step", "0", "1"]
