"""How well a reward model orders pairs that it was not trained on, and how well mere length does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from grpo_tui.ops.intervals import wilson_interval
from grpo_tui.ops.ranking import num_ordered
from grpo_tui.reward_model.pairs import Answers
from rewards.learned import Classifier


@dataclass(frozen=True, slots=True, kw_only=True)
class PairAccuracy:
    """In how many (right, wrong) pairs the right answer scores higher, ties one half, with a 95 % Wilson interval.

    The interval takes pairs as independent; those of one problem are not, so it is somewhat too narrow.
    """

    accuracy: float
    low: float
    high: float
    num_pairs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Pair accuracy over all pairs, and over those whose right answer is not the longer one (None: there is none).

    The second is what a model knows beside length: a model that only measures length gets none of those right.
    """

    every: PairAccuracy
    not_longer: PairAccuracy | None


def measure(classifier: Classifier, answers: Sequence[Answers]) -> Measured:
    """Score the answers of each problem, and count the pairs in order."""
    classifier.model.eval()
    ordered = hard_ordered = 0.0
    num_hard = 0
    for problem in answers:
        texts = (*problem.right, *problem.wrong)
        scores = classifier.score([classifier.encoder.encode(problem.question, text) for text in texts])
        right, wrong = scores[: len(problem.right)], scores[len(problem.right) :]
        ordered += num_ordered(right, wrong)
        rights, wrongs = zip(problem.right, right, strict=True), zip(problem.wrong, wrong, strict=True)
        for (right_text, r), (wrong_text, w) in product(rights, wrongs):
            if len(right_text) <= len(wrong_text):
                num_hard += 1
                hard_ordered += num_ordered([r], [w])
    num_pairs = sum(problem.num_pairs for problem in answers)
    return Measured(
        every=_accuracy(ordered, num_pairs),
        not_longer=_accuracy(hard_ordered, num_hard) if num_hard else None,
    )


def length_accuracy(answers: Sequence[Answers]) -> PairAccuracy:
    """Pair accuracy of the rule *longer is better*, in characters: what can be had without reading."""
    ordered = sum(num_ordered([*map(len, p.right)], [*map(len, p.wrong)]) for p in answers)
    return _accuracy(ordered, sum(problem.num_pairs for problem in answers))


def _accuracy(ordered: float, num_pairs: int) -> PairAccuracy:
    low, high = wilson_interval(ordered, num_pairs)
    return PairAccuracy(accuracy=ordered / num_pairs, low=low, high=high, num_pairs=num_pairs)
