"""Which problems a step trains on: a pure function of the step, so that a resumed run needs no cursor."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class ProblemOrder:
    """Passes over the problems, each in a new order that the seed decides.

    A pass holds every problem once. A step that begins in one pass and ends in the next holds no problem
    twice, as long as there are as many problems as the step has prompts: those that would return too early
    change places with later ones of their pass.
    """

    num_problems: int
    seed: int
    shuffle: bool = True
    _cache: OrderedDict[tuple[int, int], Sequence[int]] = field(
        default_factory=OrderedDict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if self.num_problems < 1:
            raise ValueError(f"num_problems must be at least 1, not {self.num_problems}")

    def for_step(self, step: int, prompts_per_step: int) -> list[int]:
        """Return the problems of a step, as indices.

        Args:
            step: the step, counted from 1.
            prompts_per_step: how many prompts each step has.
        """
        if step < 1 or prompts_per_step < 1:
            raise ValueError(f"step {step} and prompts_per_step {prompts_per_step} must be at least 1")
        position = (step - 1) * prompts_per_step
        end = position + prompts_per_step
        problems: list[int] = []
        while position < end:
            number, offset = divmod(position, self.num_problems)
            taken = self._pass(number, prompts_per_step)[offset : offset + end - position]
            problems += taken
            position += len(taken)
        return problems

    def _pass(self, number: int, size: int) -> Sequence[int]:
        """Return the order of a pass, so changed that no step of ``size`` holds a problem twice."""
        if not self.shuffle:
            return range(self.num_problems)
        num_before = number * self.num_problems % size
        if number == 0 or num_before == 0 or size > self.num_problems:
            return self._shuffled(number)
        if (number, size) not in self._cache:
            # Putting off changes no place from ``size`` on. So the last problems of the pass before are those
            # it was shuffled to, unless the pass is so short that its head and its tail meet.
            is_long = self.num_problems >= 2 * size
            before = self._shuffled(number - 1) if is_long else self._short_pass(number - 1, size)
            order = _put_off(self._shuffled(number), set(before[-num_before:]), size - num_before)
            self._remember((number, size), order)
        return self._cache[number, size]

    def _short_pass(self, number: int, size: int) -> Sequence[int]:
        """Return a pass after making those it depends on, from the last that is known or depends on none."""
        first = number
        while first * self.num_problems % size and (first, size) not in self._cache:
            first -= 1
        for earlier in range(first, number):
            self._pass(earlier, size)
        return self._pass(number, size)

    def _shuffled(self, number: int) -> Sequence[int]:
        # A pass by itself is remembered under size 0.
        if (number, 0) not in self._cache:
            order = list(range(self.num_problems))
            # Text seeds are hashed with SHA-512: the same on every machine, unlike hash().
            random.Random(f"{self.seed}/{number}").shuffle(order)
            self._remember((number, 0), order)
        return self._cache[number, 0]

    def _remember(self, key: tuple[int, int], order: Sequence[int]) -> None:
        self._cache[key] = order
        while len(self._cache) > 4:
            self._cache.popitem(last=False)


def with_stand_ins(indices: Sequence[int], away: Collection[int], substitutes: Sequence[int]) -> list[int]:
    """Return a step's problems with others in the places of those that are left out; the rest keep their places.

    A pure function of its arguments.

    Args:
        indices: the step's problems.
        away: those that do not come.
        substitutes: an order of all problems, from which the first that do come and are not in the step are taken;
            where there are too few, some come twice.
    """
    present = {index for index in indices if index not in away}
    able = [index for index in substitutes if index not in away]
    fresh = [index for index in able if index not in present]
    spare = iter(fresh + able * len(indices))
    return [next(spare, index) if index in away else index for index in indices]


def _put_off(order: Sequence[int], seen: set[int], num_first: int) -> list[int]:
    """Return the order with those of ``seen`` among the first changed for the next that are not in it."""
    changed = list(order)
    later = num_first
    for index in range(num_first):
        if changed[index] in seen:
            while changed[later] in seen:
                later += 1
            changed[index], changed[later] = changed[later], changed[index]
            later += 1
    return changed
