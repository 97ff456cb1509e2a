"""What is to be run: from the terms of a comparison to a list of runs, each a whole config and a folder. Pure.

Everything that must be equal is equal by the config: a run's adapter, its order of prompts and its random streams are
functions of ``run.seed``, and the tokens it generates end with ``run.max_tokens``. Only the algorithm's own parts and its
step size differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from grpo_tui.config.errors import ConfigError, nearest
from grpo_tui.config.load import TracedConfig, trace_config
from grpo_tui.config.schema import ALGORITHM_NAMES, RunConfig
from grpo_tui.config.settings import value_of
from grpo_tui.config.validate import validate
from grpo_tui.engine.paths import anchored

SWEEP_SEED_OFFSET = 1000
"""The sweep's seed lies this far above ``run.seed``: beyond the seeds measured, and the same however many those are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What was asked for. ``factors`` multiply the config's own step size."""

    algorithms: tuple[str, ...]
    num_seeds: int
    max_tokens: int
    factors: tuple[float, ...]
    sweep_tokens: int
    preset: str | None = None
    config_file: Path | None = None
    overrides: tuple[str, ...] = ()

    @property
    def sweeps(self) -> bool:
        """Whether there is anything to choose."""
        return len(self.factors) > 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRun:
    """One run. ``factor`` says how its step size compares with the config's own."""

    name: str
    algorithm: str
    measured: bool
    """False: it belongs to the sweep."""
    factor: float
    config: RunConfig
    run_dir: Path

    @property
    def seed(self) -> int:
        """Seed of everything random in it."""
        return self.config.run.seed

    @property
    def step_size(self) -> float:
        """Its learning rate; with a trust region its limit of KL."""
        return step_size_of(self.config)

    @property
    def config_file(self) -> Path:
        """Where its config is written for the process that runs it."""
        return self.run_dir.parent.parent / "configs" / f"{self.run_dir.parent.name}-{self.name}.toml"


def parse_algorithms(text: str) -> tuple[str, ...]:
    """Return the names in a comma list, or all of them for ``all``.

    Raises:
        ConfigError: a name is not known, stands twice, or there is none.
    """
    where = f"--algorithms {text}"
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if names == ("all",):
        return ALGORITHM_NAMES
    if not names:
        raise ConfigError(
            where, "", f"must name algorithms, for example grpo,rloo; there are {', '.join(ALGORITHM_NAMES)}"
        )
    for name in names:
        if name not in ALGORITHM_NAMES:
            close = nearest(name, ALGORITHM_NAMES)
            hint = f"did you mean '{close}'?" if close else f"there are {', '.join(ALGORITHM_NAMES)}"
            raise ConfigError(where, "", f"there is no algorithm '{name}'; {hint}")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(where, "", f"'{twice}' stands twice; name each algorithm once")
    return names


def base_configs(terms: Terms) -> dict[str, RunConfig]:
    """Return each algorithm's config, with its own step size and the seed as they were given.

    Raises:
        ConfigError: the settings cannot be used, or would not give equal terms.
    """
    for override in terms.overrides:
        if override.partition("=")[0].strip() == "algorithm.name":
            raise ConfigError(f"--set {override}", "", "the algorithms compared are those of --algorithms")
    return {name: _base_config(terms, name) for name in terms.algorithms}


def _traced(terms: Terms, algorithm: str) -> TracedConfig:
    overrides = (*terms.overrides, f"algorithm.name={algorithm}")
    preset = terms.preset or (None if terms.config_file else "tiny")
    return trace_config(preset=preset, file=terms.config_file, overrides=overrides)


def _base_config(terms: Terms, name: str) -> RunConfig:
    config = anchored(_traced(terms, name).config)
    if config.optim.schedule != "constant":
        message = (
            f"is '{config.optim.schedule}', which needs the number of steps beforehand, but a comparison ends by tokens; "
            "set it to 'constant'"
        )
        raise ConfigError("compare", "optim.schedule", message)
    if config.optim.lr == 0:
        raise ConfigError(
            "compare", "optim.lr", "is 0, so no algorithm would learn; give the middle of the sweep"
        )
    return config


def plan_sweep(terms: Terms, configs: Mapping[str, RunConfig], out: Path) -> list[PlannedRun]:
    """Return the runs that choose step sizes: every algorithm with every factor, on one seed that is not measured."""
    if not terms.sweeps:
        return []
    return [
        _planned(
            config,
            name,
            factor,
            terms.sweep_tokens,
            seed=config.run.seed + SWEEP_SEED_OFFSET,
            out=out,
            measured=False,
        )
        for name, config in configs.items()
        for factor in terms.factors
    ]


