"""Rewards by name: built in, registered with :func:`reward`, installed, or ``package.module:function`` of the user's own.

Another package offers rewards by entry points of the group ``grpo_tui.rewards``: they are listed by name without
being imported, and loaded when one is asked for.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, TypeVar

from rewards.base import Reward
from rewards.failures import CONTAINED, describe
from rewards.functions import FunctionReward, required_parameters

_Factory = TypeVar("_Factory", bound=Callable[..., Any])

_BUILT_IN = {
    "math": "rewards.math_verifier:MathVerifier",
    "math_lenient": "rewards.math_verifier:LenientMathVerifier",
    "format": "rewards.format:FormatReward",
    "length": "rewards.length:LengthReward",
    "overlong": "rewards.length:OverlongReward",
    "repetition": "rewards.length:RepetitionReward",
    "learned": "rewards.learned:LearnedReward",
}
ENTRY_POINTS = "grpo_tui.rewards"
_registered: dict[str, Callable[..., Any]] = {}


class UnknownRewardError(ValueError):
    """No reward of this name, or it cannot be loaded; the message says what would be valid."""


def reward(name: str) -> Callable[[_Factory], _Factory]:
    """Register a reward class, a factory without required arguments, or a plain reward function under ``name``.

    A plain function takes ``(completion, gold)`` and returns a number, or takes a list of samples and returns one
    number or :class:`~rewards.base.Score` for each.
    """
    if not name or ":" in name:
        raise ValueError(f"{name!r} is no name for a reward: it must be non-empty and without a colon")

    def register(factory: _Factory) -> _Factory:
        if name in _BUILT_IN:
            raise ValueError(f"the reward name {name!r} is built in")
        _registered[name] = factory
        return factory

    return register


def available_rewards() -> list[str]:
    """All names that :func:`get_reward` knows without a colon."""
    return sorted({*_BUILT_IN, *_registered, *_installed()})


def get_reward(name: str, **options: Any) -> Reward:
    """Return a new reward.

    Args:
        name: a registered name, ``package.module:attribute``, or ``path/to/file.py:attribute``.
        options: keyword arguments for the reward's class or factory.

    Raises:
        UnknownRewardError: no such reward, or it does not take these options.
    """
    if name in _registered:
        target, label = _registered[name], name
    elif name in _BUILT_IN:
        target, label = _load(_BUILT_IN[name]), name
    elif ":" in name:
        target, label = _load(name), name.rpartition(":")[2]
    elif name in (installed := _installed()):
        target, label = _load_installed(installed[name]), name
    else:
        raise UnknownRewardError(_no_such_reward(name))
    return _build(target, label, name, options)


def _build(target: Any, label: str, name: str, options: dict[str, Any]) -> Reward:
    if isinstance(target, Reward) and not inspect.isclass(target):
        return target
    if not callable(target):
        raise UnknownRewardError(f"reward {name!r} is a {type(target).__name__}, not a class or function")
    if not inspect.isclass(target) and required_parameters(target) > 0:
        if options:
            raise UnknownRewardError(f"reward {name!r} is a plain function and takes no options")
        return FunctionReward(label, target)
    try:
        built = target(**options)
        if isinstance(built, Reward):  # which may run a property of the user's
            return built
    except CONTAINED as problem:
        reason = str(problem) if type(problem) in (TypeError, ValueError) else describe(problem)
        raise UnknownRewardError(f"reward {name!r} cannot be built: {reason}") from problem
    raise UnknownRewardError(f"reward {name!r} built a {type(built).__name__}, which is not a reward")


def _installed() -> dict[str, EntryPoint]:
    """Rewards that installed packages offer, by name; nothing is imported."""
    return {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}


def _load_installed(entry: EntryPoint) -> Any:
    try:
        return entry.load()
    except CONTAINED as problem:  # whatever the package raises while it is imported
        message = f"reward {entry.name!r}: cannot load {entry.value!r}: {describe(problem)}"
        raise UnknownRewardError(message) from problem


def _load(path: str) -> Any:
    """Import ``module:attribute`` or ``file.py:attribute``."""
    module_name, _, attribute = path.rpartition(":")
    if not module_name or not attribute:
        raise UnknownRewardError(f"{path!r} should be written module:function or file.py:function")
    try:
        module = (
            _load_file(module_name) if module_name.endswith(".py") else importlib.import_module(module_name)
        )
    except CONTAINED as problem:  # whatever the user's module raises while it is imported
        message = f"reward {path!r}: cannot import {module_name!r}: {describe(problem)}"
        raise UnknownRewardError(message) from problem
    try:
        return getattr(module, attribute)
    except AttributeError:
        near = difflib.get_close_matches(attribute, [n for n in vars(module) if not n.startswith("_")])
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise UnknownRewardError(f"reward {path!r}: {module_name!r} has no {attribute!r}{hint}") from None


def _load_file(file: str) -> Any:
    path = Path(file).expanduser().resolve()
    name = f"_reward_{path.stem}_{hashlib.sha256(bytes(path)).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look the module up by its name
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _no_such_reward(name: str) -> str:
    names = available_rewards()
    near = difflib.get_close_matches(name, names, n=2, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return f"unknown reward {name!r}: {hint}known are {', '.join(names)}; your own is written module:function"
