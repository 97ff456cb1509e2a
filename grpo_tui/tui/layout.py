"""Where every panel stands: one pure function from a terminal size to regions.

Three size classes (tiny, narrow, wide). Panels stack in columns; where height is short the least important
ones are left out rather than squeezed. In the narrow class, Enter drills down instead of showing all at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from textual.geometry import Region

WIDE = 100
TINY = (60, 16)
CHAIN = ("groups", "answers", "response")
"""Panels from the outside in; Enter goes right, Esc left."""
ROOM_FOR_EVALS = 17
"""Narrow screens: rows of the left column from which on held-out accuracy has a panel beside its line in Health."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One panel in a column: rows it needs, rows it likes, share of what is left, and rank (0 stays longest)."""

    id: str
    least: int
    ideal: int
    grow: int = 0
    rank: int = 0


@dataclass(frozen=True, slots=True)
class Shape:
    """What the plan depends on besides the size."""

    loading: bool = False
    failed: int = 0
    """Lines that the failure panel needs; 0 hides it."""
    browsing: bool = False
    acted: int = 0
    """Lines about why the run stopped and what was changed by hand."""
    drill: str = "groups"
    zoom: str = ""
    num_groups: int = 8
    group_size: int = 8
    charting: bool = False
    """Narrow screens: the curve in the place of the trends."""


def size_class(width: int, height: int) -> str:
    """``tiny``, ``narrow`` or ``wide``."""
    if width < TINY[0] or height < TINY[1]:
        return "tiny"
    return "wide" if width >= WIDE else "narrow"


def stack(x: int, y: int, width: int, height: int, slots: Sequence[Slot]) -> dict[str, Region]:
    """Give each slot its rows, dropping those of the worst rank until the rest fit."""
    kept = list(slots)
    while len(kept) > 1 and sum(slot.least for slot in kept) > height:
        kept.remove(max(kept, key=lambda slot: slot.rank))
    rows = {slot.id: min(slot.least, height) for slot in kept}
    spare = height - sum(rows.values())
    for slot in sorted(kept, key=lambda slot: slot.rank):
        more = max(0, min(spare, slot.ideal - rows[slot.id]))
        rows[slot.id] += more
        spare -= more
    growing = [slot for slot in kept if slot.grow] or kept[-1:]
    shares = sum(slot.grow or 1 for slot in growing)
    for slot in growing[1:]:
        more = spare * (slot.grow or 1) // shares
        rows[slot.id] += more
    rows[growing[0].id] = height - sum(n for id, n in rows.items() if id != growing[0].id)
    regions = {}
    for slot in kept:
        regions[slot.id] = Region(x, y, width, rows[slot.id])
        y += rows[slot.id]
    return regions


def plan(width: int, height: int, shape: Shape) -> Mapping[str, Region]:
    """Place the panels of the Live screen; those not named are hidden."""
    kind = size_class(width, height)
    if kind == "tiny":
        return {"brief": Region(0, 0, width, height)}
    head = 3
    regions = {"header": Region(0, 0, width, head), "keys": Region(0, height - 1, width, 1)}
    top, bottom = head, height - 1
    if shape.browsing and not shape.loading:
        regions["banner"] = Region(0, top, width, 1)
        top += 1
    if shape.acted:
        regions["acts"] = Region(0, top, width, shape.acted)
        top += shape.acted
    if shape.failed:
        rows = min(shape.failed + 2, max(4, (bottom - top) // 3))
        regions["failure"] = Region(0, top, width, rows)
        top += rows
    if shape.loading:
        events = 6 if bottom - top >= 16 else 0
        regions["loading"] = Region(0, top, width, bottom - top - events)
        if events:
            regions["events"] = Region(0, bottom - events, width, events)
        return regions
    if shape.zoom:
        regions[shape.zoom] = Region(0, top, width, bottom - top)
        return regions
    if kind == "wide":
        regions.update(_wide(width, top, bottom, shape))
    else:
        regions.update(_narrow(width, top, bottom, shape))
    return regions


def _wide(width: int, top: int, bottom: int, shape: Shape) -> dict[str, Region]:
    rows = bottom - top
    events = 10 if rows >= 50 else 6 if rows >= 32 else 4 if rows >= 24 else 0
    body = rows - events
    left = min(46, 36 + max(0, width - 120) // 5)
    middle = 50 + max(0, width - 120) * 2 // 5 if width >= 120 else 46
    right = width - left - middle
    if width < 115:
        left = max(28, width - 46 - 30)
        middle, right = 46, width - left - 46
    groups, answers = shape.num_groups + 3, shape.group_size + 3
    regions = stack(
        0,
        top,
        left,
        body,
        [
            Slot("trends", 6, 11),
            Slot("chart", 9, 14, grow=1, rank=3),
            Slot("evals", 4, 5, rank=2),
            *([] if events else [Slot("health", 3, 5, rank=1)]),
        ],
    )
    regions |= stack(
        left,
        top,
        middle,
        body,
        [
            Slot("groups", 5, min(groups, 20), grow=1),
            Slot("answers", 5, min(answers, 20), grow=1),
            Slot("prompt", 4, 8, grow=1, rank=1),
        ],
    )
    regions |= stack(
        left + middle, top, right, body, [Slot("response", 5, 8, grow=1), Slot("why", 7, 17, rank=1)]
    )
    if events:
        regions["health"] = Region(0, bottom - events, left, events)
        regions["events"] = Region(left, bottom - events, width - left, events)
    return regions


def _narrow(width: int, top: int, bottom: int, shape: Shape) -> dict[str, Region]:
    rows = bottom - top
    groups, answers = shape.num_groups + 3, shape.group_size + 3
    if shape.drill == "answers":
        slots = [
            Slot("answers", 5, min(answers, 16)),
            Slot("prompt", 4, 7, rank=2),
            Slot("why", 5, 9, grow=1, rank=1),
        ]
        return stack(0, top, width, rows, slots)
    if shape.drill == "response":
        slots = [
            Slot("response", 5, 7, grow=1),
            Slot("why", 6, 11, rank=1),
            Slot("prompt", 3, 5, rank=2),
        ]
        return stack(0, top, width, rows, slots)
    why = 8 if rows >= 20 else 5 if rows >= 14 else 0
    events = 6 if rows >= 30 else 3 if rows >= 26 else 0
    body = rows - why - events
    left = min(34, width // 2 - 8)
    learning = Slot("chart", 6, 9, grow=1) if shape.charting else Slot("trends", 5, 7, grow=1)
    slots = [learning, Slot("health", 3, 5, rank=1)]
    if body >= ROOM_FOR_EVALS:
        slots.append(Slot("evals", 3, 4, rank=2))
    regions = stack(0, top, left, body, slots)
    regions |= stack(
        left,
        top,
        width - left,
        body,
        [Slot("groups", max(5, min(groups, body)), groups, grow=1), Slot("answers", 5, answers, rank=1)],
    )
    if why:
        regions["why"] = Region(0, top + body, width, why)
    if events:
        regions["events"] = Region(0, bottom - events, width, events)
    return regions
