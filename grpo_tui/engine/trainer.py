"""Everything a run holds in memory: policy, optimiser, problems, reward, sampler, and how many steps are done."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from grpo_tui.config.schema import RunConfig
from grpo_tui.data.order import ProblemOrder
from grpo_tui.data.problem import DataError, Problem
from grpo_tui.data.render import check_length, encode_prompt, render_prompt
from grpo_tui.data.sources import load_problems
from grpo_tui.engine.ahead import Ahead, make_ahead
from grpo_tui.engine.breaking import Breaker
from grpo_tui.engine.history import History
from grpo_tui.engine.moments import copied_state
from grpo_tui.engine.rewarding import components, make_reward, try_canaries
from grpo_tui.engine.seeds import derived_seed
from grpo_tui.engine.timing import Tally
from grpo_tui.engine.tuning import Tuning
from grpo_tui.engine.watching import Watch
from grpo_tui.events.records import DataRecord, GroupRecord, ProblemRecord, StepMetrics
from grpo_tui.events.types import (
    DataLoaded,
    Event,
    LoadingStage,
    ModelLoaded,
    Notice,
    OrderChanged,
    Progress,
)
from grpo_tui.generation.fast import FastSampler, make_sampler
from grpo_tui.generation.types import Sampler
from grpo_tui.heap import give_back_freed_memory, keep_freed_memory
from grpo_tui.policy.checkpointing import checkpointed_layers
from grpo_tui.policy.critic import Critic
from grpo_tui.policy.errors import PolicyError
from grpo_tui.policy.loading import load_policy
from grpo_tui.policy.many import on_host, raw
from grpo_tui.policy.policy import Policy
from rewards.compose import WeightedReward

if TYPE_CHECKING:
    from grpo_tui.engine.in_progress import StepInProgress
    from grpo_tui.engine.probes import Probe
    from grpo_tui.engine.profiling import ProfilePlan
    from grpo_tui.engine.receipt import TakenUpdate
    from grpo_tui.engine.reverify import Reverifying

Emit = Callable[[Event], None]
Report = Callable[[Progress], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A problem ready to be given to the model."""

    problem: Problem
    text: str
    token_ids: tuple[int, ...]

    def record(self) -> ProblemRecord:
        """The same for the screen and the run file."""
        return ProblemRecord(
            id=self.problem.id,
            question=self.problem.question,
            prompt=self.text,
            answer=self.problem.answer,
            num_prompt_tokens=len(self.token_ids),
            metadata=dict(self.problem.metadata),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All that an update changes, copied."""

    adapter: Mapping[str, Tensor]
    optimizer: Mapping[str, Any]
    rng: Tensor
    critic: Mapping[str, Tensor] | None = None
    critic_optimizer: Mapping[str, Any] | None = None


@dataclass(slots=True, kw_only=True)
class Trainer:
    """A run in memory. :func:`grpo_tui.engine.step.run_step` drives it; nothing else changes it."""

    config: RunConfig
    policy: Policy
    optimizer: torch.optim.AdamW
    prompts: Sequence[Prompt]
    held_out: Sequence[Prompt]
    order: ProblemOrder
    spare_order: ProblemOrder
    """Prompts that take the place of dead groups."""
    reward: WeightedReward
    sampler: Sampler
    emit: Emit
    report: Report
    critic: Critic | None = None
    """The value function, where the advantage is ``gae``."""
    critic_optimizer: torch.optim.AdamW | None = None
    microbatch_tokens: int
    """Padded tokens that go through the model at once: the config's, or fewer once memory has run out."""
    finished_steps: int = 0
    baseline: float | None = None
    """Running mean of rewards, where the advantage is ``ema``; None before the first step."""
    num_sampled_tokens: int = 0
    """Completion tokens sampled in all finished steps."""
    recall: Callable[[int, int], GroupRecord | None] = lambda _step, _group: None
    """A recorded group by step and index, the step in progress included; knows none where there is no run file."""
    tuning: Tuning = field(default_factory=Tuning)
    """Changes of the config while the run runs."""
    tally: Tally = field(default_factory=Tally)
    """What the step in progress has cost."""
    profile: ProfilePlan | None = None
    """Steps to be profiled."""
    peak_memory_bytes: int = 0
    """Most memory held in any step so far."""
    checkpoints_dir: Path | None = None
    """Where the run keeps its checkpoints; None for a trainer without a run folder."""
    run_dir: Path | None = None
    """The run's folder; None for a trainer without one."""
    heed: Callable[[], None] = field(default=lambda: None, repr=False)
    """Called by handlers of requests at every token: raises where the request is to be left."""
    watch: Watch = field(default_factory=Watch, repr=False)
    """Who watches a group being sampled."""
    ahead: Ahead = field(default_factory=Ahead, repr=False)
    """What is drawn for the next step while this one is judged and updated."""
    breaker: Breaker = field(default_factory=Breaker, repr=False)
    """The breakpoints."""
    last_metrics: StepMetrics | None = None
    """Of the step that was taken last in this process."""
    in_progress: StepInProgress | None = None
    """What the present step has made so far; None between steps."""
    taken: TakenUpdate | None = field(default=None, repr=False)
    """The last update, as a receipt needs it; None before the first."""
    history: History = field(default_factory=lambda: History(0))
    """Where the run stands among its branches, and the states it can go back to."""
    order_changes: list[OrderChanged] = field(default_factory=list)
    """Problems dropped, postponed, restored or given more answers, on whatever branch, oldest first."""
    probes: dict[int, Probe] = field(default_factory=dict)
    """Prompts that are read around updates, by number."""
    last_probe: int = 0
    """The highest number that a probe ever had."""
    reverifying: Reverifying | None = None
    """Recorded answers being judged again beside the training."""
    _closed: bool = field(default=False, repr=False)

    @classmethod
    def load(
        cls, config: RunConfig, *, emit: Emit = lambda _event: None, report: Report = lambda _p: None
    ) -> Trainer:
        """Load model, data and reward as the config says, telling each stage as it begins.

        From then on the process keeps memory that is freed (:mod:`grpo_tui.heap`), until :meth:`close`.

        Raises:
            PolicyError: the model cannot be loaded or adapted.
            DataError: there is nothing to train on.
            ValueError: a reward that does not exist.
        """
        keep_freed_memory()

        def say(name: str, detail: str = "") -> None:
            emit(LoadingStage(time=time.time(), name=name, detail=detail))

        say("starting verifier", f"{config.reward.workers} worker processes")
        reward = make_reward(config)
        try:
            reward.warm_up()
            policy = _load_policy(config, say)
            if config.optim.gradient_checkpointing:
                checkpointed_layers(policy)
            emit(ModelLoaded(time=time.time(), model=policy.record()))
            if config.reward.canaries:
                say("trying canaries", "adversarial answers on the rewards")
                try_canaries(reward, emit)
            say("loading problems", config.data.source)
            prompts, held_out = _load_prompts(config, policy, reward, emit)
        except BaseException:
            reward.close()
            raise
        critic, critic_optimizer = None, None
        if config.algorithm.advantage == "gae":
            say("adding critic", f"LoRA rank {config.model.lora_rank} and a value head")
            critic = Critic(policy, seed=derived_seed(config.run.seed, "critic"))
            critic_optimizer = make_optimizer(config, critic.parameters(), config.critic.value_lr)
        policy.decodes_alone = not config.sampling.ahead
        sampler = _pick_sampler(config, policy, emit)
        return cls(
            config=config,
            policy=policy,
            optimizer=make_optimizer(config, policy.trainable_parameters(), config.optim.lr),
            critic=critic,
            critic_optimizer=critic_optimizer,
            microbatch_tokens=microbatch_tokens(config, policy),
            prompts=prompts,
            held_out=held_out,
            order=ProblemOrder(len(prompts), config.run.seed, config.data.shuffle),
            spare_order=ProblemOrder(len(prompts), derived_seed(config.run.seed, "spare prompts")),
            reward=reward,
            sampler=sampler,
            ahead=make_ahead(config, policy, sampler, _warner(emit)),
            emit=emit,
            report=report,
            history=History(config.run.history_mb),
        )

    def steps(self, count: int) -> Iterator[StepMetrics]:
        """Take ``count`` steps, without a screen or a run file; for use from Python."""
        from grpo_tui.engine.control import Control, Gate
        from grpo_tui.engine.step import run_step

        gate = Gate(Control(start_paused=False), self.emit)
        for _ in range(count):
            gate.between_steps(self.finished_steps + 1)
            yield run_step(self, gate)

    @property
    def is_done(self) -> bool:
        """Whether the run has taken its steps, or sampled its tokens."""
        run = self.config.run
        return self.finished_steps >= run.steps or 0 < run.max_tokens <= self.num_sampled_tokens

    def snapshot(self) -> Snapshot:
        """Copy what an update changes."""
        learner = self.critic_optimizer
        return Snapshot(
            adapter=self.policy.adapter_state(),
            optimizer=copied_state(self.optimizer.state_dict()),
            rng=torch.get_rng_state(),
            critic=self.critic.state() if self.critic is not None else None,
            critic_optimizer=copied_state(learner.state_dict()) if learner is not None else None,
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Put a snapshot back, bitwise."""
        self.policy.load_adapter_state(snapshot.adapter)
        self.optimizer.load_state_dict(copied_state(snapshot.optimizer))
        self.optimizer.zero_grad(set_to_none=True)
        if self.critic is not None and snapshot.critic is not None:
            self.critic.load_state(snapshot.critic)
        if self.critic_optimizer is not None and snapshot.critic_optimizer is not None:
            self.critic_optimizer.load_state_dict(copied_state(snapshot.critic_optimizer))
            self.critic_optimizer.zero_grad(set_to_none=True)
        torch.set_rng_state(snapshot.rng)

    def seed_step(self, step: int) -> None:
        """Set torch's generators for a step: a function of (seed, step), so a retried step repeats itself."""
        torch.manual_seed(derived_seed(self.config.run.seed, "update", step))

    def state_hash(self) -> str:
        """SHA-256 over adapter, optimiser, RNG, and critic and baseline where there are such.

        Two runs that agree in it are the same run.
        """
        digest = hashlib.sha256(str(self.finished_steps).encode())
        _hash_learner(digest, self.policy.trainable_parameters(), self.optimizer)
        if self.critic is not None and self.critic_optimizer is not None:
            _hash_learner(digest, self.critic.parameters(), self.critic_optimizer)
        if self.baseline is not None:
            digest.update(repr(self.baseline).encode())
        digest.update(raw(torch.get_rng_state()))
        return digest.hexdigest()

    def reconfigure(self, config: RunConfig, reward: WeightedReward | None = None) -> None:
        """Go on under another config, whose model, data and machinery are the present one's.

        Args:
            config: takes the place of the present one. What the step in progress has read must be the same in it.
            reward: takes the place of the present one, which is closed; None where only weights changed.
        """
        old, self.config = self.config, config
        set_optimizer(self.optimizer, config, self.optimizer.param_groups[0]["lr"])
        if self.critic_optimizer is not None:
            set_optimizer(self.critic_optimizer, config, config.critic.value_lr)
        if config.optim.max_tokens_per_microbatch != old.optim.max_tokens_per_microbatch:
            self.microbatch_tokens = microbatch_tokens(config, self.policy)
        if reward is not None:
            former, self.reward = self.reward, reward
            former.close()
            reward.warm_up()
        else:
            self.reward = self.reward.with_weights([part.weight for part in components(config)])

    def close(self) -> None:
        """Free worker processes, and let kept states reach the disk. Safe to call twice."""
        if not self._closed:
            self._closed = True
            self.ahead.close()
            if isinstance(self.sampler, FastSampler):
                self.sampler.close()
            if self.reverifying is not None:
                self.reverifying.close()
            self.history.close()
            self.reward.close()
            if self.tuning.waiting is not None and self.tuning.waiting.reward is not None:
                self.tuning.waiting.reward.close()
            give_back_freed_memory()


def _load_policy(config: RunConfig, say: Callable[[str, str], None]) -> Policy:
    """The policy, in the precision and with the attention that the update needs."""
    if config.algorithm.update != "trust_region":
        return load_policy(config.model, seed=config.run.seed, say=say)
    # Products with the Fisher matrix differentiate twice, and conjugate gradient needs their digits.
    return load_policy(replace(config.model, dtype="fp32"), seed=config.run.seed, say=say, attention="eager")


def _warner(emit: Emit) -> Callable[[str], None]:
    """Tells what the sampler has to say."""
    return lambda line: emit(Notice(time=time.time(), level="warning", message=line, source="sampler"))


def _pick_sampler(config: RunConfig, policy: Policy, emit: Emit) -> Sampler:
    """The sampler asked for; where the fast one cannot take the model, the run says so."""
    try:
        return make_sampler(policy, config.sampling.sampler, _warner(emit))
    except ValueError as error:
        raise PolicyError(str(error)) from error


def _hash_learner(
    digest: hashlib._Hash, parameters: Mapping[str, torch.nn.Parameter], optimizer: torch.optim.AdamW
) -> None:
    named: list[tuple[str, Tensor]] = []
    for name, parameter in parameters.items():
        named.append((name, parameter))
        state = optimizer.state.get(parameter, {})
        named += [(key, torch.as_tensor(value)) for key, value in sorted(state.items())]
    for (name, _), tensor in zip(named, on_host([tensor for _, tensor in named]), strict=True):
        digest.update(name.encode())
        digest.update(raw(tensor))


def make_optimizer(
    config: RunConfig, parameters: Mapping[str, torch.nn.Parameter], lr: float
) -> torch.optim.AdamW:
    """AdamW over parameters in float32."""
    optim = config.optim
    return torch.optim.AdamW(
        list(parameters.values()),
        lr=lr,
        betas=(optim.beta1, optim.beta2),
        eps=optim.eps,
        weight_decay=optim.weight_decay,
        fused=True,
    )


def set_optimizer(optimizer: torch.optim.AdamW, config: RunConfig, lr: float) -> None:
    """AdamW's settings as the config has them; its moments stay."""
    optim = config.optim
    for group in optimizer.param_groups:
        group.update(lr=lr, betas=(optim.beta1, optim.beta2), eps=optim.eps, weight_decay=optim.weight_decay)


def _load_prompts(
    config: RunConfig, policy: Policy, reward: WeightedReward, emit: Emit
) -> tuple[list[Prompt], list[Prompt]]:
    """Problems that can be judged and that fit the model's context, rendered and encoded."""
    loaded = load_problems(config.data, check_gold=reward.check_gold, need_held_out=config.eval.every > 0)
    rejected = [str(problem) for problem in loaded.rejected]

    def prepare(problems: Sequence[Problem]) -> list[Prompt]:
        prepared = []
        for problem in problems:
            rendered = render_prompt(problem, policy.tokenizer, config.data)
            ids = tuple(encode_prompt(rendered, policy.tokenizer))
            complaint = check_length(len(ids), config.sampling.max_completion_tokens, policy.context_length)
            if complaint:
                rejected.append(f"{problem.id}: {complaint}")
            else:
                prepared.append(Prompt(problem=problem, text=rendered.text, token_ids=ids))
        return prepared

    train = prepare(loaded.train)
    held_out = prepare(loaded.held_out[: config.eval.num_problems] if config.eval.every else ())
    if not train:
        raise DataError(
            f"{config.data.source}: no problem is left to train on; {len(rejected)} were kept out, "
            f"the last because {rejected[-1] if rejected else 'there were none'}"
        )
    record = DataRecord(
        source=config.data.source, num_train=len(train), num_eval=len(held_out), rejected=tuple(rejected)
    )
    emit(DataLoaded(time=time.time(), data=record))
    for line in (*loaded.notes, *(f"kept out: {line}" for line in rejected[:20])):
        emit(Notice(time=time.time(), level="warning", message=line, source="data"))
    return train, held_out


CPU_MICROBATCH_TOKENS = 4096
"""On a CPU a model of more than :data:`SMALL_PARAMETERS` is no faster with more tokens at once, and holds more."""
SMALL_PARAMETERS = 50_000_000


def microbatch_tokens(config: RunConfig, policy: Policy) -> int:
    """Padded tokens that go through the model at once: what the config allows, or fewer where more gain nothing."""
    allowed = config.optim.max_tokens_per_microbatch
    large = policy.device.type == "cpu" and policy.num_parameters > SMALL_PARAMETERS
    return min(allowed, CPU_MICROBATCH_TOKENS) if large else allowed
