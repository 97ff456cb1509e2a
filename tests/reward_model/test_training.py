from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from grpo_tui.policy.errors import PolicyError
from grpo_tui.reward_model import training
from grpo_tui.reward_model.measuring import length_accuracy, measure
from grpo_tui.reward_model.pairs import Answers
from grpo_tui.reward_model.training import TrainingOptions, load_untrained, save, train
from rewards.base import Sample
from rewards.learned import Classifier, LearnedReward, load_classifier
from rewards.learned_text import SETTINGS_FILE, ModelInput
from tests.reward_model.support import wordy
from tests.support.reward_models import save_reward_model


@pytest.fixture
def classifier(tmp_path: Path) -> Classifier:
    """Small, random, trainable."""
    loaded = load_classifier(str(save_reward_model(tmp_path / "start")), "cpu")
    loaded.model.requires_grad_(True)
    return loaded


def weights(classifier: Classifier) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in classifier.model.state_dict().items()}


def loss_by_hand(classifier: Classifier, problems: list[Answers]) -> float:
    """Mean over problems of the mean over pairs of ln(1 + e^{wrong − right}), each text scored alone."""
    total = 0.0
    for problem in problems:
        right, wrong = (
            [classifier.score([classifier.encoder.encode(problem.question, text)])[0] for text in texts]
            for texts in (problem.right, problem.wrong)
        )
        pairs = [math.log1p(math.exp(w - r)) for r in right for w in wrong]
        total += sum(pairs) / len(pairs)
    return total / len(problems)


PROBLEMS = [
    Answers(question="1 + 1", right=("2", "two"), wrong=("3",)),
    Answers(question="2 + 2", right=("4",), wrong=("5, I think", "6", "7")),
    Answers(question="3 + 3", right=("6",), wrong=("33",)),
]


def test_the_loss_is_bradley_terry_each_problem_counting_alike(classifier: Classifier) -> None:
    expected = loss_by_hand(classifier, PROBLEMS)
    [loss] = train(classifier, PROBLEMS, TrainingOptions(lr=1e-12, batch_size=3))
    assert loss == pytest.approx(expected, rel=1e-5)


