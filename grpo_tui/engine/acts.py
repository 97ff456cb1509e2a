"""Acts: what a person changes of a step between its judging and its update.

Every act replaces records of the step in progress, tells the groups anew, and says in one sentence what was done; then
advantages and the batch are made again, so that whoever looks sees what the update will be of. The last act can be taken
back, one after the other.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from grpo_tui.engine.control import HeedingGate
from grpo_tui.engine.in_progress import StepInProgress
from grpo_tui.engine.rollout import Place, completion_record, sample_groups, sampling_settings
from grpo_tui.engine.scoring import score_groups, scored
from grpo_tui.events.commands import (
    DrawMore,
    Exclude,
    ForkResponse,
    OverrideReward,
    OverrideVerdict,
    Reroll,
    UndoAct,
)
from grpo_tui.events.records import CompletionRecord, GroupRecord
from grpo_tui.events.types import ActTaken, GroupSampled, ResponseForked
from grpo_tui.generation.streams import stream_key
from grpo_tui.generation.types import SampledTokens, SampleRequest
from rewards.base import Score, Verdict

if TYPE_CHECKING:
    from grpo_tui.engine.trainer import Trainer

MAX_MORE = 64
"""Responses that one :class:`DrawMore` or one side of a :class:`ForkResponse` may draw."""


def override_verdict(trainer: Trainer, request: OverrideVerdict) -> None:
    """Carry out an :class:`OverrideVerdict`: the first component that judges truth gets this verdict, and its value."""
    now, place, completion = _target(trainer, request.step, request.group, request.completion)
    try:
        verdict = Verdict(request.verdict)
    except ValueError:
        known = ", ".join(Verdict)
        raise ValueError(f"no verdict {request.verdict!r:.40}; there are {known}") from None
    name, score = _judging(completion)
    sentence = f"{_at(place, completion)}: verdict {score.verdict} → {verdict}"
    explanation = replace(score.explanation, sentence=f"Overridden by you: {verdict}. {request.note}".strip())
    value = 1.0 if verdict is Verdict.CORRECT else 0.0
    scores = {
        **completion.scores,
        name: replace(score, value=value, verdict=verdict, explanation=explanation),
    }
    total = trainer.reward.total(scores)
    changed = replace(completion, scores=scores, reward=total)
    sentence += f", reward {completion.reward:.2f} → {total:.2f}"
    _replace(trainer, now, place, changed, "verdict", sentence, request.note)


def override_reward(trainer: Trainer, request: OverrideReward) -> None:
    """Carry out an :class:`OverrideReward`."""
    now, place, completion = _target(trainer, request.step, request.group, request.completion)
    if not math.isfinite(request.reward):
        raise ValueError("a reward must be a finite number")
    sentence = f"{_at(place, completion)}: reward {completion.reward:.2f} → {request.reward:.2f}"
    changed = replace(completion, reward=request.reward)
    _replace(trainer, now, place, changed, "reward", sentence, request.note)


def exclude(trainer: Trainer, request: Exclude) -> None:
    """Carry out an :class:`Exclude`."""
    now, place, completion = _target(trainer, request.step, request.group, request.completion)
    whole = request.completion is None
    chosen = place.filled.completions if whole else (completion,)
    changed = tuple(
        replace(c, excluded=request.excluded) if whole or c.index == completion.index else c
        for c in place.filled.completions
    )
    if all(c.excluded == request.excluded for c in chosen):
        raise ValueError(
            "nothing changes: it is " + ("excluded" if request.excluded else "taking part") + " already"
        )
    what = f"g{place.index + 1}" if whole else _at(place, completion)
    way = "kept out of the update" if request.excluded else "takes part again"
    group = replace(place.filled, completions=changed)
    _act(
        trainer,
        now,
        place,
        group,
        "exclude" if request.excluded else "include",
        f"{what}: {way}",
        request.completion,
    )


def reroll(trainer: Trainer, request: Reroll) -> None:
    """Carry out a :class:`Reroll`: as many responses as there were, from streams of their own."""
    now, place, _ = _target(trainer, request.step, request.group, None)
    before = place.filled
    wrong = sum(c.verdict is not Verdict.CORRECT for c in before.completions)
    with _wholly(trainer, now, place):
        place.group, place.round = None, 0
        place.wanted, place.rerolls = len(before.completions), place.rerolls + 1
        _draw(trainer, now)
        still = sum(c.verdict is not Verdict.CORRECT for c in place.filled.completions)
        sentence = (
            f"g{place.index + 1}: drawn anew, {wrong} → {still} not correct of {len(before.completions)}"
        )
        _told(trainer, now, place, before, "reroll", sentence, None)


def draw_more(trainer: Trainer, request: DrawMore) -> None:
    """Carry out a :class:`DrawMore`."""
    now, place, _ = _target(trainer, request.step, request.group, None)
    if not 1 <= request.count <= MAX_MORE:
        raise ValueError(f"{request.count} more were asked for; 1 to {MAX_MORE} can be drawn at once")
    before = place.filled
    with _wholly(trainer, now, place):
        place.wanted = request.count
        _draw(trainer, now)
        drawn = place.filled.completions[len(before.completions) :]
        right = sum(c.verdict is Verdict.CORRECT for c in drawn)
        sentence = f"g{place.index + 1}: {len(drawn)} more responses, {right} of them correct"
        _told(trainer, now, place, before, "draw more", sentence, None)


def undo_act(trainer: Trainer, request: UndoAct) -> None:
    """Carry out an :class:`UndoAct`."""
    now = _standing(trainer, request.step)
    if not now.taken_back:
        raise ValueError("there is no act on this step to take back")
    index, group = now.taken_back[-1]
    place = next(place for place in now.rollout.places if place.index == index)
    with _wholly(trainer, now, place):
        now.taken_back.pop()
        place.group, place.round = group, _rounds(group)
        trainer.emit(GroupSampled(time=time.time(), step=now.step, group=group))
        _settle(trainer, now)
    _tell(trainer, now, "undo", index, None, f"g{index + 1}: the last act is taken back")


def fork_response(trainer: Trainer, request: ForkResponse) -> None:
    """Carry out a :class:`ForkResponse`: how often it ends well from before a token, after it, and after another."""
    started = time.perf_counter()
    if not 1 <= request.num_samples <= MAX_MORE:
        raise ValueError(f"{request.num_samples} samples were asked for; 1 to {MAX_MORE} can be drawn")
    group = _recorded(trainer, request.step, request.group)
    completion = next((c for c in group.completions if c.index == request.completion), None)
    if completion is None or not 0 <= request.token < completion.num_tokens:
        raise ValueError(f"step {request.step}, g{request.group + 1} has no such response or token")
    vocab = trainer.policy.model.get_input_embeddings().weight.shape[0]
    if request.instead is not None and not 0 <= request.instead < vocab:
        raise ValueError(f"there is no token {request.instead}; the model knows 0 to {vocab - 1}")
    prefix = completion.token_ids_T[: request.token]
    taken = completion.token_ids_T[: request.token + 1]

    def side(name: str, ids: np.ndarray[tuple[int], np.dtype[np.int32]]) -> GroupRecord:
        return _continued(trainer, request, group, completion, name, ids)

    trainer.emit(
        ResponseForked(
            time=time.time(),
            step=request.step,
            group=request.group,
            completion=request.completion,
            token=request.token,
            before=side("before", prefix),
            after=side("after", taken),
            instead=None
            if request.instead is None
            else side(f"instead {request.instead}", np.append(prefix, np.int32(request.instead))),
            instead_id=request.instead,
            seconds=time.perf_counter() - started,
        )
    )


def _continued(
    trainer: Trainer,
    request: ForkResponse,
    group: GroupRecord,
    completion: CompletionRecord,
    name: str,
    ids: np.ndarray[tuple[int], np.dtype[np.int32]],
) -> GroupRecord:
    """Whole responses that begin with these tokens, judged."""
    prompt = next(
        (p for p in (*trainer.prompts, *trainer.held_out) if p.problem.id == group.problem.id), None
    )
    if prompt is None:
        raise ValueError(f"problem {group.problem.id!r:.60} is not among those of the run")
    limit = trainer.config.sampling.max_completion_tokens
    known, left = len(ids), limit - len(ids)
    ended = known > 0 and int(ids[-1]) in trainer.policy.eos_ids
    begun = SampledTokens(
        token_ids_T=ids,
        logprobs_T=completion.logprobs_T[:known],
        entropies_T=completion.entropies_T[:known],
        finish_reason="stop" if ended else "length",
    )
    if left < 1 or ended:
        drawn = [begun]
    else:
        where = f"{request.step}/{request.group}/{request.completion}/{request.token}/{name}"
        requests = [
            SampleRequest(
                prompt_ids=(*prompt.token_ids, *map(int, ids)),
                stream_key=stream_key(trainer.config.run.seed, "fork", request.step, where, index),
            )
            for index in range(request.num_samples)
        ]
        settings = replace(sampling_settings(trainer), max_new_tokens=left)
        drawn = trainer.sampler.sample(requests, settings, lambda _tick: trainer.heed())
        pad = np.zeros(known - min(known, len(completion.logprobs_T)), dtype=np.float32)
        drawn = [
            SampledTokens(
                token_ids_T=np.concatenate([ids, tokens.token_ids_T]),
                logprobs_T=np.concatenate([completion.logprobs_T[:known], pad, tokens.logprobs_T]),
                entropies_T=np.concatenate([completion.entropies_T[:known], pad, tokens.entropies_T]),
                finish_reason=tokens.finish_reason,
            )
            for tokens in drawn
        ]
    records = tuple(completion_record(trainer, i, tokens) for i, tokens in enumerate(drawn))
    fresh = GroupRecord(index=group.index, problem=group.problem, completions=records)
    return scored(trainer, fresh, limit)


def _recorded(trainer: Trainer, step: int, index: int) -> GroupRecord:
    now = trainer.in_progress
    if now is not None and now.step == step:
        for place in now.rollout.places:
            if place.index == index and place.group is not None:
                return place.group
    found = trainer.recall(step, index)
    if found is None:
        raise ValueError(f"step {step} has no group {index + 1} on record")
    return found


def _standing(trainer: Trainer, step: int) -> StepInProgress:
    """The step in progress, if acts are possible now.

    Raises:
        ValueError: they are not, and why.
    """
    now = trainer.in_progress
    if now is None or now.step != step:
        raise ValueError(f"step {step} is not in progress: only a step before its update can be changed")
    if now.rollout.wants_more or any(
        place.group is None or None in [c.reward for c in place.group.completions]
        for place in now.rollout.places
    ):
        raise ValueError(
            "the step's responses are not all drawn and judged yet: go on to the advantages first"
        )
    return now


def _target(
    trainer: Trainer, step: int, group: int, completion: int | None
) -> tuple[StepInProgress, Place, CompletionRecord]:
    now = _standing(trainer, step)
    place = next((place for place in now.rollout.places if place.index == group), None)
    if place is None:
        raise ValueError(f"step {step} has no group {group + 1}")
    found = next((c for c in place.filled.completions if completion is None or c.index == completion), None)
    if found is None:
        raise ValueError(f"g{group + 1} has no response {(completion or 0) + 1}")
    return now, place, found


def _judging(completion: CompletionRecord) -> tuple[str, Score]:
    for name, score in completion.scores.items():
        if score.verdict is not Verdict.NOT_JUDGED:
            return name, score
    raise ValueError("no component of the reward judges truth; override the reward instead")


def _at(place: Place, completion: CompletionRecord) -> str:
    return f"g{place.index + 1}·r{completion.index + 1}"


def _replace(
    trainer: Trainer,
    now: StepInProgress,
    place: Place,
    completion: CompletionRecord,
    act: str,
    sentence: str,
    note: str,
) -> None:
    completions = tuple(completion if c.index == completion.index else c for c in place.filled.completions)
    group = replace(place.filled, completions=completions)
    _act(trainer, now, place, group, act, sentence, completion.index, note)


def _act(
    trainer: Trainer,
    now: StepInProgress,
    place: Place,
    group: GroupRecord,
    act: str,
    sentence: str,
    completion: int | None,
    note: str = "",
) -> None:
    with _wholly(trainer, now, place):
        before, place.group = place.filled, group
        trainer.emit(GroupSampled(time=time.time(), step=now.step, group=group))
        _told(trainer, now, place, before, act, sentence, completion, note)


@contextmanager
def _wholly(trainer: Trainer, now: StepInProgress, place: Place) -> Iterator[None]:
    """Within: an act on a place, which takes effect wholly or, left by an exception, not at all.

    An act is on record only once it is done, and who replays the record must come to the same step.
    """
    group, round_, rerolls, taken_back = place.filled, place.round, place.rerolls, list(now.taken_back)
    try:
        yield
    except BaseException:
        place.group, place.round, place.rerolls, place.wanted = group, round_, rerolls, 0
        now.taken_back[:] = taken_back
        # Advantages and log-probs are made again before anything reads them.
        now.changed = bool(now.rows)
        trainer.emit(GroupSampled(time=time.time(), step=now.step, group=group))
        raise


def _rounds(group: GroupRecord) -> int:
    return max(c.round for c in group.completions) + 1


def _told(
    trainer: Trainer,
    now: StepInProgress,
    place: Place,
    before: GroupRecord,
    act: str,
    sentence: str,
    completion: int | None,
    note: str = "",
) -> None:
    now.taken_back.append((place.index, before))
    _settle(trainer, now)
    _tell(trainer, now, act, place.index, completion, sentence, note)


def _tell(
    trainer: Trainer,
    now: StepInProgress,
    act: str,
    group: int,
    completion: int | None,
    sentence: str,
    note: str = "",
) -> None:
    trainer.emit(
        ActTaken(
            time=time.time(),
            step=now.step,
            act=act,
            group=group,
            completion=completion,
            sentence=sentence,
            note=note,
        )
    )


def _draw(trainer: Trainer, now: StepInProgress) -> None:
    gate = HeedingGate(trainer.heed)
    sample_groups(trainer, now.step, now.rollout, gate)
    score_groups(trainer, now.step, now.rollout, gate)


def _settle(trainer: Trainer, now: StepInProgress) -> None:
    """Make advantages and the batch anew, if there were any yet."""
    from grpo_tui.engine.step import settle

    if now.rows:
        now.changed = True
        gate = HeedingGate(trainer.heed)
        settle(trainer, now, gate)
