"""What restricts a value: the integer of a family of solutions, and where a formula holds."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rewards.reading.values import Equation, Member, Relation, Scalar, Unordered, Value
from rewards.trees.tree import Symbol, symbols

_CONDITION = re.compile(
    r"\s*,?\s+(?:for|where|when|if|with|provided(?: that)?)\s+(?:all\s+|any\s+)?(?=[A-Za-z]\s*(?:[<>]|!=|\\in(?![A-Za-z])))"
)
_PARAMETER = re.compile(
    r"[\s,;(]*(?:\\quad\s*)?(?:where|for|with)?\s*(?:(?:any|all|every|some|each|an|arbitrary)\s+)?"
    r"(?:integers?\s+(?P<after>[a-z])|(?P<name>[a-z])\s*(?:\\in\s*\\Set[ZN](?:\s*_\s*\{?\s*0\s*\}?)?"
    r"|(?:is|are|being)\s+(?:an?\s+|any\s+)?(?:arbitrary\s+)?integers?|\s*integer|=\s*0\s*,\s*\\?pm.*|=\s*0\s*,\s*1\s*,.*)"
    r"|是(?:任意)?整数)\s*\)?\s*",
    re.S,
)


def comma_before_condition(text: str) -> str:
    """``x^2 for x > 0`` as ``x^2, x > 0``."""
    return _CONDITION.sub(", ", text, count=1) if " " in text and "=" not in text[:2] else text


def free_integer(text: str) -> tuple[str, str] | None:
    r"""Body and name of ``pi/2 + k pi, k \in Z``, without the clause that says k is an integer; None without one."""
    if "nteger" not in text and "\\Set" not in text and "整数" not in text and "0" not in text:
        return None
    for found in re.finditer(r"[,;(]|\s(?=where|for\b|with\b)|(?<=[\d})i])\s", text):
        clause = _PARAMETER.fullmatch(text, found.start())
        name = (clause["after"] or clause["name"]) if clause else None
        body = text[: found.start()].rstrip(" ,(")
        if name and body and name in re.sub(r"\\[A-Za-z]+", "", body):
            if re.fullmatch(rf"\s*{name}\s*", body) or re.match(rf"\\?\{{?\s*{name}\s*\\in", body):
                return None
            return body, name
    return None


def is_condition_of(values: Sequence[Value], joints: Sequence[str]) -> bool:
    """Tell ``x^2, x > 0``: a formula and where it holds."""
    if list(joints) != [","] or not isinstance(values[1], (Relation, Member)):
        return False
    second = values[1]
    if isinstance(second, Member) and isinstance(second.value, Unordered):
        return False  # k in {0, 1} picks a few of the values
    names = (
        {second.variable}
        if isinstance(second, Member)
        else {s.name for s in second.sides if isinstance(s, Symbol)}
    )
    first = values[0]
    if isinstance(first, Scalar):
        return bool(names & symbols(first.node)) and not isinstance(first.node, Symbol)
    return isinstance(first, Equation) and bool(names & symbols(first.sides[-1])) and len(first.sides) == 2


def shared_variable(before: Sequence[Value]) -> str:
    """The variable that ``x < 1 or > 3`` names once; empty where there is none."""
    first = before[0] if before else None
    if isinstance(first, Relation):
        names = [side.name for side in first.sides if isinstance(side, Symbol)]
        return names[0] if names else ""
    return ""
