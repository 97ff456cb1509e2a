"""``grpo-tui verify`` as a person and as a program calls it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest

from grpo_tui.verify_options import FORM_CHOICES
from rewards.finding.candidates import FORMS
from tests.cli.support import ROOT, SECONDS, Command

PAIRS = [
    {"id": "a", "gold": "3/4", "response": r"so \boxed{\frac{6}{8}}"},
    {"id": "b", "gold": "72", "response": "答案是71。"},
    {"id": "c", "gold": "\\sin(2x)", "response": "It is $2\\sin x\\cos x$."},
    {"id": "d", "gold": "3 +", "response": "3 +"},
    {"id": "e", "gold": "5", "response": "I do not know."},
]


def feed(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(text.encode())))


def lines(*pairs: object) -> str:
    return "".join(json.dumps(pair) + "\n" for pair in pairs)


def test_json_lines(grpo_tui: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    feed(monkeypatch, lines(*PAIRS))
    answer = grpo_tui("verify", "--jobs", "1")
    assert (answer.code, answer.err) == (0, "")
    assert [record["id"] for record in answer.objects] == list("abcde")
    assert [record["verdict"] for record in answer.objects] == [
        "correct",
        "wrong",
        "correct",
        "bad gold",
        "no answer",
    ]
    assert [record["correct"] for record in answer.objects] == [True, False, True, False, False]
    assert [(record["strict"], record["lenient"]) for record in answer.objects] == [
        (True, True),
        (False, False),
        (False, True),
        (False, False),
        (False, False),
    ]
    assert all(
        set(record) == {"id", "correct", "verdict", "strict", "lenient", "answer", "reason"}
        for record in answer.objects
    )


def test_the_strict_reading_and_a_demanded_form(grpo_tui: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = lines({"gold": "5", "response": "The answer is 5."}, {"gold": "5", "response": "so 5"})
    feed(monkeypatch, pairs)
    answer = grpo_tui("verify", "--reading", "strict")
    assert [(record["correct"], record["lenient"]) for record in answer.objects] == [
        (True, True),
        (False, True),
    ]
    feed(monkeypatch, pairs)
    answer = grpo_tui("verify", "--reading", "strict", "--form", "boxed")
    assert [(record["correct"], record["lenient"]) for record in answer.objects] == [
        (False, True),
        (False, True),
    ]


def test_a_malformed_line_is_told_and_the_rest_is_judged(
    grpo_tui: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed(monkeypatch, lines(PAIRS[0]) + "not json\n" + lines(PAIRS[0]))
    answer = grpo_tui("verify")
    assert answer.code == 1
    first, bad, last = answer.objects
    assert (first["correct"], last["correct"]) == (True, True)
    assert bad["error"].startswith("line 2: not JSON")


def test_an_empty_input_is_no_error(grpo_tui: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    feed(monkeypatch, "")
    assert grpo_tui("verify") == grpo_tui("verify")
    assert grpo_tui("verify").code == 0


def test_one_pair_is_explained(grpo_tui: Command) -> None:
    answer = grpo_tui("verify", "--gold", "3/4", r"So we get \boxed{\frac{6}{8}} in the end.")
    assert answer.code == 0
    for words in ("correct", r"\frac{6}{8}", "boxed", "6/8", "3/4", "same number"):
        assert words in answer.out
    answer = grpo_tui("verify", "--gold", "12", "The answer is -12.")
    assert "wrong" in answer.out
    assert "sign" in answer.out


def test_one_pair_as_json_and_with_a_dash(grpo_tui: Command) -> None:
    answer = grpo_tui("verify", "--json", "--gold=-5", "--", "-5")
    (record,) = answer.objects
    assert record["correct"]


def test_control_characters_never_reach_the_terminal(grpo_tui: Command) -> None:
    answer = grpo_tui("verify", "--gold", "5", "\x1b[31mred \x07\x9b2J \u202e The answer is \x1b]0;x\x07 6")
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(answer.out)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--gold", "5"], "give both --gold and a response"),
        (["5"], "give both --gold and a response"),
        (["--reward", "math"], "--reward goes with --canaries"),
        (["--canaries", "--gold", "5", "5"], "brings its own answers"),
        (["--canaries", "--reward", "mth"], "unknown reward 'mth'"),
        (["--canaries", "--reward", "math=much"], "'much' is not a number"),
        (["--jobs", "0"], "between 1 and 256"),
        (["--jobs", "many"], "argument --jobs: must be a whole number"),
        (["--timeout", "soon"], "argument --timeout: must be a number"),
        (["--timeout", "0"], "above 0"),
        (["--reading", "loose"], "invalid choice: 'loose'"),
    ],
)
def test_a_wrong_call_is_one_clear_line(
    grpo_tui: Command, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    feed(monkeypatch, "")
    answer = grpo_tui("verify", *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert words in answer.err.splitlines()[-1]


def test_canaries_on_the_math_reward_and_on_a_bad_one(grpo_tui: Command, tmp_path: Path) -> None:
    answer = grpo_tui("verify", "--canaries", "--reward", "math", "--reward", "format=0.1")
    assert (answer.code, answer.err) == (0, "")
    assert "0 paid" in answer.out
    file = tmp_path / "mine.py"
    file.write_text("def contains(completion, gold):\n    return float(gold in completion)\n")
    answer = grpo_tui("verify", "--canaries", "--reward", f"{file}:contains")
    assert answer.code == 1
    assert "PAID 1: a spray of boxes" in answer.out


def test_as_a_process_without_torch_and_with_a_reader_that_leaves(tmp_path: Path) -> None:
    code = (
        "import sys; from grpo_tui.cli import main\n"
        "code = main(['verify', '--gold', '3', '3'])\n"
        "heavy = {'torch', 'textual', 'transformers', 'sympy'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text(lines(*PAIRS * 2000))
    command = f"{sys.executable} -m grpo_tui verify < {pairs} | head -1"
    done = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert json.loads(done.stdout)["id"] == "a"
    assert done.stderr == ""


def test_every_form_can_be_demanded(grpo_tui: Command) -> None:
    assert set(FORM_CHOICES) == set(FORMS)
    for form in FORM_CHOICES:
        answer = grpo_tui(
            "verify", "--json", "--form", form, "--gold", "5", "<think>a</think><answer>5</answer>"
        )
        assert answer.code == 0


def waiting() -> subprocess.Popen[bytes]:
    """A process that has judged one line and waits for the next, its stdin open."""
    process = subprocess.Popen(
        [sys.executable, "-m", "grpo_tui", "verify"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(lines({"id": 1, "gold": "5", "response": "5"}).encode())
    assert json.loads(process.stdout.readline())["correct"]
    return process


def test_ctrl_c_while_it_waits_for_a_line() -> None:
    with waiting() as process:
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == 130
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_a_reader_that_leaves_while_it_waits_for_a_line() -> None:
    with waiting() as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.close()
        process.stdin.write(lines({"gold": "5", "response": "5"}).encode())
        assert process.wait(SECONDS) == 1
        assert process.stderr is not None
        assert process.stderr.read() == b""


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ("--gold 5 5 >&-", 1, "stdout is closed"),
        ("<&-", 2, "stdin is closed"),
        ("--gold 5 5 <&- >/dev/null", 0, ""),
        ("--gold 5 5 >/dev/full", 1, "No space left"),
        ("--gold 5 5 | true; exit ${PIPESTATUS[0]}", None, ""),
        ("--canaries --reward format | true; exit ${PIPESTATUS[0]}", 1, ""),
    ],
)
def test_closed_and_full_streams_are_one_clear_line_or_nothing(
    command: str, code: int | None, words: str
) -> None:
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m grpo_tui verify {command}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == code if code is not None else done.returncode in (0, 1)
    assert len(done.stderr.splitlines()) == bool(words)
    assert words in done.stderr


def test_ctrl_c_while_the_command_is_imported(grpo_tui: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_arguments: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("grpo_tui.cli._run_command", interrupt)
    assert grpo_tui("verify", "--gold", "5", "5").code == 130


def test_a_locale_without_the_characters_of_an_answer() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "grpo_tui", "verify", "--gold", "5", "答案是5"],
        cwd=ROOT,
        capture_output=True,
        env={"PYTHONIOENCODING": "ascii", "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
        timeout=SECONDS,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"correct" in done.stdout
