"""What the reward is given of a completion."""

from __future__ import annotations

from grpo_tui.events.records import GroupRecord, ProblemRecord
from rewards.base import Sample


def samples_of(group: GroupRecord, max_tokens: int) -> list[Sample]:
    """A group's completions, drawn under a limit of ``max_tokens``."""
    return [
        sample_of(
            group.problem,
            completion.text,
            finish_reason=completion.finish_reason,
            num_tokens=completion.num_tokens,
            max_tokens=max_tokens,
        )
        for completion in group.completions
    ]


def sample_of(
    problem: ProblemRecord, text: str, *, finish_reason: str, num_tokens: int, max_tokens: int
) -> Sample:
    """One completion; ``num_tokens`` and ``max_tokens`` let length rewards count tokens."""
    return Sample(
        problem_id=problem.id,
        prompt=problem.question,
        completion=text,
        gold=problem.answer,
        finish_reason=finish_reason,
        metadata={**problem.metadata, "num_tokens": str(num_tokens), "max_tokens": str(max_tokens)},
    )
