r"""Matrices and vectors: reading ``\pmatrix{ a \cell b \row … }``, and working out sums, multiples and transposes.

A tree that contains matrices is *lifted*: the operations move into the cells, until a grid of scalar trees is left, or
a scalar tree without matrices (a determinant, a norm). Sizes are bounded, so this stays cheap.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, TypeAlias

from rewards.reading.values import LimitExceeded, Unreadable
from rewards.trees.exact import exact
from rewards.trees.names import UNIT_VECTORS
from rewards.trees.tree import (
    ONE,
    Apply,
    Node,
    Number,
    Op,
    Symbol,
    negate,
    operations,
    size,
    substitute,
    symbols,
)

if TYPE_CHECKING:
    from rewards.reading.expression import ExpressionParser

Grid: TypeAlias = tuple[tuple[Node, ...], ...]

ENVIRONMENTS = frozenset(("matrix", "pmatrix", "bmatrix", "Bmatrix", "vmatrix", "Vmatrix", "array", "cases"))
MAX_CELLS = 64
_MAX_DETERMINANT = 4
_MAX_POWER = 4
_MAX_NODES = 300
_ZERO = Number(Fraction(0))


def read_matrix(parser: ExpressionParser, name: str) -> Node:
    """The matrix whose environment command ``name`` is consumed already."""
    parser.enter()
    parser.expect("{")
    if name == "cases":
        return _read_cases(parser)
    rows: list[list[Node]] = [[]]
    while not parser.accept("}"):
        if parser.accept("\\row"):
            rows.append([])
        elif not parser.accept("\\cell"):
            rows[-1].append(_cell(parser))
            if sum(map(len, rows)) > MAX_CELLS:
                raise LimitExceeded(f"a matrix of more than {MAX_CELLS} cells")
    parser.depth -= 1
    rows = [row for row in rows if row]
    if not rows or len({len(row) for row in rows}) != 1:
        raise Unreadable("a matrix whose rows differ in length")
    matrix = _matrix(tuple(tuple(row) for row in rows))
    return parser.node(Apply(Op.DETERMINANT, (matrix,))) if name in ("vmatrix", "Vmatrix") else matrix


def _cell(parser: ExpressionParser) -> Node:
    bars, parser.open_bars = parser.open_bars, 0
    cell = parser.sum()
    parser.open_bars = bars
    if parser.peek().text not in ("\\cell", "\\row", "}"):
        raise Unreadable(f"unexpected {parser.peek().text!r} in a matrix")
    return cell


def _read_cases(parser: ExpressionParser) -> Node:
    """A function by cases: equal to the same values under the same conditions, in this order."""
    parts: list[Node] = [Symbol("cases")]
    while not parser.accept("}"):
        parts.append(parser.sum())
        parser.accept(",")
        parser.accept("\\cell")
        start = parser.position
        while parser.peek().text not in ("\\row", "}") and parser.peek().kind != "end":
            parser.take()
        words = [token.text for token in parser.tokens[start : parser.position]]
        condition = "".join(word for word in words if word not in ("if", "for", "when", "text", ",", "."))
        parts.append(Symbol(condition))
        parser.accept("\\row")
    parser.depth -= 1
    return parser.node(Apply(Op.OPAQUE, tuple(parts)))


def _matrix(rows: Grid) -> Node:
    return Apply(Op.MATRIX, tuple(Apply(Op.ROW, row) for row in rows))


# -- working out


def lift(node: Node) -> Grid | Node:
    """A grid if ``node`` is a matrix, else ``node`` with every matrix in it worked out.

    Raises:
        Unreadable: an operation has no meaning for matrices, or their sizes do not fit.
        LimitExceeded: a product or determinant is too large.
    """
    if not isinstance(node, Apply) or Op.MATRIX not in operations(node):
        return node
    if node.op is Op.MATRIX:
        return tuple(tuple(row.args) for row in node.args if isinstance(row, Apply))
    if node.op is Op.POW:
        return _power(lift(node.args[0]), node.args[1])
    args = [lift(arg) for arg in node.args]
    grids = [arg for arg in args if isinstance(arg, tuple)]
    scalars = [arg for arg in args if not isinstance(arg, tuple)]
    if not grids:
        return Apply(node.op, tuple(scalars))
    if node.op is Op.NEG:
        return _each(grids[0], negate)
    if node.op is Op.ADD and not scalars:
        return _sum(grids)
    if node.op is Op.MUL:
        return _product(scalars, grids)
    if node.op is Op.DIV and isinstance(args[0], tuple) and len(scalars) == 1:
        return _each(args[0], lambda cell: _folded(Apply(Op.DIV, (cell, scalars[0]))))
    if node.op in (Op.DETERMINANT, Op.ABS):
        return _size_or_determinant(node.op, grids[0])
    raise Unreadable(f"{node.op} of a matrix")


def _each(grid: Grid, change: object) -> Grid:
    assert callable(change)
    return tuple(tuple(change(cell) for cell in row) for row in grid)


def _sum(grids: Sequence[Grid]) -> Grid:
    shapes = {(len(grid), len(grid[0])) for grid in grids}
    if len(shapes) != 1:
        raise Unreadable("a sum of matrices of different sizes")
    rows, columns = shapes.pop()
    return tuple(
        tuple(Apply(Op.ADD, tuple(grid[i][j] for grid in grids)) for j in range(columns)) for i in range(rows)
    )


def _product(scalars: Sequence[Node], grids: Sequence[Grid]) -> Grid:
    result = grids[0]
    for grid in grids[1:]:
        if sum(size(cell) for row in result for cell in row) > _MAX_NODES:
            raise LimitExceeded("a product of matrices that is too large")
        result = _times(result, grid)
    for scalar in scalars:
        result = _each(result, lambda cell, scalar=scalar: _folded(Apply(Op.MUL, (scalar, cell))))
    return result


def _times(left: Grid, right: Grid) -> Grid:
    if len(left[0]) != len(right):
        raise Unreadable("a product of matrices whose sizes do not fit")
    if len(left) * len(right) * len(right[0]) > MAX_CELLS:
        raise LimitExceeded("a product of matrices that is too large")
    return tuple(
        tuple(
            Apply(Op.ADD, tuple(Apply(Op.MUL, (row[k], right[k][j])) for k in range(len(right))))
            for j in range(len(right[0]))
        )
        for row in left
    )


def _power(base: Grid | Node, exponent: Node) -> Grid | Node:
    if not isinstance(base, tuple):
        return Apply(Op.POW, (base, exponent))
    if isinstance(exponent, Symbol) and exponent.name == "T":
        return tuple(zip(*base, strict=True))
    if isinstance(exponent, Number) and exponent.value in range(1, _MAX_POWER + 1):
        return _product((), [base] * int(exponent.value))
    raise Unreadable("a power of a matrix")


def _size_or_determinant(op: Op, grid: Grid) -> Node:
    """The determinant of a square grid; the length of a column between bars."""
    if op is Op.ABS and len(grid[0]) == 1 and len(grid) > 1:
        squares = tuple(Apply(Op.POW, (row[0], Number(Fraction(2)))) for row in grid)
        return Apply(Op.ROOT, (Apply(Op.ADD, squares), Number(Fraction(2))))
    if len(grid) != len(grid[0]):
        raise Unreadable("a determinant of a matrix that is not square")
    if len(grid) > _MAX_DETERMINANT:
        raise LimitExceeded("a determinant that is too large")
    return Apply(Op.DETERMINANT, (_determinant(grid),))


def _determinant(grid: Grid) -> Node:
    if len(grid) == 1:
        return grid[0][0]
    terms = []
    for column, head in enumerate(grid[0]):
        minor = tuple(row[:column] + row[column + 1 :] for row in grid[1:])
        term = Apply(Op.MUL, (head, _determinant(minor)))
        terms.append(term if column % 2 == 0 else negate(term))
    return Apply(Op.ADD, tuple(terms))


def _folded(node: Node) -> Node:
    """A multiple of a cell, as one number where it is rational: the factor before a matrix counts as written form."""
    try:
        value = exact(node)
    except ArithmeticError:
        return node
    return node if value is None else as_number(value)


def as_number(value: Fraction) -> Node:
    """The tree of an exact value as a person writes it: an integer, or a fraction of integers."""
    if value.denominator == 1:
        return Number(value)
    size: Node = Apply(Op.DIV, (Number(Fraction(abs(value.numerator))), Number(Fraction(value.denominator))))
    return size if value > 0 else negate(size)


# -- vectors


def components(node: Node, dimension: int) -> tuple[Node, ...] | None:
    """Components of ``3i + 4j`` in unit vectors; None if ``node`` is no such sum in ``dimension`` dimensions."""
    names = tuple(UNIT_VECTORS.values())
    used = symbols(node) & set(names)
    if not used or dimension not in (2, 3) or (dimension == 2 and names[2] in used):
        return None
    parts = []
    for wanted in (None, *names[:dimension]):
        at: dict[str, Node] = {name: ONE if name == wanted else _ZERO for name in names}
        parts.append(_folded(_without_zeros(substitute(node, at))))
    return tuple(parts[1:]) if parts[0] == _ZERO else None


def dimension_of(node: Node) -> int:
    """3 if the third unit vector occurs in ``node``, 2 if another does, else 0."""
    used = symbols(node) & set(UNIT_VECTORS.values())
    return 0 if not used else 3 if UNIT_VECTORS["unitK"] in used else 2


def _without_zeros(node: Node) -> Node:
    """Drop products with a literal zero and the zeros in sums, which a substitution leaves behind."""
    if not isinstance(node, Apply):
        return node
    args = tuple(_without_zeros(arg) for arg in node.args)
    if (node.op is Op.MUL and _ZERO in args) or (node.op in (Op.NEG, Op.DIV) and args[0] == _ZERO):
        return _ZERO
    if node.op is Op.ADD:
        args = tuple(arg for arg in args if arg != _ZERO) or (_ZERO,)
    if node.op is Op.MUL:
        args = tuple(arg for arg in args if arg != ONE) or (ONE,)
    if node.op in (Op.ADD, Op.MUL) and len(args) == 1:
        return args[0]
    return Apply(node.op, args)