def test_splitting_a_batch_changes_no_gradient(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gradients(bound: int) -> list[torch.Tensor]:
        monkeypatch.setattr(training, "MAX_BATCH_TOKENS", bound)
        list(train(classifier, PROBLEMS, TrainingOptions(lr=0.0, batch_size=3)))
        return [parameter.grad.clone() for parameter in classifier.model.parameters()]

    for whole, parts in zip(gradients(10_000), gradients(1), strict=True):
        torch.testing.assert_close(whole, parts, atol=1e-6, rtol=1e-4)


def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    def trained(seed: int) -> dict[str, torch.Tensor]:
        start = save_reward_model(tmp_path / f"{seed}", seed=5)
        loaded = load_classifier(str(start), "cpu")
        loaded.model.requires_grad_(True)
        list(train(loaded, PROBLEMS, TrainingOptions(lr=1e-3, epochs=2, batch_size=1, seed=seed)))
        return weights(loaded)

    one, again, other = trained(1), trained(1), trained(2)
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_what_can_be_learnt_is_learnt_and_holds_on_other_problems(classifier: Classifier) -> None:
    answers = wordy(40)
    told: list[tuple[int, int]] = []
    losses = list(
        train(
            classifier,
            answers[:30],
            TrainingOptions(lr=1e-2, epochs=6),
            lambda done, total: told.append((done, total)),
        )
    )
    assert len(losses) == 6
    assert losses[-1] < 0.2 < losses[0]
    assert told == [(step, 24) for step in range(1, 25)]
    held_out = measure(classifier, answers[30:]).every
    assert (held_out.accuracy, held_out.num_pairs) == (1.0, 10)
    assert held_out.low == pytest.approx(0.722, abs=1e-3)  # Wilson, 10 of 10


def test_a_loss_that_is_no_number_ends_the_training(classifier: Classifier) -> None:
    classifier.model.score.weight.data.fill_(torch.inf)
    with pytest.raises(FloatingPointError, match="lower --lr"):
        list(train(classifier, PROBLEMS, TrainingOptions()))


@pytest.mark.parametrize(
    ("total", "expected"),
    [
        (1, [1.0]),
        (4, [1.0, 0.75, 0.5, 0.25]),
        # 2 steps of warm-up, then down by 1/19 a step
        (20, [0.5, 1.0, *((20 - step) / 19 for step in range(2, 20))]),
    ],
)
def test_the_learning_rate_goes_up_and_down(total: int, expected: list[float]) -> None:
    assert [training._schedule(done, total) for done in range(total)] == pytest.approx(expected)


class ByRule:
    """Scores by a rule instead of a model."""

    def __init__(self, rule: dict[str, float]) -> None:
        self.model = SimpleNamespace(eval=lambda: None)
        self.encoder = SimpleNamespace(encode=lambda _question, text: text)
        self._rule = rule

    def score(self, texts: list[Any]) -> list[float]:
        return [self._rule[text] for text in texts]


def test_measured_by_hand() -> None:
    # pairs: (aaa, b) 2 > 1; (aaa, cccc) 2 < 3, right is shorter; (d, b) 1 = 1, as long; (d, cccc) 1 < 3, shorter
    answers = [Answers(question="?", right=("aaa", "d"), wrong=("b", "cccc"))]
    found = measure(ByRule({"aaa": 2.0, "d": 1.0, "b": 1.0, "cccc": 3.0}), answers)  # type: ignore[arg-type]
    assert (found.every.accuracy, found.every.num_pairs) == (1.5 / 4, 4)
    assert found.not_longer is not None
    assert (found.not_longer.accuracy, found.not_longer.num_pairs) == (0.5 / 3, 3)
    by_length = length_accuracy(answers)
    assert (by_length.accuracy, by_length.num_pairs) == (1.5 / 4, 4)


def test_nothing_to_tell_where_the_right_answer_is_always_longer() -> None:
    answers = [Answers(question="?", right=("aa",), wrong=("b",))]
    assert measure(ByRule({"aa": 0.0, "b": 1.0}), answers).not_longer is None  # type: ignore[arg-type]


def test_what_is_saved_scores_the_same(classifier: Classifier, tmp_path: Path) -> None:
    list(train(classifier, PROBLEMS, TrainingOptions(lr=1e-3)))
    out = tmp_path / "deep" / "out"
    save(classifier, out, {"lr": 1e-3})
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    assert {"model.safetensors", "config.json", "tokenizer.json", SETTINGS_FILE} <= {
        path.name for path in out.iterdir()
    }
    assert json.loads((out / SETTINGS_FILE).read_text())["trained"] == {"lr": 1e-3}
    [score] = LearnedReward(str(out), device="cpu").score(
        [Sample(problem_id="1", prompt="1 + 1", completion="2", gold="2")]
    )
    assert score.value == classifier.score([classifier.encoder.encode("1 + 1", "2")])[0]


def test_a_save_that_fails_leaves_nothing(classifier: Classifier, tmp_path: Path) -> None:
    def fail(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    classifier.tokenizer.save_pretrained = fail
    with pytest.raises(OSError, match="No space"):
        save(classifier, tmp_path / "out", {})
    assert [path.name for path in tmp_path.iterdir()] == ["start"]


def test_a_causal_model_gets_a_fresh_head_in_float32() -> None:
    one, again = (load_untrained("tiny", device="cpu", seed=4) for _ in range(2))
    assert type(one.model).__name__ == "LlamaForSequenceClassification"
    assert one.model.score.weight.shape == (1, 192)
    assert {parameter.dtype for parameter in one.model.parameters()} == {torch.float32}
    assert torch.equal(one.model.score.weight, again.model.score.weight)
    given = ModelInput(token_ids=(5, 6, 7))
    assert one.logits([given, given]).requires_grad


@pytest.mark.parametrize(
    ("source", "device", "said"),
    [
        ("./nowhere", "cpu", "./nowhere is not a model folder"),
        ("model.gguf", "cpu", "packed for generating"),
        ("tiny", "tpu", "no device"),
    ],
)
def test_what_cannot_be_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, device: str, said: str
) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PolicyError, match=said):
        load_untrained(source, device=device, seed=0)