def plan_measured(
    terms: Terms, configs: Mapping[str, RunConfig], factors: Mapping[str, float], out: Path
) -> list[PlannedRun]:
    """Return the runs that are measured, seed by seed, of each algorithm that has a factor."""
    return [
        _planned(
            config,
            name,
            factors[name],
            terms.max_tokens,
            seed=config.run.seed + number,
            out=out,
            measured=True,
        )
        for number in range(terms.num_seeds)
        for name, config in configs.items()
        if name in factors
    ]


def passed_over(terms: Terms, configs: Mapping[str, RunConfig], out: Path) -> list[str]:
    """Return the settings, as ``key=value``, that were set and that a comparison decides all the same.

    When a run ends, when it evaluates and saves, its name, what it measures.
    """
    name, base = next(iter(configs.items()))
    origins = _traced(terms, name).origins
    # The first seed with the config's own step size: nothing of it differs but what is decided.
    first = plan_measured(replace(terms, num_seeds=1), {name: base}, {name: 1.0}, out)[0]
    given = ("--set ",) if terms.config_file is None else ("--set ", f"{terms.config_file}")
    return [
        f"{key}={value_of(base, key)}"
        for key, origin in origins.items()
        if origin.startswith(given) and value_of(first.config, key) != value_of(base, key)
    ]


def _planned(
    base: RunConfig, algorithm: str, factor: float, max_tokens: int, *, seed: int, out: Path, measured: bool
) -> PlannedRun:
    name = f"{algorithm}-seed{seed}" if measured else f"{algorithm}-x{factor:.4g}"
    steps = _enough_steps(base, max_tokens)
    config = with_step_size(base, step_size_of(base) * factor)
    config = replace(
        config,
        algorithm=replace(config.algorithm, measure_kl_step=measured, measure_gradient_noise=measured),
        # Divisible by no step but the first and the last: measured before and after, and not in between.
        eval=replace(config.eval, every=steps if measured else 0),
        run=replace(
            config.run,
            name=name,
            seed=seed,
            steps=steps,
            max_tokens=max_tokens,
            checkpoint_every=steps,
            keep_checkpoints=1,
        ),
    )
    validate(config, where=f"compare {algorithm}")
    run_dir = out / ("runs" if measured else "sweep") / name
    return PlannedRun(
        name=name, algorithm=algorithm, measured=measured, factor=factor, config=config, run_dir=run_dir
    )


def _enough_steps(config: RunConfig, max_tokens: int) -> int:
    """A number of steps that cannot be reached before the tokens are: every completion has one token at least."""
    num_completions = config.sampling.prompts_per_step * config.sampling.group_size
    return max(max_tokens // num_completions + 1, config.optim.warmup_steps + 1)


def step_size_key(config: RunConfig) -> str:
    """The setting that says how far one update goes."""
    return "trust_region.kl_limit" if config.algorithm.update == "trust_region" else "optim.lr"


def step_size_of(config: RunConfig) -> float:
    """Value of :func:`step_size_key`."""
    return config.trust_region.kl_limit if config.algorithm.update == "trust_region" else config.optim.lr


def with_step_size(config: RunConfig, value: float) -> RunConfig:
    """Return the config with another step size."""
    if config.algorithm.update == "trust_region":
        return replace(config, trust_region=replace(config.trust_region, kl_limit=value))
    return replace(config, optim=replace(config.optim, lr=value))


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepResult:
    """What one factor of the sweep gave. ``reward`` is None where its run failed."""

    algorithm: str
    factor: float
    step_size: float
    reward: float | None
    """Mean training reward of the last quarter of its steps."""
    steps: int = 0
    tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The factor that an algorithm is measured with."""

    algorithm: str
    factor: float
    step_size: float
    at_edge: bool
    """It is the smallest or the largest that was tried: a better one may lie beyond."""


def choose(results: Sequence[SweepResult]) -> dict[str, Choice]:
    """Return the factor with the most reward for each algorithm; of equal ones the smallest step.

    An algorithm all of whose runs failed has none.
    """
    chosen: dict[str, Choice] = {}
    for algorithm in dict.fromkeys(result.algorithm for result in results):
        tried = [result for result in results if result.algorithm == algorithm]
        good = [(result.reward, -result.factor, result) for result in tried if result.reward is not None]
        if good:
            best = max(good, key=lambda item: item[:2])[2]
            factors = [result.factor for result in tried]
            chosen[algorithm] = Choice(
                algorithm=algorithm,
                factor=best.factor,
                step_size=best.step_size,
                at_edge=best.factor in (min(factors), max(factors)),
            )
    return chosen


def without_sweep(terms: Terms, configs: Mapping[str, RunConfig]) -> dict[str, Choice]:
    """The one factor there is, for every algorithm."""
    (factor,) = terms.factors
    return {
        name: Choice(algorithm=name, factor=factor, step_size=step_size_of(config) * factor, at_edge=False)
        for name, config in configs.items()
    }
