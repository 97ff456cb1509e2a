r"""LaTeX commands and functions: fractions, roots, brackets, decorated letters, ``\sin^2 2x``, ``\log_2 8``."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from rewards.reading import binders, identifiers, matrices
from rewards.reading.tokens import Token
from rewards.reading.values import Unreadable
from rewards.trees.names import (
    ALIASES,
    CONSTANTS,
    DECORATIONS,
    DOTS,
    FIGURES,
    FUNCTIONS,
    GREEK,
    INVERSE,
    SEVERAL,
    UNIT_VECTORS,
    number,
    words,
)
from rewards.trees.tree import ONE, TWO, Apply, Constant, Node, Number, Op, Symbol, negate

if TYPE_CHECKING:
    from rewards.reading.expression import ExpressionParser

FRACTIONS = frozenset(("\\frac", "\\dfrac", "\\tfrac", "\\cfrac"))
_BINOMIALS = frozenset(("binom", "dbinom", "tbinom"))
_ROOTS = {"sqrt": 2, "radical": 2, "cuberoot": 3, "fourthroot": 4}
_FENCES = {"lfloor": ("\\rfloor", Op.FLOOR), "lceil": ("\\rceil", Op.CEILING)}
_BARS = {
    "absopen": "\\absclose",
    "normopen": "\\normclose",
    "lvert": "\\rvert",
    "lVert": "\\rVert",
    "|": "\\|",
    "vert": "\\vert",
    "Vert": "\\Vert",
}
_CLOSERS = words("""absclose normclose primemark rvert rVert rfloor rceil choose cell row pm mp cup cap in pmod bmod mod to rightarrow equiv prime cdot times div
    ast top degree circ { } | Vert vert setminus le ge leq geq ne neq lt gt approx sim mid quad""")
_WRITTEN_BRACKETS = {"(": ")", "{": "}", "[": "]"}
_BASELESS = Constant("logbase")
"""Base of a ``log`` written without one: natural or decimal, whichever agrees."""
_SUFFIX_PARTS = frozenset(("name", "command", "number"))


def starts_atom(command_name: str) -> bool:
    """Tell whether a command begins an operand."""
    return command_name not in _CLOSERS


def command(parser: ExpressionParser, name: str) -> Node:
    """The operand that begins with the command ``name``, which is consumed already."""
    if f"\\{name}" in FRACTIONS:
        return fraction(parser)
    if name in _ROOTS:
        return _root(parser, name)
    if name in _BINOMIALS:
        return parser.node(Apply(Op.BINOMIAL, (parser.argument(), parser.argument())))
    if name in _FENCES:
        closing, op = _FENCES[name]
        return parser.node(Apply(op, (parser.bracketed(closing),)))
    if name in _BARS:
        return _bars(parser, name)
    if name in matrices.ENVIRONMENTS:
        return matrices.read_matrix(parser, name)
    if name in binders.BINDERS:
        return binders.read_binder(parser, name)
    if name in FUNCTIONS:
        return function(parser, name)
    if name in SEVERAL:
        return several(parser, name)
    return _letterlike(parser, name)


def _letterlike(parser: ExpressionParser, name: str) -> Node:
    """Constants, Greek letters, decorated letters, figures, dots."""
    if name in CONSTANTS:
        return parser.node(CONSTANTS[name])
    if name in GREEK:
        return identifiers.letter(parser, ALIASES.get(name, name))
    if name in UNIT_VECTORS:
        return parser.node(Symbol(UNIT_VECTORS[name]))
    if name in DECORATIONS:
        return _decorated(parser, name)
    if name in FIGURES:
        return _figure(parser, name)
    if name in DOTS:
        return parser.node(Symbol("…"))
    if name == "{":
        return parser.bracketed("\\}")
    raise Unreadable(f"unknown command \\{name}")


def fraction(parser: ExpressionParser) -> Node:
    r"""The two arguments of ``\frac``, or a derivative written as one."""
    derivative = binders.derivative(parser)
    if derivative is not None:
        return derivative
    return parser.node(Apply(Op.DIV, (parser.argument(), parser.argument())))


def _root(parser: ExpressionParser, name: str) -> Node:
    r"""``\sqrt{x}``, ``\sqrt[n]{x}``, ``√12``."""
    degree: Node = Number(Fraction(_ROOTS[name]))
    if parser.accept("["):
        degree = parser.bracketed("]")
    token = parser.peek()
    if token.kind == "number":  # nobody means √1·2 by \sqrt12
        parser.take()
        return parser.node(Apply(Op.ROOT, (parser.node(number(token.text)), degree)))
    return parser.node(Apply(Op.ROOT, (parser.argument(), degree)))


def _bars(parser: ExpressionParser, name: str) -> Node:
    """An absolute value with its own kind of bars; of a matrix, its determinant."""
    return parser.bars(_BARS[name])


def _decorated(parser: ExpressionParser, name: str) -> Node:
    r"""``\vec{v}`` and ``\overline{AB}`` are names of their own; ``\overline{3+4i}`` is a conjugate."""
    tokens = parser.group()
    if tokens and all(t.kind in _SUFFIX_PARTS or t.text in ("_", "{", "}") for t in tokens):
        inside = "".join(t.text.lstrip("\\") for t in tokens)
        if not inside.isdigit():
            return parser.node(Symbol(identifiers.subscripted(parser, f"{name}({inside})")))
    if name not in ("overline", "bar", "widebar"):
        raise Unreadable(f"\\{name} over an expression")
    inner = type(parser)(tokens).whole()
    return parser.node(Apply(Op.CONJUGATE, (inner,)))


def _figure(parser: ExpressionParser, name: str) -> Node:
    r"""``\angle ABC``, ``\triangle ABC``."""
    token = parser.take()
    if token.text == "{":
        token = parser.take()
        parser.expect("}")
    if token.kind not in ("name", "number", "command"):
        raise Unreadable(f"\\{name} of nothing")
    return parser.node(Symbol(f"{name} {token.text}"))


# -- functions


def applies(parser: ExpressionParser, name: str) -> bool:
    """Tell whether the plain word ``name`` is used as a function here."""
    return FUNCTIONS[name] is not Op.OPAQUE or parser.peek().text == "("


def function(parser: ExpressionParser, name: str) -> Node:
    r"""A function applied to ``(…)`` or to the product that follows: ``\sin^2 2x``, ``\log_2 8``."""
    op, exponent = FUNCTIONS[name], None
    base = _log_base(parser, name) if op is Op.LOG else None
    if parser.peek().text in ("^", "**"):
        parser.take()
        exponent = parser.argument() if parser.peek().text != "-" else parser.signed()
        base = _log_base(parser, name) if op is Op.LOG and base in (None, _BASELESS) else base
        if exponent == negate(ONE):
            op, exponent = _inverse(op), None
    parser.inside_function += 1
    arguments = _arguments(parser, op)
    parser.inside_function -= 1
    result = parser.node(_applied(op, name, arguments, base))
    return result if exponent is None else parser.node(Apply(Op.POW, (result, exponent)))


def _inverse(op: Op) -> Op:
    if op not in INVERSE:
        raise Unreadable("an inverse function written as a power")
    return INVERSE[op]


def _applied(op: Op, name: str, arguments: list[Node], base: Node | None) -> Node:
    """The node of a function and its arguments."""
    first = arguments[0]
    if op is Op.LOG:
        if len(arguments) == 2 and base in (None, _BASELESS):
            return Apply(op, (first, arguments[1]))
        return Apply(op, (first,) if base is None else (first, base))
    if len(arguments) > 1:
        raise Unreadable(f"{name} of several arguments")
    if op is Op.ROOT:
        return Apply(op, (first, TWO if name == "sqrt" else Number(Fraction(3))))
    if name == "cis":
        return Apply(Op.EXP, (Apply(Op.MUL, (CONSTANTS["i"], first)),))
    if op is Op.OPAQUE:
        return Apply(Op.CALL, (Symbol(name), first))
    return Apply(op, (first,))


def _log_base(parser: ExpressionParser, name: str) -> Node | None:
    r"""Base of ``\log_2`` or ``log2(…)``; ten for ``lg``; None for ``ln``."""
    if name == "lg":
        return Number(Fraction(10))
    token = parser.peek()
    if token.kind == "number" and not token.after_space and parser.peek(1).text == "(":
        parser.take()
        return parser.node(number(token.text))
    if not parser.accept("_"):
        return None if name == "ln" else _BASELESS
    if parser.peek().kind == "number" and parser.peek(1).text in ("(", "{"):
        return parser.node(number(parser.take().text))
    return parser.argument()


def _arguments(parser: ExpressionParser, op: Op) -> list[Node]:
    """What a function applies to: its brackets, or the product that follows."""
    parser.enter()
    text = parser.peek().text
    if text in _WRITTEN_BRACKETS:
        parser.take()
        arguments = identifiers.several_arguments(parser, _WRITTEN_BRACKETS[text])
    elif op in (Op.ROOT, Op.ABS, Op.FLOOR, Op.CEILING):
        arguments = [parser.postfix()]
    else:
        factors = [parser.signed()]
        while _continues(parser):
            factors.append(parser.power())
        arguments = [parser.multiply(factors)]
    parser.depth -= 1
    return arguments


def _continues(parser: ExpressionParser) -> bool:
    """Tell whether the next factor still belongs to a function written without brackets."""
    token = parser.peek()
    if not parser.starts_atom(token) or token.text in _WRITTEN_BRACKETS or token.text == "|":
        return False
    if token.kind == "number" and parser.tokens[parser.position - 1].kind == "number":
        return False
    opens = token.kind == "command" and token.text[1:] in (*_FENCES, *_BARS, *matrices.ENVIRONMENTS)
    return not opens and not parser.is_function() and token.text.lstrip("\\") not in binders.BINDERS


def several(parser: ExpressionParser, name: str) -> Node:
    r"""``\gcd(a, b)``, ``\max\{a, b\}``, ``binomial(n, k)``."""
    if name in ("max", "min") and parser.peek().text not in _WRITTEN_BRACKETS and parser.peek().text != "\\{":
        return _extreme(parser, name)
    closing = {"(": ")", "\\{": "\\}", "{": "}", "[": "]"}.get(parser.take().text)
    if closing is None:
        raise Unreadable(f"{name} without brackets")
    if closing == "}" and parser.accept("("):
        parser.push(Token("sign", "("))
    arguments = identifiers.several_arguments(parser, closing)
    op = SEVERAL[name]
    wanted = {Op.FACTORIAL: 1, Op.BINOMIAL: 2, Op.PERMUTATIONS: 2, Op.MODULO: 2}.get(op)
    if (wanted is not None and len(arguments) != wanted) or len(arguments) > 16:
        raise Unreadable(f"{name} of {len(arguments)} arguments")
    return parser.node(Apply(op, tuple(arguments)))


def _extreme(parser: ExpressionParser, name: str) -> Node:
    r"""``\max f``, ``\min_x f(x)``: the name of a quantity."""
    symbol = identifiers.subscripted(parser, name)
    if parser.peek().kind not in ("name", "command"):
        raise Unreadable(f"{name} without brackets")
    return parser.node(Apply(Op.CALL, (Symbol(symbol), parser.power())))
