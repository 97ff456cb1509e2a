"""Looking at one completion: the numbers are the model's own, the base is the adapter's absence, and nothing changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from grpo_tui.engine.inspection import inspect_completion, score_tokens, token_texts
from grpo_tui.engine.requests import obey
from grpo_tui.engine.trainer import Trainer
from grpo_tui.events.commands import InspectCompletion, Resume, StepOnce, StepPhase
from grpo_tui.events.fold import reduce
from grpo_tui.events.records import GroupRecord
from grpo_tui.events.state import RunState
from grpo_tui.events.types import CompletionInspected, RequestFailed, StepFinished
from grpo_tui.runs.reader import RunReader
from tests.engine.support import Background, Events, small_config, take_steps, trainer_of


def groups_in(events: Events) -> dict[tuple[int, int], GroupRecord]:
    """Every group that the events tell of, by step and index."""
    state, found = RunState(), {}
    for event in events:
        state = reduce(state, event)
        for detail in (*state.recent, *((state.current,) if state.current else ())):
            found.update({(detail.step, group.index): group for group in detail.groups})
    return found


@pytest.fixture(scope="module")
def stepped() -> Iterator[tuple[Trainer, Events]]:
    events = Events()
    with trainer_of(small_config("optim.lr=0.02"), events) as trainer:
        take_steps(trainer, 2)
        trainer.recall = lambda step, group: groups_in(events).get((step, group))
        yield trainer, events


def look(
    trainer: Trainer, events: Events, step: int = 2, group: int = 1, completion: int = 2
) -> CompletionInspected:
    inspect_completion(trainer, InspectCompletion(step, group, completion))
    return events.of(CompletionInspected)[-1]


def plain_logprobs(trainer: Trainer, group: GroupRecord, completion: int, *, adapter: bool) -> torch.Tensor:
    """The same through PEFT's own forward, unpadded, from the text of nothing but ids."""
    prompt = next(p for p in trainer.prompts if p.text == group.problem.prompt)
    tokens = group.completions[completion].token_ids_T.tolist()
    ids = torch.tensor([[*prompt.token_ids, *tokens]])
    model = trainer.policy.model
    with torch.no_grad():
        if adapter:
            logits = model(input_ids=ids).logits
        else:
            with model.disable_adapter():
                logits = model(input_ids=ids).logits
    scaled = logits[0, len(prompt.token_ids) - 1 : -1].double() / trainer.config.sampling.temperature
    return torch.log_softmax(scaled, dim=-1)


@pytest.mark.parametrize("lean", [True, False])
def test_the_numbers_are_the_models_own(stepped: tuple[Trainer, Events], lean: bool) -> None:
    trainer, events = stepped
    twin = trainer.policy.lean
    assert twin is not None
    try:
        trainer.policy.lean = twin if lean else None
        seen = look(trainer, events)
    finally:
        trainer.policy.lean = twin
    group = groups_in(events)[2, 1]
    tokens = torch.from_numpy(group.completions[2].token_ids_T).long().unsqueeze(-1)
    for scores, adapter in ((seen.now, True), (seen.base, False)):
        expected = plain_logprobs(trainer, group, 2, adapter=adapter)
        np.testing.assert_allclose(scores.logprobs_T, expected.gather(-1, tokens)[:, 0], atol=2e-4)
        np.testing.assert_allclose(scores.entropies_T, -(expected.exp() * expected).sum(-1), atol=2e-4)
        best = expected.topk(5, dim=-1)
        np.testing.assert_allclose(scores.top_logprobs_T_K, best.values, atol=2e-4)
        np.testing.assert_array_equal(scores.top_ids_T_K[:, 0], best.indices[:, 0])
    assert np.abs(seen.now.logprobs_T - seen.base.logprobs_T).max() > 1e-3, "the adapter has learnt something"
    assert (seen.finished_steps, seen.temperature) == (2, 1.5)
    np.testing.assert_array_equal(seen.token_ids_T, group.completions[2].token_ids_T)


def test_before_the_update_the_numbers_are_those_of_sampling() -> None:
    events = Events()
    with trainer_of(small_config(), events) as trainer:
        take_steps(trainer, 1)
        trainer.recall = lambda step, group: groups_in(events).get((step, group))
        trainer.policy.load_adapter_state(
            {name: torch.zeros_like(p) for name, p in trainer.policy.trainable_parameters().items()}
        )
        seen = look(trainer, events, step=1)
    sampled = groups_in(events)[1, 1].completions[2]
    np.testing.assert_allclose(seen.now.logprobs_T, sampled.logprobs_T, atol=2e-4)
    np.testing.assert_allclose(seen.now.entropies_T, sampled.entropies_T, atol=2e-4)
    np.testing.assert_array_equal(seen.now.logprobs_T, seen.base.logprobs_T)


