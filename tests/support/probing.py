"""Events of probes and second judgements, as the engine would tell them."""

from __future__ import annotations

from grpo_tui.events.judgements import Flip
from grpo_tui.events.probes import ProbeAnswer, ProbeReading
from grpo_tui.events.records import ProblemRecord
from grpo_tui.events.types import Event, ProbePinned, ProbesRead, Reverified
from rewards.base import Verdict
from tests.support.builders import T0

QUESTIONS = ("What is 17 × 6?", "Simplify 6/8 + 1/4.", "Factor x² − 5x + 6.")


def pinned(number: int, question: str = "", answer: str = "102", every: int = 1) -> ProbePinned:
    """A pinned prompt."""
    question = question or QUESTIONS[(number - 1) % 3]
    problem = ProblemRecord(
        id=f"probe {number}", question=question, prompt=question, answer=answer, num_prompt_tokens=9
    )
    return ProbePinned(
        time=T0, probe=number, problem=problem, every=every, max_tokens=0, seed=0, temperature=1.0
    )


def answer(text: str, verdict: Verdict | None, reason: str = "so it is") -> ProbeAnswer:
    """One answer."""
    return ProbeAnswer(
        text=text,
        num_tokens=max(1, len(text) // 3),
        finish_reason="stop",
        verdict=verdict,
        reward=1.0 if verdict is Verdict.CORRECT else 0.0,
        answer=text[-3:],
        reason=reason,
    )


def read(step: int, *readings: ProbeReading, seconds: float = 0.4) -> ProbesRead:
    """One reading of several probes."""
    return ProbesRead(time=T0 + step, step=step, branch=0, readings=readings, seconds=seconds)


def reading(number: int, greedy: ProbeAnswer, sample: ProbeAnswer, logprob: float | None) -> ProbeReading:
    """One reading of one probe."""
    return ProbeReading(
        probe=number, greedy=greedy, sample=sample, gold_logprob=logprob, num_gold_tokens=3 if logprob else 0
    )


def story(steps: int) -> list[Event]:
    """Two probes read after every step: the first turns right half-way, the second stays wrong."""
    events: list[Event] = [pinned(1), pinned(2, answer="1")]
    for step in range(steps + 1):
        right = step > steps // 2
        first = reading(
            1,
            answer(
                "17 times 6 is 102, so the answer is 102." if right else "17 times 6 is 92, so it is 92.",
                Verdict.CORRECT if right else Verdict.WRONG,
                "102 equals the gold answer." if right else "92 is not equal to the gold answer 102.",
            ),
            answer(f"17 × 6 = {90 + step}", Verdict.WRONG),
            -6.0 + 5.0 * step / max(1, steps),
        )
        second = reading(
            2, answer("6/8 is 3/4", Verdict.WRONG), answer("no idea", Verdict.NO_ANSWER), -4.0 - 0.1 * step
        )
        events.append(read(step, first, second))
    return events


def flip(
    step: int, group: int = 0, completion: int = 1, *, reason: str = "0.50 equals the gold answer 1/2."
) -> Flip:
    """A verdict that flips."""
    return Flip(
        branch=0,
        step=step,
        group=group,
        completion=completion,
        old="wrong",
        new="correct",
        old_reward=0.0,
        new_reward=1.0,
        gold="1/2",
        answer="0.50",
        reason=reason,
    )


def reverified(*flips: Flip, message: str = "") -> Reverified:
    """Judged again."""
    return Reverified(
        time=T0,
        rules="the rules in force",
        num_answers=2432,
        num_changed_rewards=len(flips),
        flips=flips,
        seconds=3.2,
        message=message,
    )
