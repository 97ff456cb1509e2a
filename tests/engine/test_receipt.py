"""Receipts: what an update really did to its answers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from grpo_tui.engine.receipt import compute_receipt
from grpo_tui.engine.requests import obey
from grpo_tui.engine.rows import token_batch
from grpo_tui.events.commands import MakeReceipt, PreviewUpdate
from grpo_tui.events.types import ReceiptComputed, RequestFailed
from grpo_tui.events.update_records import UpdateReceipt
from grpo_tui.runs.reader import RunReader
from tests.engine.support import (
    CONSTANT,
    Events,
    run_small,
    small_config,
    step_looking,
    take_steps,
    trainer_of,
)

MANY = ("sampling.prompts_per_step=4", "sampling.group_size=8")


@pytest.mark.parametrize("name", ["grpo", "dr_grpo", "rloo"])
def test_predicted_and_realised_changes_agree_in_sign(name: str) -> None:
    # Seen to fail: predictions along the gradient instead of AdamW's step, or of its other sign.
    agrees = predicted = 0
    with trainer_of(small_config(f"algorithm.name={name}", "optim.lr=1e-5", *MANY)) as trainer:
        for _ in range(3):
            step_looking(trainer, lambda step: obey(trainer, PreviewUpdate(step)))
            receipt = compute_receipt(trainer, trainer.finished_steps)
            assert receipt.num_predicted == len(receipt.answers) == 32
            agrees += receipt.num_sign_agrees
            predicted += receipt.num_predicted
    assert agrees >= 0.95 * predicted


def test_realised_changes_are_those_of_the_weights() -> None:
    """Against log-probs taken one row at a time before and after, on their own."""
    with trainer_of(small_config("optim.lr=1e-3")) as trainer:
        before: dict[tuple[int, int], torch.Tensor] = {}

        def score(rows: list) -> dict[tuple[int, int], torch.Tensor]:  # type: ignore[type-arg]
            found = {}
            with torch.no_grad():
                for row in rows:
                    batch = token_batch([row], trainer.policy)
                    found[row.group, row.index] = trainer.policy.logprobs(batch, 1.5)[0][0]
            return found

        def look(_step: int) -> None:
            assert trainer.in_progress is not None
            before.update(score(trainer.in_progress.rows))

        step_looking(trainer, look)
        receipt = compute_receipt(trainer, 1)
        assert trainer.taken is not None
        after = score(list(trainer.taken.rows))
    moves = [abs(answer.realised) for answer in receipt.answers]
    assert max(moves) > 1e-3
    for answer in receipt.answers:
        place = answer.group, answer.completion
        assert answer.realised == pytest.approx(float((after[place] - before[place]).sum()), abs=1e-4)
        assert answer.realised == pytest.approx(float(answer.delta_T.sum()), abs=1e-5)
        assert answer.predicted is None
    largest = max(abs(float(d)) for a in receipt.answers for d in a.delta_T)
    assert abs(receipt.tokens[0].delta) == pytest.approx(largest, abs=1e-6)


def test_wrong_way_answers_come_first_and_are_counted() -> None:
    with trainer_of(small_config("optim.lr=3e-2", *MANY)) as trainer:
        take_steps(trainer, 1)
        receipt = compute_receipt(trainer, 1)
    wrong = [answer.wrong_way for answer in receipt.answers]
    assert wrong == sorted(wrong, reverse=True)
    assert any(wrong)
    assert receipt.num_as_wanted == sum(a.wanted * a.realised > 0 for a in receipt.answers)
    assert receipt.num_as_wanted + sum(wrong) == receipt.num_wanted
    ups = [a.realised for a in receipt.answers if a.advantage > 0]
    assert receipt.mean(1) == pytest.approx(sum(ups) / len(ups))


def test_the_kl_of_a_receipt_is_that_which_the_update_measures() -> None:
    with trainer_of(small_config("optim.lr=1e-3", "algorithm.measure_kl_step=true")) as trainer:
        metrics = take_steps(trainer, 1)[0]
        receipt = compute_receipt(trainer, 1)
    assert metrics.update is not None
    assert metrics.update.kl_step is not None
    assert receipt.kl == pytest.approx(metrics.update.kl_step, rel=1e-4)
    assert receipt.kl > 0.0
    assert 0 < receipt.kl_positions <= receipt.num_positions


def test_a_receipt_changes_nothing_and_belongs_to_the_last_update_alone() -> None:
    events = Events()
    with trainer_of(small_config("optim.lr=1e-3"), events) as trainer:
        obey(trainer, MakeReceipt(1))
        take_steps(trainer, 2)
        state = trainer.state_hash()
        obey(trainer, MakeReceipt(1))
        obey(trainer, MakeReceipt(2))
        assert trainer.state_hash() == state
        with torch.no_grad():
            next(iter(trainer.policy.trainable_parameters().values())).add_(1e-3)
        obey(trainer, MakeReceipt(2))
    assert [event.receipt.step for event in events.of(ReceiptComputed)] == [2]
    told = [event.message for event in events.of(RequestFailed)]
    assert "none was taken yet" in told[0]
    assert "the last one is of step 2" in told[1]
    assert "not as it left them" in told[2]


def test_an_update_that_moved_nothing_has_no_receipt() -> None:
    events = Events()
    with trainer_of(
        small_config("algorithm.beta=0", "run.receipts=true", reward=CONSTANT), events
    ) as trainer:
        take_steps(trainer, 1)
        obey(trainer, MakeReceipt(1))
    assert not events.of(ReceiptComputed)
    assert "moved nothing" in events.of(RequestFailed)[0].message


def test_a_run_with_receipts_keeps_one_of_each_update(tmp_path: Path) -> None:
    config = small_config("run.receipts=true", "run.steps=3", "optim.lr=1e-3")
    plain = small_config("run.steps=3", "optim.lr=1e-3")
    _, events = run_small(config, tmp_path / "run")
    _, others = run_small(plain, tmp_path / "plain")
    receipts = [event.receipt for event in events.of(ReceiptComputed)]
    assert [receipt.step for receipt in receipts] == [1, 2, 3]
    assert all(receipt.automatic for receipt in receipts)
    assert events.hashes == others.hashes
    with RunReader(tmp_path / "run") as reader:
        stored = reader.events_of(ReceiptComputed)
        state = reader.load_state()
    assert [event.receipt.step for event in stored if isinstance(event, ReceiptComputed)] == [1, 2, 3]
    last = state.receipt
    assert isinstance(last, UpdateReceipt)
    assert last == receipts[-1]
    assert [a.delta_T.tolist() for a in last.answers] == [a.delta_T.tolist() for a in receipts[-1].answers]


def test_a_receipt_in_bf16_says_how_much_is_rounding() -> None:
    with trainer_of(small_config("model.dtype=bf16", "optim.lr=1e-4")) as trainer:
        take_steps(trainer, 1)
        rough = compute_receipt(trainer, 1)
    with trainer_of(small_config("optim.lr=1e-4")) as trainer:
        take_steps(trainer, 1)
        exact = compute_receipt(trainer, 1)
    assert 1e-4 < rough.rounding < 1.0
    assert exact.rounding == 0.0
