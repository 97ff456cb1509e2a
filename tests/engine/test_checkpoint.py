"""Checkpoints: read back bitwise, loadable by peft as they are, refused in one line where they are not whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from grpo_tui.data.bundled import TINY_MODEL, bundled_path
from grpo_tui.engine.checkpoint import load_checkpoint, save_checkpoint
from grpo_tui.engine.libraries import libraries_to_notices
from grpo_tui.engine.trainer import Trainer
from grpo_tui.runs.checkpoints import complete
from grpo_tui.runs.schema import RunFileError
from tests.engine.support import small_config, take_steps, trainer_of


@pytest.fixture(scope="module")
def trained() -> Iterator[Trainer]:
    with trainer_of(small_config("run.keep_checkpoints=2")) as trainer:
        take_steps(trainer, 2)
        yield trainer


@pytest.fixture
def saved(trained: Trainer, tmp_path: Path) -> Path:
    path, _ = save_checkpoint(trained, tmp_path / "checkpoints")
    return path


def test_read_back_bitwise(trained: Trainer, saved: Path) -> None:
    # Other tests' trainers share torch's generator, which is a part of the state.
    state_hash = json.loads((saved / "state.json").read_text())["state_hash"]
    with trainer_of(small_config("run.seed=5")) as other:
        assert other.state_hash() != state_hash
        load_checkpoint(other, saved)
        assert other.state_hash() == state_hash
        assert other.finished_steps == 2
        for name, weight in trained.policy.adapter_state().items():
            assert torch.equal(other.policy.adapter_state()[name], weight)


def test_saved_twice_gives_the_same_bytes(trained: Trainer, saved: Path, tmp_path: Path) -> None:
    again, num_bytes = save_checkpoint(trained, tmp_path / "again")
    files = sorted(file.name for file in saved.iterdir())
    assert files == sorted(file.name for file in again.iterdir())
    assert num_bytes == sum(file.stat().st_size for file in again.iterdir())
    for name in files:
        assert (again / name).read_bytes() == (saved / name).read_bytes(), name


def test_the_optimiser_goes_on_where_it_was(saved: Path) -> None:
    """The next step after loading equals the next step without saving."""
    with trainer_of(small_config()) as straight:
        expected = take_steps(straight, 3)[-1].state_hash
    with trainer_of(small_config()) as resumed:
        load_checkpoint(resumed, saved)
        assert take_steps(resumed, 1)[-1].state_hash == expected


def test_peft_loads_the_folder_as_it_is(trained: Trainer, saved: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    with libraries_to_notices(lambda _event: None):
        base = AutoModelForCausalLM.from_pretrained(str(bundled_path(TINY_MODEL)), dtype=torch.float32)
        served = PeftModel.from_pretrained(base, str(saved)).eval()
    ids = torch.tensor([trained.prompts[0].token_ids])
    with torch.no_grad():
        ours = trained.policy.model(input_ids=ids).logits
        theirs = served(input_ids=ids).logits
        with served.disable_adapter():
            plain = served(input_ids=ids).logits
    assert torch.equal(ours, theirs)
    assert not torch.equal(ours, plain)


def test_nothing_in_it_is_pickled(saved: Path) -> None:
    assert {file.name for file in saved.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "optimizer.safetensors",
        "rng.safetensors",
        "state.json",
    }


def test_only_the_newest_are_kept(trained: Trainer, tmp_path: Path) -> None:
    finished = trained.finished_steps
    try:
        for step in (1, 2, 3, 4):
            trained.finished_steps = step
            save_checkpoint(trained, tmp_path)
    finally:
        trained.finished_steps = finished
    assert list(complete(tmp_path)) == [3, 4]


def edit_state(**changes: Any) -> Callable[[Path], None]:
    def change(directory: Path) -> None:
        file = directory / "state.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))

    return change


def cut(name: str) -> Callable[[Path], None]:
    def change(directory: Path) -> None:
        file = directory / name
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])

    return change


def flip_a_weight(directory: Path) -> None:
    file = directory / "adapter_model.safetensors"
    tensors = load_file(file)
    name = sorted(tensors)[0]
    tensors[name].view(-1)[0] += 1e-3
    save_file(tensors, file)


def drop_a_weight(directory: Path) -> None:
    file = directory / "adapter_model.safetensors"
    tensors = load_file(file)
    del tensors[sorted(tensors)[0]]
    save_file(tensors, file)


def drop_a_moment(directory: Path) -> None:
    file = directory / "optimizer.safetensors"
    tensors = load_file(file)
    del tensors[sorted(tensors)[0]]
    save_file(tensors, file)


def delete(name: str) -> Callable[[Path], None]:
    return lambda directory: (directory / name).unlink()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (edit_state(version=2), "written by a newer grpo-tui (format 2); upgrade"),
        (edit_state(version=None), "cannot read checkpoint"),
        (edit_state(state_hash="0"), "does not give the state it was saved from"),
        (edit_state(finished_steps=1), "does not give the state it was saved from"),
        (edit_state(finished_steps="many"), "cannot read checkpoint"),
        (lambda d: (d / "state.json").write_text("[1]"), "cannot read checkpoint"),
        (lambda d: (d / "state.json").write_text('{"version": 1}'), "cannot read checkpoint"),
        (cut("state.json"), "cannot read checkpoint"),
        (delete("state.json"), "cannot read checkpoint"),
        (cut("adapter_model.safetensors"), "cannot read checkpoint"),
        (delete("adapter_model.safetensors"), "cannot read checkpoint"),
        (flip_a_weight, "does not give the state it was saved from"),
        (drop_a_weight, "another shape than the config asks for"),
        (cut("optimizer.safetensors"), "cannot read checkpoint"),
        (drop_a_moment, "does not give the state it was saved from"),
        (delete("rng.safetensors"), "cannot read checkpoint"),
    ],
)
def test_damage_is_one_line(trained: Trainer, saved: Path, damage: Callable[[Path], Any], words: str) -> None:
    damage(saved)
    with trainer_of(small_config()) as other, pytest.raises(RunFileError) as caught:
        load_checkpoint(other, saved)
    assert words in str(caught.value)
    assert str(saved) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("override", ["model.lora_rank=8", "model.lora_targets=q_proj"])
def test_another_adapter_is_refused(saved: Path, override: str) -> None:
    words = "another shape than the config asks for"
    with trainer_of(small_config(override)) as other, pytest.raises(RunFileError, match=words):
        load_checkpoint(other, saved)


def test_a_failed_save_leaves_the_older_one(
    trained: Trainer, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {file.name: file.read_bytes() for file in saved.iterdir()}

    def refuse(*_arguments: object, **_options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("grpo_tui.engine.checkpoint.save_file", refuse)
    with pytest.raises(RunFileError, match="No space left on device"):
        save_checkpoint(trained, saved.parent)
    assert {file.name: file.read_bytes() for file in saved.iterdir()} == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]
