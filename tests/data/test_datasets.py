"""Folders and names that the ``datasets`` library opens, and its errors in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from grpo_tui.config import DataConfig, load_config
from grpo_tui.data import DataError, LoadedProblems, load_problems
from tests.data.support import GSM8K_ROWS, numbered, write_jsonl

datasets = pytest.importorskip("datasets")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def load(source: Path | str, *, need_held_out: bool = False, **settings: Any) -> LoadedProblems:
    config = DataConfig(source=str(source), **settings)
    return load_problems(config, check_gold=lambda gold: None, need_held_out=need_held_out)


def refusal(source: Path | str, *, need_held_out: bool = False, **settings: Any) -> str:
    with pytest.raises(DataError) as caught:
        load(source, need_held_out=need_held_out, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder laid out as on the hub: one file for each split."""
    made = tmp_path / "sums"
    made.mkdir()
    write_jsonl(made / "train.jsonl", numbered(6))
    write_jsonl(made / "test.jsonl", numbered(2, first=50))
    return made


def test_a_folder_with_splits(folder: Path) -> None:
    loaded = load(folder)
    assert [p.id for p in loaded.train] == [f"train:{n}" for n in range(1, 7)]
    assert {p.question for p in loaded.held_out} == {"What is 50 + 50?", "What is 51 + 51?"}
    assert loaded.notes == ()


def test_a_split_that_is_not_there(folder: Path) -> None:
    assert "there is no split 'trian'; did you mean split=train?" in refusal(folder, split="trian")
    assert "there is no split 'tset'" in refusal(folder, eval_split="tset", need_held_out=True)
    assert load(folder, eval_split="tset").held_out == ()
    instead = load(folder, eval_split="tset", eval_fraction=0.2, need_held_out=True)
    assert len(instead.held_out) >= 1
    assert "there is no split 'tset'" in instead.notes[0]
    assert "held out instead: 20% of 'train'" in instead.notes[0]


def test_training_on_the_held_out_split(folder: Path) -> None:
    assert "data.eval_split is 'test', the split trained on" in refusal(folder, split="test")
    assert len(load(folder, split="test", eval_split="", eval_fraction=0.5).held_out) == 1


def test_a_folder_without_the_held_out_split(folder: Path) -> None:
    (folder / "test.jsonl").unlink()
    assert load(folder).held_out == ()
    assert "there is no split 'test'" in refusal(folder, need_held_out=True)


@pytest.mark.parametrize("in_splits", [True, False])
def test_what_save_to_disk_wrote(tmp_path: Path, in_splits: bool) -> None:
    train = datasets.Dataset.from_list(numbered(4))
    test = datasets.Dataset.from_list(numbered(2, first=50))
    saved = datasets.DatasetDict({"train": train, "test": test}) if in_splits else train
    saved.save_to_disk(str(tmp_path / "saved"))
    loaded = load(tmp_path / "saved", eval_fraction=0.25)
    if in_splits:
        assert (len(loaded.train), len(loaded.held_out)) == (4, 2)
        assert "there is no split 'dev'; set split to one of train, test" in refusal(
            tmp_path / "saved", split="dev"
        )
    else:
        assert len(loaded.train) + len(loaded.held_out) == 4
        assert loaded.held_out
        assert load(tmp_path / "saved", split="test").held_out == ()


def test_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no data files that can be read" in refusal(tmp_path / "empty")


class FakeHub:
    """Stands in for ``datasets.load_dataset``: answers from memory, and remembers what it was asked."""

    def __init__(self, splits: dict[str, list[dict[str, Any]]]) -> None:
        self.splits = splits
        self.asked: list[tuple[str, str | None, str]] = []

    def __call__(self, path: str, name: str | None = None, *, split: str) -> Any:
        self.asked.append((path, name, split))
        if split not in self.splits:
            raise ValueError(f'Unknown split "{split}". Should be one of {list(self.splits)}.')
        return self.splits[split]


def test_a_preset_reads_its_splits_from_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = FakeHub({"train": list(GSM8K_ROWS[:3]), "test": list(GSM8K_ROWS[3:])})
    monkeypatch.setattr(datasets, "load_dataset", hub)
    loaded = load_problems(load_config(preset="gsm8k").data, check_gold=lambda gold: None, need_held_out=True)
    assert hub.asked == [("openai/gsm8k", "main", "train"), ("openai/gsm8k", "main", "test")]
    assert [p.id for p in loaded.train] == ["train:1", "train:2", "train:3"]
    assert [p.answer for p in loaded.held_out] == ["9"]


def raising(error: Exception) -> Any:
    def load_dataset(*args: Any, **kwargs: Any) -> Any:
        raise error

    return load_dataset


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionError("Couldn't reach 'a/b' on the Hub (LocalEntryNotFoundError)"), "hub cannot be reached"),
        (datasets.exceptions.DatasetNotFoundError("Dataset 'a/b' doesn't exist"), "no such data set on the hub"),
        (ValueError("BuilderConfig 'x' not found. Available: ['main', 'socratic']"), "there is no subset 'man'; did you mean data.subset=main?"),
        (ValueError("Config name is missing.\nPlease pick one among the available configs: ['main', 'socratic']"), "has several subsets; set data.subset to one of main, socratic"),
        (RuntimeError("something\nelse"), "cannot be loaded: something else"),
        (RuntimeError(), "cannot be loaded: RuntimeError"),
    ],
)  # fmt: skip
def test_errors_of_the_hub(monkeypatch: pytest.MonkeyPatch, error: Exception, said: str) -> None:
    monkeypatch.setattr(datasets, "load_dataset", raising(error))
    message = refusal("a/b", subset="man")
    assert message.startswith("a/b: ")
    assert said in message


def test_no_network_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    hub_constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(hub_constants, "HF_HUB_OFFLINE", True)
    assert "the Hugging Face hub cannot be reached and no copy is cached" in refusal(
        "nobody/nothing-of-the-kind"
    )


def test_progress_bars_are_left_as_they_were(folder: Path) -> None:
    datasets.enable_progress_bars()
    load(folder)
    assert not datasets.are_progress_bars_disabled()
