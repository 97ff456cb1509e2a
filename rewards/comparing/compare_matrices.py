"""Matrices and vectors: entry by entry. A column, a tuple, ``<1, 2>`` and ``i + 2j`` are one vector; a row is not."""

from __future__ import annotations

from rewards.comparing.outcome import Outcome, right, wrong
from rewards.comparing.tools import Tools, other_kind
from rewards.reading.matrices import Grid, components, dimension_of
from rewards.reading.values import Matrix, Ordered, Scalar, Unordered, Value
from rewards.trees.tree import Apply, Node, Op


def as_matrices(tools: Tools, gold: Value, answer: Value) -> Outcome | None:
    """Compare as matrices or vectors; None where neither is one that only this can read."""
    if not (_is_own(gold) or _is_own(answer)):
        return None
    wanted, given = _grid(gold, answer), _grid(answer, gold)
    if wanted is not None and given is not None:
        return _entries(tools, wanted, given)
    both_scalars = isinstance(gold, Scalar) and isinstance(answer, Scalar)
    if both_scalars and wanted is None and given is None:
        return None
    return other_kind(gold, answer)


def _is_own(value: Value) -> bool:
    """Tell a matrix or a sum of unit vectors, which is no complex number, from anything else."""
    return isinstance(value, Matrix) or (isinstance(value, Scalar) and dimension_of(value.node) > 0)


def _grid(value: Value, other: Value) -> Grid | None:
    """Entries of a matrix, tuple, list of lists or sum of unit vectors."""
    if isinstance(value, Matrix):
        return value.rows
    if isinstance(value, Scalar):
        if isinstance(value.node, Apply) and value.node.op is Op.BINOMIAL and isinstance(other, Matrix):
            return tuple((part,) for part in value.node.args)  # \\binom{1}{2} is also typed for a column
        parts = components(value.node, max(dimension_of(value.node), _height(other)))
        return None if parts is None else tuple((part,) for part in parts)
    if isinstance(value, (Ordered, Unordered)):
        return _nested(value) or _column(value)
    return None


def _height(value: Value) -> int:
    """Number of rows, where a sum of unit vectors is compared with ``value``."""
    if isinstance(value, Matrix):
        return len(value.rows)
    if isinstance(value, Scalar):
        return dimension_of(value.node)
    return len(value.items) if isinstance(value, Ordered) else 0


def _column(value: Ordered | Unordered) -> Grid | None:
    """``(1, 2)`` or ``[1, 2]`` as a column; a set has no order."""
    if isinstance(value, Unordered) or value.opening + value.closing not in ("()", "[]"):
        return None
    cells = _cells(value)
    return None if cells is None else tuple((cell,) for cell in cells)


def _nested(value: Ordered | Unordered) -> Grid | None:
    """``[[1, 2], [3, 4]]``, also with braces."""
    rows = []
    for item in value.items:
        braces = isinstance(item, Unordered) and item.kind == "set"
        if not braces and not (isinstance(item, Ordered) and item.opening == "["):
            return None
        assert isinstance(item, (Ordered, Unordered))
        cells = _cells(item)
        if cells is None:
            return None
        rows.append(cells)
    return tuple(rows) if rows and len({len(row) for row in rows}) == 1 else None


def _cells(value: Ordered | Unordered) -> tuple[Node, ...] | None:
    cells = [item.node for item in value.items if isinstance(item, Scalar)]
    return tuple(cells) if cells and len(cells) == len(value.items) else None


def _entries(tools: Tools, wanted: Grid, given: Grid) -> Outcome:
    size, their_size = (len(wanted), len(wanted[0])), (len(given), len(given[0]))
    if size != their_size:
        flipped = size == their_size[::-1] and _all_equal(tools, wanted, _transposed(given))
        shown = f"it is {their_size[0]}×{their_size[1]}, not {size[0]}×{size[1]}"
        return wrong("different size", shown, "order" if flipped else "")
    failed: list[tuple[int, int, Outcome]] = []
    for i, row in enumerate(wanted):
        for j, cell in enumerate(row):
            outcome = tools.scalars(cell, given[i][j])
            if not outcome.correct:
                failed.append((i, j, outcome))
                if len(failed) > 1:
                    return wrong("different entries", "several entries differ", _slip(tools, wanted, given))
    if not failed:
        return right("same entries", "every entry agrees")
    i, j, outcome = failed[0]
    return wrong("different entry", f"the entry in row {i + 1}, column {j + 1} differs", outcome.near_miss)


def _slip(tools: Tools, wanted: Grid, given: Grid) -> str:
    """A transposed matrix, or a vector whose entries stand in another order."""
    square = len(wanted) == len(wanted[0])
    if square and _all_equal(tools, wanted, _transposed(given)):
        return "order"
    turned = len(wanted[0]) == 1 and _all_equal(tools, wanted, given[::-1])
    return "order" if turned else ""


def _transposed(grid: Grid) -> Grid:
    return tuple(zip(*grid, strict=True))


def _all_equal(tools: Tools, wanted: Grid, given: Grid) -> bool:
    return all(
        tools.scalars(cell, other).correct
        for row, other_row in zip(wanted, given, strict=True)
        for cell, other in zip(row, other_row, strict=True)
    )
