"""Phases *problems* and *sample*: which prompts, and the groups drawn for them, in as many rounds as they take."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from grpo_tui.data.order import with_stand_ins
from grpo_tui.engine.control import Gate
from grpo_tui.engine.early_judging import EarlyJudging
from grpo_tui.engine.ordering import plan_of
from grpo_tui.engine.timing import Tally
from grpo_tui.engine.trainer import Prompt, Trainer
from grpo_tui.engine.watching import Following, Sampled
from grpo_tui.events.records import CompletionRecord, GroupRecord, Phase
from grpo_tui.events.types import GroupSampled, Progress
from grpo_tui.generation.detokenize import decode_with_offsets
from grpo_tui.generation.streams import stream_key
from grpo_tui.generation.types import OnToken, SampledTokens, SampleRequest, SamplingSettings, TokenTick

REPORT_SECONDS = 0.1
"""Shortest time between two gauges."""


@dataclass(slots=True, kw_only=True)
class Place:
    """One of a step's places for a group: the prompt that stands there now, and what was drawn for it."""

    index: int
    prompt: Prompt
    wanted: int
    """Completions to draw in the next round."""
    group: GroupRecord | None = None
    replaced: int = 0
    """How many prompts stood here before."""
    round: int = 0
    """Rounds drawn for this prompt."""
    rerolls: int = 0
    """How often a person had its responses drawn anew."""

    @property
    def filled(self) -> GroupRecord:
        """The group, which has been sampled."""
        assert self.group is not None
        return self.group


@dataclass(slots=True, kw_only=True)
class Rollout:
    """A step's groups while they are drawn. One round, unless groups grow or are replaced."""

    places: list[Place]
    num_sampled_tokens: int = 0
    num_resampled_groups: int = 0
    num_tries: int = 0
    """Rounds of replacing so far."""
    seconds_beside: float = 0.0
    """What drawing ahead took while the step before was judged and updated."""
    tried: set[str] = field(default_factory=set)
    """Ids of problems that have stood in this step, once some were replaced."""
    notes: list[str] = field(default_factory=list)

    @property
    def wants_more(self) -> bool:
        """Whether there is something to draw."""
        return any(place.wanted for place in self.places)

    @property
    def is_new(self) -> bool:
        """Whether nothing has been drawn for it yet."""
        return all(place.group is None and not place.replaced and not place.rerolls for place in self.places)

    @property
    def prompts(self) -> list[Prompt]:
        """The prompts that stand now, in order."""
        return [place.prompt for place in self.places]

    @property
    def groups(self) -> list[GroupRecord]:
        """Their groups, in order."""
        return [place.filled for place in self.places]


def next_prompts(trainer: Trainer, step: int) -> list[Prompt]:
    """The prompts of a step: a pure function of the seed, the step, and what was decided about single problems."""
    indices = trainer.order.for_step(step, trainer.config.sampling.prompts_per_step)
    away = plan_of(trainer, step).away
    if away:
        left_out = {i for i, prompt in enumerate(trainer.prompts) if prompt.problem.id in away}
        spare = trainer.spare_order.for_step(step, len(trainer.prompts))
        indices = with_stand_ins(indices, left_out, spare)
    return [trainer.prompts[i] for i in indices]


def begin_rollout(trainer: Trainer, prompts: Sequence[Prompt], step: int | None = None) -> Rollout:
    """A place for each prompt, with ``group_size`` completions wanted, or the prompt's own number in the step (the next)."""
    size = trainer.config.sampling.group_size
    own = plan_of(trainer, trainer.finished_steps + 1 if step is None else step).group_sizes
    return Rollout(
        places=[
            Place(index=i, prompt=prompt, wanted=own.get(prompt.problem.id, size))
            for i, prompt in enumerate(prompts)
        ]
    )


def sample_groups(trainer: Trainer, step: int, rollout: Rollout, gate: Gate) -> None:
    """Draw what each place wants, and tell each group that has something new."""
    places = [place for place in rollout.places if place.wanted]
    requests = wanted_requests(trainer, step, rollout)
    settings = sampling_settings(trainer)
    report = token_reporter(trainer, step, Phase.SAMPLE, gate, _following(trainer, step, places))
    early = EarlyJudging(trainer, [p.prompt.record() for p in places for _ in range(p.wanted)])
    last: TokenTick | None = None

    def on_token(tick: TokenTick) -> None:
        nonlocal last
        last = tick
        report(tick)
        early.look(tick)

    ahead = trainer.ahead.take(trainer, step, requests, settings, gate) if rollout.is_new else None
    if ahead is None:
        drawn: Sequence[SampledTokens] = trainer.sampler.sample(requests, settings, on_token)
    else:
        drawn, last = ahead.drawn, ahead.cost
        rollout.seconds_beside += ahead.seconds_beside
    is_behind = ahead is not None and ahead.is_behind
    if last is not None:
        _count(trainer.tally, last)
    start = 0
    for place in places:
        members = drawn[start : start + place.wanted]
        start += place.wanted
        rollout.num_sampled_tokens += sum(len(tokens.token_ids_T) for tokens in members)
        before = place.group.completions if place.group is not None else ()
        completions = tuple(
            replace(completion_record(trainer, len(before) + i, tokens), round=place.round, ahead=is_behind)
            for i, tokens in enumerate(members)
        )
        place.group = GroupRecord(
            index=place.index, problem=place.prompt.record(), completions=(*before, *completions)
        )
        place.wanted = 0
        place.round += 1
        trainer.emit(GroupSampled(time=time.time(), step=step, group=place.group))


