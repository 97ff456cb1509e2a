"""Where the panels of the Group and Response rooms stand: pure functions from a terminal size to regions."""

from __future__ import annotations

from collections.abc import Mapping

from textual.geometry import Region

from grpo_tui.tui.layout import Slot, size_class, stack

RESPONSE_PANES = ("token", "verifier", "versus", "fork")
"""What may stand below the tokens where there is no room beside them."""
GROUP_PANES = ("versus", "histogram", "earlier", "facts", "response")
"""The same for the group's answers."""

BESIDE = 76
"""Width from which the histogram of a group has room beside another panel."""


def plan_response(
    width: int,
    height: int,
    *,
    pane: str,
    diff: bool,
    zoom: str = "",
    forked: bool = False,
    acted: int = 0,
) -> Mapping[str, Region]:
    """Place the panels of the Response room; those not named are hidden.

    ``forked``: there is a fork to show beside the tokens. ``acted``: lines below the head about acts by hand.
    """
    kind = size_class(width, height)
    head = 2 if kind == "tiny" else 3
    regions, top, bottom = _frame(width, height, head, acted)
    body = bottom - top
    if zoom:
        regions[zoom] = Region(0, top, width, body)
    elif kind == "wide":
        side = max(42, width * 2 // 5)
        slots = [Slot("tokens", 5, 9, grow=2), Slot("token", 8, 9, grow=1, rank=1)]
        regions |= stack(0, top, width - side, body, slots)
        slots = [Slot("verifier", 6, 15, grow=1)]
        below = Slot("fork", 7, 20, grow=2) if forked else Slot("prompt", 4, 8, grow=1, rank=1)
        slots.append(Slot("versus", 7, 13, grow=2) if diff else below)
        regions |= stack(width - side, top, side, body, slots)
    else:
        least, ideal = (3, 3) if kind == "tiny" else (7, 9)
        slots = [Slot("tokens", 3, 6, grow=1), Slot(pane, least, ideal, grow=1, rank=1)]
        regions |= stack(0, top, width, body, slots)
    return regions


def plan_group(
    width: int, height: int, *, pane: str, group_size: int, zoom: str = "", acted: int = 0
) -> Mapping[str, Region]:
    """Place the panels of the Group room; those not named are hidden."""
    kind = size_class(width, height)
    regions, top, bottom = _frame(width, height, 2, acted)
    body = bottom - top
    answers = group_size + 3
    if zoom:
        regions[zoom] = Region(0, top, width, body)
    elif kind == "wide":
        left = max(62, width * 11 // 20)
        slots = [
            Slot("answers", 5, min(answers, 20), grow=1),
            Slot("versus", 6, 11, grow=1, rank=1),
            Slot("response", 4, 7, grow=1, rank=2),
        ]
        regions |= stack(0, top, left, body, slots)
        slots = [
            Slot("histogram", 4, 8, grow=1),
            Slot("earlier", 4, 9, grow=1, rank=1),
            Slot("facts", 5, 8, rank=2),
            Slot("prompt", 3, 7, grow=1, rank=3),
        ]
        regions |= stack(left, top, width - left, body, slots)
    elif kind == "narrow":
        slots = [Slot("answers", 5, min(answers, body - 6), grow=1), Slot(pane, 6, 9, grow=1, rank=1)]
        regions |= stack(0, top, width, body, slots)
        if pane != "histogram" and pane in regions and width >= BESIDE:
            x, y, _, rows = regions[pane]
            half = width * 11 // 20
            regions[pane] = Region(x, y, half, rows)
            regions["histogram"] = Region(x + half, y, width - half, rows)
    else:
        regions["answers"] = Region(0, top, width, body)
    return regions


def _frame(width: int, height: int, head: int, acted: int) -> tuple[dict[str, Region], int, int]:
    """Head, lines about acts, key bar, and the rows between them."""
    regions = {"head": Region(0, 0, width, min(head, height))}
    if acted and height > head + acted + 3:
        regions["acts"] = Region(0, head, width, acted)
        head += acted
    bottom = max(1, height - 1)
    if height > head + 1:
        regions["keys"] = Region(0, height - 1, width, 1)
    top = min(head, bottom - 1) if bottom > 1 else 0
    return regions, top, max(top + 1, bottom)