def test_looking_changes_nothing(stepped: tuple[Trainer, Events]) -> None:
    trainer, events = stepped
    before, base = trainer.state_hash(), trainer.policy.base_hash()
    look(trainer, events)
    assert (trainer.state_hash(), trainer.policy.base_hash()) == (before, base)
    assert trainer.policy.lean is not None
    assert trainer.policy.lean.switch.on
    assert not any(p.grad is not None for p in trainer.policy.trainable_parameters().values())


def test_every_id_has_its_text(stepped: tuple[Trainer, Events]) -> None:
    trainer, events = stepped
    seen = look(trainer, events)
    ids = seen.vocabulary_ids.tolist()
    assert ids == sorted(set(ids))
    assert len(ids) == len(seen.vocabulary)
    texts = dict(zip(ids, seen.vocabulary, strict=True))
    wanted = {*seen.token_ids_T.tolist(), *seen.now.top_ids_T_K.ravel(), *seen.base.top_ids_T_K.ravel()}
    assert wanted == set(ids)
    text = groups_in(events)[2, 1].completions[2].text
    special = set(trainer.policy.tokenizer.all_special_ids)
    assert "".join(texts[i] for i in seen.token_ids_T.tolist() if i not in special) == text
    eos = trainer.policy.tokenizer.eos_token_id
    assert token_texts(trainer.policy.tokenizer, [eos]) == (trainer.policy.tokenizer.eos_token,)


def test_pieces_do_not_change_the_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn(7, 11, generator=torch.Generator().manual_seed(3))
    tokens = torch.arange(7)
    whole = score_tokens(logits, tokens, 0.7, 20)
    assert whole.top_ids_T_K.shape == (7, 11), "no more than there are"
    monkeypatch.setattr("grpo_tui.engine.inspection.CHUNK_ELEMENTS", 25)
    pieces = score_tokens(logits, tokens, 0.7, 20)
    for name in ("logprobs_T", "entropies_T", "top_ids_T_K", "top_logprobs_T_K"):
        np.testing.assert_allclose(getattr(pieces, name), getattr(whole, name), rtol=1e-6)


def test_what_cannot_be_looked_at_is_one_line(stepped: tuple[Trainer, Events]) -> None:
    trainer, events = stepped

    def refusal(request: InspectCompletion) -> str:
        obey(trainer, request)
        return events.of(RequestFailed)[-1].message

    assert refusal(InspectCompletion(9, 0, 0)) == "step 9 has no response 1 in group 1 on record"
    assert refusal(InspectCompletion(2, 0, 77)) == "step 2 has no response 78 in group 1 on record"
    known, trainer.recall = trainer.recall, lambda _step, _group: changed
    changed = groups_in(events)[2, 0]
    changed = replace(changed, problem=replace(changed.problem, prompt="another prompt"))
    try:
        assert "no longer among this run's problems" in refusal(InspectCompletion(2, 0, 0))
    finally:
        trainer.recall = known
    assert all(not event.detail for event in events.of(RequestFailed)), "no tracebacks for these"


def test_in_a_run_also_in_the_middle_of_a_step_and_for_old_ones(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    with Background(small_config("run.steps=3"), run_dir) as run:
        run.wait_for_mode("paused before step 1")
        run.send(StepPhase())
        run.wait_for_mode("paused before sample")
        run.send(StepPhase())
        run.wait_for_mode("paused before score")
        run.send(InspectCompletion(1, 1, 3))
        run.wait_for_number(CompletionInspected, 1)
        run.send(StepOnce())
        run.wait_for_mode("paused before step 2")
        run.send(InspectCompletion(1, 1, 3))
        run.wait_for_number(CompletionInspected, 2)
        early, late = run.events.of(CompletionInspected)
        run.send(Resume())
        run.wait_for_number(StepFinished, 3)
    sampled = groups_in(run.events)[1, 1].completions[3]
    assert (early.finished_steps, late.finished_steps) == (0, 1)
    np.testing.assert_allclose(early.now.logprobs_T, sampled.logprobs_T, atol=2e-4)
    np.testing.assert_array_equal(early.base.logprobs_T, late.base.logprobs_T)
    assert np.abs(late.now.logprobs_T - early.now.logprobs_T).max() > 0
    with RunReader(run_dir) as reader:
        kinds = {type(event).__name__ for _, event in reader.events()}
    assert "StepFinished" in kinds
    assert "CompletionInspected" not in kinds, "a view is no part of the run"


def test_a_run_that_was_looked_at_is_the_same_run(tmp_path: Path) -> None:
    hashes = []
    for name, looked in (("a", False), ("b", True)):
        with Background(small_config("run.steps=2"), tmp_path / name) as run:
            run.wait_for_mode("paused before step 1")
            run.send(StepOnce())
            run.wait_for_mode("paused before step 2")
            for reached in ("sample", "score", "advantages", "reference", "update"):
                run.send(StepPhase())
                run.wait_for_mode(f"paused before {reached}")
            if looked:
                run.send(InspectCompletion(2, 0, 0))
                run.wait_for_number(CompletionInspected, 1)
            run.send(Resume())
            run.wait_for_number(StepFinished, 2)
        hashes.append(run.events.hashes)
    assert hashes[0] == hashes[1]