def _count(tally: Tally, tick: TokenTick) -> None:
    """What drawing has cost, by the last that was told of it."""
    tally.prefill.num_tokens += tick.num_prompt_tokens
    tally.prefill.seconds += tick.prefill_seconds
    tally.decode.num_tokens += tick.num_tokens
    tally.decode.seconds += tick.decode_seconds


def _following(trainer: Trainer, step: int, places: Sequence[Place]) -> Following:
    """Where the rows of each place are among the requests, for whoever watches."""
    first, groups = 0, []
    for place in places:
        drawn = len(place.group.completions) if place.group is not None else 0
        groups.append(Sampled(place.index, place.prompt.problem.question, first, place.wanted, drawn))
        first += place.wanted
    return Following(trainer.watch, trainer.policy.tokenizer, step, groups)


def wanted_requests(trainer: Trainer, step: int, rollout: Rollout) -> list[SampleRequest]:
    """The completions that a rollout's places want now, in order."""
    return [request for place in rollout.places for request in _requests(trainer, step, place)]


def _requests(trainer: Trainer, step: int, place: Place) -> list[SampleRequest]:
    """The completions a place wants. A group that grows goes on with the streams it would have had from the start."""
    # A prompt that stands twice in a step (fewer problems than prompts) must not draw the same group twice.
    where = f"{place.index}+{place.replaced}" if place.replaced else f"{place.index}"
    where += f"~{place.rerolls}" if place.rerolls else ""
    name = f"{where}/{place.prompt.problem.id}"
    drawn = len(place.group.completions) if place.group is not None else 0
    return [
        SampleRequest(
            prompt_ids=place.prompt.token_ids,
            stream_key=stream_key(trainer.config.run.seed, "train", step, name, index),
        )
        for index in range(drawn, drawn + place.wanted)
    ]


def sampling_settings(trainer: Trainer) -> SamplingSettings:
    """How training completions are drawn."""
    sampling = trainer.config.sampling
    return SamplingSettings(
        max_new_tokens=sampling.max_completion_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
    )


def token_reporter(trainer: Trainer, step: int, phase: Phase, gate: Gate, following: Following) -> OnToken:
    """A callback for each decoded position: obeys the gate, tells how far sampling is, shows what is watched."""
    watch = trainer.watch
    started, paused_before = time.perf_counter(), gate.paused_seconds
    last = started

    def on_token(tick: TokenTick) -> None:
        nonlocal last
        gate.tick(f"in {phase}, after {tick.num_tokens} tokens")
        if watch.group is not None:
            following.look(tick)
        now = time.perf_counter()
        if now - last < REPORT_SECONDS and tick.num_finished < tick.num_total:
            return
        last = now
        seconds = now - started - (gate.paused_seconds - paused_before)
        trainer.report(
            Progress(
                step=step,
                phase=phase,
                done=tick.num_finished,
                total=tick.num_total,
                unit="completions",
                tokens_per_second=tick.num_tokens / max(seconds, 1e-9),
                num_tokens=tick.num_tokens,
            )
        )

    return on_token


def request_reporter(trainer: Trainer, of: str, *, before: int, total: int) -> OnToken:
    """The same inside a request: leaves it if it is not wanted any more, and tells how far it is.

    Args:
        trainer: whose sampler draws.
        of: the gauge's name.
        before: responses drawn by earlier calls of the sampler.
        total: responses in all.
    """
    started, last = time.perf_counter(), 0.0

    def on_token(tick: TokenTick) -> None:
        nonlocal last
        trainer.heed()
        now = time.perf_counter()
        if now - last < REPORT_SECONDS:
            return
        last = now
        trainer.report(
            Progress(
                step=trainer.finished_steps,
                phase=Phase.SAMPLE,
                done=before + tick.num_finished,
                total=total,
                unit="responses",
                tokens_per_second=tick.num_tokens / max(now - started, 1e-9),
                of=of,
            )
        )

    return on_token


def completion_record(trainer: Trainer, index: int, tokens: SampledTokens) -> CompletionRecord:
    """What was drawn, with its text; not yet scored."""
    text, offsets = decode_with_offsets(trainer.policy.tokenizer, tokens.token_ids_T.tolist())
    return CompletionRecord(
        index=index,
        text=text,
        finish_reason=tokens.finish_reason,
        token_ids_T=tokens.token_ids_T,
        token_offsets_T=offsets,
        logprobs_T=tokens.logprobs_T,
        entropies_T=tokens.entropies_T,
    )
