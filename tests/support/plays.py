"""Plays of the Playground as the engine tells them, with texts that part where they should."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from grpo_tui.events.commands import ADAPTER, BASE, Play
from grpo_tui.events.records import CompletionRecord, GroupRecord, ProblemRecord
from grpo_tui.events.types import Event, PlayEnded, PlaygroundAnswered, PlayStarted
from rewards.base import Explanation, Score, Verdict
from tests.support.builders import T0

TEXTS: Mapping[str, Sequence[str]] = {
    BASE: ("6 / 8 is 3 / 4 and more is 2 / 4 so 1 / 2", "the answer is 1", "I do not know"),
    ADAPTER: ("6 / 8 is 3 / 4 and more is 4 / 4 so 1", "the answer is 1", "it is 1"),
    "step 20": ("6 / 8 is 3 / 4 and more is 4 / 4 so 2", "the answer is 7", "it is 1"),
}
GOLD = "1"


def words(index: int, text: str) -> CompletionRecord:
    """A completion with one token for each word (and its space); equal words are equal tokens."""
    pieces = [f"{' ' if place else ''}{word}" for place, word in enumerate(text.split(" "))]
    lengths = [len(piece) for piece in pieces]
    ids = [sum((place + 1) * ord(c) for place, c in enumerate(piece.strip())) for piece in pieces]
    return CompletionRecord(
        index=index,
        text=text,
        finish_reason="stop",
        token_ids_T=np.array(ids, dtype=np.int32),
        token_offsets_T=np.cumsum([0, *lengths[:-1]], dtype=np.int32),
        logprobs_T=np.log(np.linspace(0.9, 0.3, len(pieces), dtype=np.float32)),
        entropies_T=np.ones(len(pieces), dtype=np.float32),
    )


def judged(completion: CompletionRecord) -> CompletionRecord:
    """Right where the last word is the gold answer."""
    last = completion.text.split(" ")[-1]
    verdict = Verdict.CORRECT if last == GOLD else Verdict.WRONG if last.isdigit() else Verdict.NO_ANSWER
    sentence = f"{last} is {'' if verdict is Verdict.CORRECT else 'not '}the gold answer."
    score = Score(
        value=float(verdict is Verdict.CORRECT),
        verdict=verdict,
        explanation=Explanation(sentence=sentence, answer_text=last if last.isdigit() else ""),
    )
    return CompletionRecord(
        **{name: getattr(completion, name) for name in ("index", "text", "finish_reason", "token_ids_T")},
        token_offsets_T=completion.token_offsets_T,
        logprobs_T=completion.logprobs_T,
        entropies_T=completion.entropies_T,
        reward=score.value,
        scores={"math": score},
    )


def started(
    id: int = 1,
    sources: Sequence[str] = (BASE, ADAPTER),
    *,
    question: str = "Simplify 6/8 + 1/4",
    answer: str = GOLD,
    num_samples: int = 3,
) -> PlayStarted:
    """The engine begins."""
    problem = ProblemRecord(id=f"play {id}", question=question, prompt=f"Q: {question}\nA:", answer=answer)
    return PlayStarted(
        time=T0,
        id=id,
        problem=problem,
        sources=tuple(sources),
        num_samples=num_samples,
        temperature=1.0,
        max_tokens=64,
        seed=0,
    )


def answered(begun: PlayStarted, source: str, texts: Sequence[str] | None = None) -> PlaygroundAnswered:
    """A source is done."""
    made = [words(i, text) for i, text in enumerate(texts or TEXTS[source])]
    if begun.problem.answer:
        made = [judged(completion) for completion in made]
    group = GroupRecord(index=0, problem=begun.problem, completions=tuple(made))
    return PlaygroundAnswered(time=T0, id=begun.id, source=source, group=group, seconds=1.25)


def ended(id: int = 1, reason: str = "done", message: str = "") -> PlayEnded:
    """It is over."""
    return PlayEnded(time=T0, id=id, reason=reason, message=message)


def whole_play(id: int = 1, sources: Sequence[str] = (BASE, ADAPTER), *, answer: str = GOLD) -> list[Event]:
    """Everything of one play."""
    begun = started(id, sources, answer=answer)
    return [begun, *(answered(begun, source) for source in sources), ended(id)]


def echo(play: Play) -> PlayStarted:
    """What the engine tells first of a play that the app asked for."""
    return started(
        play.id, play.sources, question=play.question, answer=play.answer, num_samples=play.num_samples
    )
