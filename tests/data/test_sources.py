"""From files to problems: mapping, gold answers, what is held out, and every way a file can be wrong."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from grpo_tui.config import DataConfig, load_config
from grpo_tui.data import DataError, LoadedProblems, bundled_path, load_problems
from tests.data.support import CMATH_ROWS, GSM8K_ROWS, MATH_ROWS, numbered, write_jsonl

SHARED = Path("/work/shared/data")


def any_gold(gold: str) -> str | None:
    return None


def load(source: Path | str, *, need_held_out: bool = False, **settings: Any) -> LoadedProblems:
    config = DataConfig(source=str(source), **settings)
    return load_problems(config, check_gold=any_gold, need_held_out=need_held_out)


def refusal(source: Path | str, *, need_held_out: bool = False, **settings: Any) -> str:
    with pytest.raises(DataError) as caught:
        load(source, need_held_out=need_held_out, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- rows to problems ------------------------------------------------------------------------------------


def test_a_row_becomes_a_problem(tmp_path: Path) -> None:
    row = {
        "id": "a",
        "prompt": "What is 1 + 1?",
        "answer": 2,
        "family": "sum",
        "level": 3,
        "tags": ["x"],
        "note": None,
    }
    (problem,) = load(write_jsonl(tmp_path / "train.jsonl", [row])).train
    assert problem.id == "a"
    assert problem.question == "What is 1 + 1?"
    assert problem.messages == ({"role": "user", "content": "What is 1 + 1?"},)
    assert problem.answer == "2"
    assert problem.metadata == {"family": "sum", "level": "3"}


def test_presets_read_local_copies_of_their_data_sets(tmp_path: Path) -> None:
    for name, rows in (("gsm8k", GSM8K_ROWS), ("cmath", CMATH_ROWS), ("math", MATH_ROWS)):
        file = write_jsonl(tmp_path / f"{name}.jsonl", rows)
        config = load_config(preset=name, overrides=[f"data.source={file}"])
        loaded = load_problems(config.data, check_gold=any_gold, need_held_out=True)
        assert len(loaded.held_out) >= 1
        assert len(loaded.train) + len(loaded.held_out) == len(rows)
        answers = {problem.answer for problem in (*loaded.train, *loaded.held_out)}
        assert (
            answers
            == {
                "gsm8k": {"42", "1230000", "-5", "9"},
                "cmath": {"17", "1.8", "3/8"},
                "math": {"\\frac{3}{8}", "\\{-2, 2\\}"},
            }[name]
        )


@pytest.mark.parametrize(
    ("preset", "file", "num_problems"),
    [("gsm8k", "gsm8k/train.jsonl", 7473), ("cmath", "cmath/dev.jsonl", 600)],
)
def test_presets_read_the_real_data_sets(preset: str, file: str, num_problems: int) -> None:
    if not (SHARED / file).exists():
        pytest.skip(f"{SHARED / file} is not here")
    config = load_config(preset=preset, overrides=[f"data.source={SHARED / file}"])
    loaded = load_problems(config.data, check_gold=any_gold, need_held_out=True)
    assert len(loaded.train) + len(loaded.held_out) == num_problems
    assert loaded.rejected == ()
    share = len(loaded.held_out) / num_problems
    assert share == pytest.approx(config.data.eval_fraction, abs=0.02)
    assert len(loaded.held_out) >= config.eval.num_problems
    assert all("," not in problem.answer for problem in loaded.train)


def test_the_tiny_problems_come_with_the_program() -> None:
    try:
        bundled_path("tiny_train.jsonl")
    except DataError as error:
        pytest.skip(str(error))
    config = load_config(preset="tiny")
    loaded = load_problems(config.data, check_gold=any_gold, need_held_out=True)
    assert len(loaded.held_out) >= 200
    assert len(loaded.train) >= 200
    assert not {p.question for p in loaded.train} & {p.question for p in loaded.held_out}
    assert {"family"} <= set(loaded.train[0].metadata)


def test_a_bundled_file_that_is_missing() -> None:
    with pytest.raises(DataError, match=r"the bundled 'nothing\.jsonl' is missing .* install it again"):
        bundled_path("nothing.jsonl")


def test_the_worked_solution_is_kept_beside_the_answer(tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "train.jsonl", GSM8K_ROWS[:1])
    (problem,) = load(file, prompt_field="question", answer_format="after_hashes").train
    assert problem.metadata["answer"] == GSM8K_ROWS[0]["answer"]


def test_prompts_may_be_conversations(tmp_path: Path) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is 2 + 2?"},
        {"role": "assistant", "content": "4"},
        {"role": "user", "content": "And doubled?"},
    ]
    file = write_jsonl(tmp_path / "train.jsonl", [{"prompt": messages, "answer": "8"}])
    (problem,) = load(file).train
    assert problem.question == "And doubled?"
    assert problem.messages == tuple(messages)


def test_ids_are_made_of_the_line_and_made_unique(tmp_path: Path) -> None:
    rows = [{**row, "id": name} for row, name in zip(numbered(5), ["a", None, "a", "a~2", "a"], strict=True)]
    rows[4]["id"] = ["not", "an", "id"]
    loaded = load(write_jsonl(tmp_path / "train.jsonl", rows))
    assert [problem.id for problem in loaded.train] == ["a", "train:2", "a~2", "a~2~2", "train:5"]


def test_long_or_unprintable_values_stay_out_of_the_metadata(tmp_path: Path) -> None:
    row = {**numbered(1)[0], "long": "x" * 501, "bell": "\x07", "fits": "x" * 500}
    (problem,) = load(write_jsonl(tmp_path / "train.jsonl", [row])).train
    assert set(problem.metadata) == {"fits"}


# --- file formats ----------------------------------------------------------------------------------------


def test_windows_files_blank_lines_and_byte_order_marks(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    lines = [json.dumps(row) for row in numbered(2)]
    file.write_bytes(b"\xef\xbb\xbf" + f"{lines[0]}\r\n\r\n  \r\n{lines[1]}".encode())
    assert [problem.id for problem in load(file).train] == ["train:1", "train:4"]


def test_json_arrays_and_json_lines_under_the_name_json(tmp_path: Path) -> None:
    array = tmp_path / "a.json"
    array.write_text(json.dumps(numbered(3), indent=1), "utf-8")
    lines = write_jsonl(tmp_path / "b.json", numbered(3))
    assert [p.answer for p in load(array).train] == [p.answer for p in load(lines).train] == ["0", "2", "4"]
    array.write_text('[{"prompt": "x", "answer": "y"}, 3]', "utf-8")
    assert "a.json: item 2: a row must be an object" in refusal(array)


def test_parquet(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    file = tmp_path / "train.parquet"
    rows = [{"prompt": [{"role": "user", "content": f"{n}?"}], "answer": n, "tag": "t"} for n in range(3)]
    pq.write_table(pa.Table.from_pylist(rows), file)
    loaded = load(file)
    assert [(p.id, p.question, p.answer) for p in loaded.train] == [
        ("train:1", "0?", "0"),
        ("train:2", "1?", "1"),
        ("train:3", "2?", "2"),
    ]
    assert "train.parquet: row 1: there is no column 'question'; it has prompt, answer, tag" in refusal(
        file, prompt_field="question"
    )
    file.write_bytes(b"not parquet at all")
    assert "not a Parquet file" in refusal(file)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"prompt": "a", "answer": "b"}\n{"prompt": "a",\n', "train.jsonl:2: not valid JSON: "),
        (b'{"prompt": "a" "answer": "b"}\n', "train.jsonl:1: not valid JSON: Expecting ',' delimiter (column 16)"),
        (b'{"prompt": "a", "answer": "b"}\n[1]\n', 'train.jsonl:2: a row must be an object such as {"prompt"'),
        (b'{"prompt": "caf\xe9", "answer": "b"}\n', "train.jsonl:1: byte 0xe9 (the 16. of the line) is not UTF-8"),
        ('{"prompt": "a"}\n'.encode("utf-16"), "train.jsonl:1: this is UTF-16 text; save the file as UTF-8"),
        (b'{"question": "a", "answer": "b"}\n', "there is no column 'prompt'; it has question, answer; set data.prompt_field=question"),
        (b'{"promt": "a", "answer": "b"}\n', "set data.prompt_field=promt"),
        (b'{"prompt": "a", "golden": "b"}\n', "set data.answer_field=golden"),
        (b"{}\n", "there is no column 'prompt'; it has none; set data.prompt_field"),
        (b'{"prompt": 3, "answer": "b"}\n', "a prompt must be text or a list of chat messages, not int"),
        (b'{"prompt": ["x"], "answer": "b"}\n', 'a chat message must be {"role": "user"'),
        (b'{"prompt": [{"role": "tool", "content": "x"}], "answer": "b"}\n', "with the role system, user or assistant"),
        (b'{"prompt": [{"role": "assistant", "content": "x"}], "answer": "b"}\n', "must be the user's, not the assistant's"),
        (b'{"prompt": "a", "answer": {"x": 1}}\n', "the column 'answer' holds an object; a gold answer must be text or a number"),
        (b'{"prompt": "a", "answer": [1, 2]}\n', "holds a list of 2"),
        (b"", "train.jsonl: holds no problems"),
        (b"\n \n", "train.jsonl: holds no problems"),
        (b'{"prompt": "a", "answer": ' + b"9" * 5000 + b"}\n", "train.jsonl:1: not usable JSON"),
        (b"[" * 200_000 + b"\n", "train.jsonl:1: not usable JSON"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_with_its_line(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "train.jsonl"
    file.write_bytes(content)
    assert said in refusal(file)


def test_sources_that_are_not_there(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "train.jsonl", numbered(1))
    assert "there is no such file or folder; did you mean" in refusal(tmp_path / "trian.jsonl")
    assert "there is no such file or folder" in refusal("nowhere.csv")
    assert "neither a file or folder that exists nor a data set name" in refusal("a/b/c")
    (tmp_path / "train.csv").write_text("a,b\n", "utf-8")
    assert "'.csv' files cannot be read; use .jsonl, .ndjson, .json, .parquet" in refusal(
        tmp_path / "train.csv"
    )


# --- gold answers ----------------------------------------------------------------------------------------


def no_words(gold: str) -> str | None:
    return "is a word" if gold.isalpha() else None


def test_answers_that_cannot_be_judged_are_kept_out_and_listed(tmp_path: Path) -> None:
    answers: list[Any] = ["1", "one", "", None, "2"]
    rows = [{"id": str(n), "prompt": f"{n}?", "answer": answer} for n, answer in enumerate(answers)]
    prompts: list[Any] = [" ", [], "\ud800?"]
    rows += [{"id": str(n), "prompt": prompt, "answer": "1"} for n, prompt in enumerate(prompts, start=5)]
    file = tmp_path / "train.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows), "utf-8")
    loaded = load_problems(DataConfig(source=str(file)), check_gold=no_words)
    assert [problem.id for problem in loaded.train] == ["0", "4"]
    assert sorted(map(str, loaded.rejected)) == [
        "1: is a word",
        "2: the answer is empty",
        "3: the answer is missing",
        "5: the prompt is empty",
        "6: the prompt is empty",
        "7: its text holds half of a surrogate pair, which is not Unicode text",
    ]


def test_equal_answers_are_judged_once(tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "train.jsonl", [{"prompt": f"{n}?", "answer": "7"} for n in range(5)])
    asked: list[str] = []
    load_problems(DataConfig(source=str(file)), check_gold=asked.append)
    assert asked == ["7"]


def test_a_file_without_one_good_answer(tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "train.jsonl", [{"prompt": f"{n}?", "answer": "no"} for n in range(3)])
    with pytest.raises(
        DataError, match=r"no problem is left to train on; of 3 read, .*train:3, because is a word"
    ):
        load_problems(DataConfig(source=str(file)), check_gold=no_words)
    assert "because there is no #### before a final answer; check data.answer_field" in refusal(
        file, answer_format="after_hashes"
    )


# --- what is held out ------------------------------------------------------------------------------------


def held_out_questions(source: Path, **settings: Any) -> set[str]:
    return {problem.question for problem in load(source, **settings).held_out}


def test_what_is_held_out_depends_on_the_questions_alone(tmp_path: Path) -> None:
    rows = numbered(300)
    file = write_jsonl(tmp_path / "a.jsonl", rows)
    held_out = held_out_questions(file, eval_fraction=0.1)
    assert 15 <= len(held_out) <= 45
    random.Random(0).shuffle(rows)
    shuffled = write_jsonl(tmp_path / "b.jsonl", [{"id": f"x{n}", **row} for n, row in enumerate(rows)])
    assert held_out_questions(shuffled, eval_fraction=0.1) == held_out
    assert held_out_questions(shuffled, eval_fraction=0.1, limit=7, shuffle=False) == held_out
    longer = write_jsonl(tmp_path / "c.jsonl", numbered(600))
    assert held_out_questions(longer, eval_fraction=0.1) >= held_out
    assert held_out_questions(file, eval_fraction=0.3) > held_out


def test_equal_questions_fall_on_one_side(tmp_path: Path) -> None:
    loaded = load(write_jsonl(tmp_path / "a.jsonl", numbered(50) * 3), eval_fraction=0.3)
    assert len(loaded.held_out) % 3 == 0
    assert not {p.question for p in loaded.train} & {p.question for p in loaded.held_out}
    ids = [p.id for p in (*loaded.train, *loaded.held_out)]
    assert len(set(ids)) == 150


def test_the_first_held_out_problems_are_a_fair_sample(tmp_path: Path) -> None:
    # Data sets are often sorted, by difficulty say, and an evaluation may take the first few only.
    train = write_jsonl(tmp_path / "train.jsonl", numbered(1, first=5000))
    rows = [{**row, "level": int(n >= 500)} for n, row in enumerate(numbered(1000))]
    held_out = load(train, eval_source=str(write_jsonl(tmp_path / "test.jsonl", rows))).held_out
    levels = [problem.metadata["level"] for problem in held_out[:100]]
    assert 30 <= levels.count("1") <= 70
    random.Random(0).shuffle(rows)
    shuffled = load(train, eval_source=str(write_jsonl(tmp_path / "test.jsonl", rows))).held_out
    assert [problem.question for problem in shuffled] == [problem.question for problem in held_out]


@pytest.mark.parametrize("num_rows", [2, 3, 10])
@pytest.mark.parametrize("fraction", [0.001, 0.5])
def test_few_problems_still_give_one_to_each_side(tmp_path: Path, num_rows: int, fraction: float) -> None:
    for first in range(0, 100, 10):
        file = write_jsonl(tmp_path / "a.jsonl", numbered(num_rows, first=first))
        loaded = load(file, eval_fraction=fraction)
        assert loaded.train
        assert loaded.held_out


def test_one_problem_is_trained_on(tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "a.jsonl", numbered(1))
    assert len(load(file, eval_fraction=0.5).train) == 1
    assert "no problems are held out; set data.eval_fraction=0.1" in refusal(file, need_held_out=True)


def test_held_out_problems_from_a_file_of_their_own(tmp_path: Path) -> None:
    train = write_jsonl(tmp_path / "train.jsonl", numbered(10))
    test = write_jsonl(tmp_path / "test.jsonl", numbered(5, first=8))
    loaded = load(train, eval_source=str(test), eval_fraction=0.5, limit=6)
    assert sorted(p.id for p in loaded.held_out) == [f"test:{n}" for n in range(1, 6)]
    assert [p.id for p in loaded.train] == [f"train:{n}" for n in range(1, 7)]
    everything = load(train, eval_source=str(test))
    assert len(everything.train) == 8
    assert [str(r) for r in everything.rejected] == [
        "train:9: the same question is held out",
        "train:10: the same question is held out",
    ]


def test_held_out_files_that_cannot_serve(tmp_path: Path) -> None:
    train = write_jsonl(tmp_path / "train.jsonl", numbered(4))
    assert "data.eval_source is the data trained on" in refusal(train, eval_source=str(train))
    empty = write_jsonl(tmp_path / "empty.jsonl", [])
    assert "empty.jsonl: holds no problems" in refusal(train, eval_source=str(empty))
    assert "there is no such file" in refusal(train, eval_source=str(tmp_path / "none.jsonl"))
    same = write_jsonl(tmp_path / "same.jsonl", numbered(4))
    assert "because the same question is held out" in refusal(train, eval_source=str(same))


def test_limit_is_of_problems_trained_on(tmp_path: Path) -> None:
    rows = [{"prompt": f"{n}?", "answer": "x" if n % 2 else "1"} for n in range(10)]
    file = write_jsonl(tmp_path / "a.jsonl", rows)
    loaded = load_problems(DataConfig(source=str(file), limit=3), check_gold=no_words)
    assert [p.question for p in loaded.train] == ["0?", "2?", "4?"]
    assert len(load(file, limit=100).train) == 10
