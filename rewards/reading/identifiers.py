"""Letters: variables with subscripts and primes, runs of letters, function applications, counting symbols."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rewards.reading import latex_commands
from rewards.reading.cursor import END
from rewards.reading.tokens import Token
from rewards.reading.values import Unreadable
from rewards.trees.names import CONSTANTS, FUNCTIONS, OPAQUE_FUNCTIONS, SEVERAL
from rewards.trees.tree import Apply, Node, Number, Op, Symbol

if TYPE_CHECKING:
    from rewards.reading.expression import ExpressionParser

_DIFFERENTIALS = frozenset(("dx", "dy", "dz", "dt", "du", "dv", "dr", "ds"))
_CALLED_GREEK = frozenset(("zeta", "Gamma"))
_PRIMES = frozenset(("\\prime", "\\primemark"))
_WORDS = 3
_LONGEST_RUN = 5


def name(parser: ExpressionParser, token: Token) -> Node:
    """A function, a constant, or a run of single-letter variables."""
    run = token.text
    if run in FUNCTIONS and latex_commands.applies(parser, run):
        return latex_commands.function(parser, run)
    if run in SEVERAL and parser.peek().text in ("(", "{", "\\{"):
        return latex_commands.several(parser, run)
    if run in CONSTANTS:
        return parser.node(CONSTANTS[run])
    if run in _DIFFERENTIALS:
        return parser.node(Symbol(run))
    function = next((f for f in FUNCTIONS if len(f) > 2 and f != "det" and run.startswith(f)), None)
    if function and len(run) - len(function) == 1:
        parser.push(Token("name", run[len(function) :]))
        return latex_commands.function(parser, function)
    if not _is_product(run):
        raise Unreadable(f"unknown name {run!r}")
    if len(run) > 1:
        parser.push(Token("name", run[1:]))
    return letter(parser, run[0])


def _is_product(run: str) -> bool:
    """Tell a product of variables (``xy``, ``abcd``) from a word: in order of the alphabet, and no vowel but ``a``."""
    if len(run) <= _WORDS:
        return True
    inner = run[1:] if run[0] == "a" else run
    return len(run) <= _LONGEST_RUN and list(run) == sorted(set(run)) and set("aeiou").isdisjoint(inner)


def letter(parser: ExpressionParser, base: str) -> Node:
    """One letter or Greek name with what hangs on it: subscript, primes, and the brackets of a function."""
    if base in ("C", "P", "A") and parser.peek().text in ("_", "^"):
        counted = _counting(parser, base)
        if counted is not None:
            return counted
    symbol = subscripted(parser, base)
    constant = CONSTANTS.get(symbol)
    marks = ""
    if parser.peek().text == "^":
        parser.take()
        marks = "'" * primes(parser)
        if not marks:
            parser.position -= 1
    callable_letter = base in OPAQUE_FUNCTIONS or base in _CALLED_GREEK or bool(marks)
    if callable_letter and not marks and _is_inverse(parser):
        parser.position += 5
        marks = "^-1"
    if parser.peek().text == "(" and (callable_letter or _has_comma(parser)):
        return _called(parser, symbol + marks)
    if constant is not None and not marks:
        return parser.node(constant)
    return parser.node(Symbol(symbol + marks))


def _is_inverse(parser: ExpressionParser) -> bool:
    r"""Tell whether ``^{-1}(`` comes next."""
    return [parser.peek(i).text for i in range(6)] == ["^", "{", "-", "1", "}", "("]


def _has_comma(parser: ExpressionParser) -> bool:
    """Tell whether the brackets that come next hold several arguments."""
    depth = 0
    for index in range(parser.position, len(parser.tokens)):
        text = parser.tokens[index].text
        if text in ("(", "[", "{", "\\{"):
            depth += 1
        elif text in (")", "]", "}", "\\}"):
            depth -= 1
            if depth == 0:
                return False
        elif text == "," and depth == 1:
            return True
    return False


def _called(parser: ExpressionParser, symbol: str) -> Node:
    """``f(x, y)``; ``C(n, k)`` and ``P(n, k)`` count."""
    parser.take()
    arguments = several_arguments(parser, ")")
    if symbol in ("C", "P") and len(arguments) == 2:
        op = Op.BINOMIAL if symbol == "C" else Op.PERMUTATIONS
        return parser.node(Apply(op, tuple(arguments)))
    return parser.node(Apply(Op.CALL, (Symbol(symbol), *arguments)))


def several_arguments(parser: ExpressionParser, closing: str) -> list[Node]:
    """Expressions separated by commas, and the closing bracket."""
    bars, parser.open_bars = parser.open_bars, 0
    arguments = [parser.sum()]
    while parser.accept(","):
        arguments.append(parser.sum())
    parser.expect(closing)
    parser.open_bars = bars
    return arguments


def primes(parser: ExpressionParser) -> int:
    r"""Consume ``\prime`` or ``{\prime\prime}`` after a ``^``, and return how many there are."""
    braced = parser.peek().text == "{" and parser.peek(1).text in _PRIMES
    if braced:
        parser.take()
    count = 0
    while parser.peek().text in _PRIMES:
        parser.take()
        count += 1
    if braced:
        parser.expect("}")
    return count


def subscripted(parser: ExpressionParser, base: str) -> str:
    """A name with its subscript: ``x``, ``x_1``, ``x_{n+1}``, ``v_max``; ``x1`` is ``x_1``."""
    follower = parser.peek()
    if follower.kind == "number" and not follower.after_space and base.isalpha() and len(base) == 1:
        if base not in CONSTANTS and "." not in follower.text and len(follower.text) <= 3:
            parser.take()
            return f"{base}_{follower.text}"
        raise Unreadable("a number directly after a letter")
    if not parser.accept("_"):
        return base
    if parser.peek().text == "{":
        index = "".join(token.text for token in parser.group())
        index = index if index.isalnum() else f"{{{index}}}"
    else:
        token = parser.take()
        if token is END or token.kind == "sign":
            raise Unreadable("an unreadable subscript")
        index = token.text
        if token.kind == "name" and len(index) > 1 and base != "C":
            known = index in ("max", "min", "avg", "total", "new", "old", "final", "initial", "in", "out")
            if not known:  # a_nx is (a_n)x
                parser.push(Token("name", index[1:]))
                index = index[0]
    return f"{base}_{index}"


def _counting(parser: ExpressionParser, base: str) -> Node | None:
    """``C_5^2`` or ``C^2_5`` of two counts; None, and nothing consumed, where it is a variable."""
    start = parser.position
    scripts: dict[str, Node] = {}
    saved, nodes = list(parser.tokens), parser.nodes
    try:
        while parser.peek().text in ("_", "^") and parser.peek().text not in scripts:
            sign = parser.take().text
            scripts[sign] = parser.argument()
    except Unreadable:
        scripts = {}
    if len(scripts) == 2 and _counts(scripts["_"], scripts["^"]):
        op = Op.BINOMIAL if base == "C" else Op.PERMUTATIONS
        return parser.node(Apply(op, (scripts["_"], scripts["^"])))
    parser.tokens, parser.position, parser.nodes = saved, start, nodes
    return None


def _counts(total: Node, chosen: Node) -> bool:
    """Tell whether the scripts of ``C_total^chosen`` can mean a choice."""
    if isinstance(total, Number) and isinstance(chosen, Number):
        return total.value >= chosen.value and total.value >= 3
    return isinstance(total, Symbol) and total.name in ("n", "m", "N")


def script_before(parser: ExpressionParser) -> Node:
    """``_nC_k`` and ``^nP_k``: a script that stands before its letter."""
    parser.take()
    total = parser.argument()
    token = parser.take()
    if token.kind != "name" or token.text[0] not in "CP":
        raise Unreadable("a script without its letter")
    op = Op.BINOMIAL if token.text[0] == "C" else Op.PERMUTATIONS
    if len(token.text) > 1:
        parser.push(Token("name", token.text[1:]))
    else:
        parser.accept("_")
    return parser.node(Apply(op, (total, parser.argument())))
