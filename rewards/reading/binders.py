r"""Sums, products, integrals, limits and derivatives: ``\sum_{k=1}^{n} k``, ``\int_0^1 x\,dx``, ``\frac{d}{dx} f``.

The bound variable gets a name by its depth, so that two structures which differ only in its name are one tree.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rewards.reading.tokens import Token
from rewards.reading.values import Unreadable
from rewards.trees.names import GREEK
from rewards.trees.tree import BINDERS as BINDING_OPS
from rewards.trees.tree import Apply, Constant, Node, Op, Symbol, substitute

if TYPE_CHECKING:
    from rewards.reading.expression import ExpressionParser

BINDERS: dict[str, Op] = {
    "sum": Op.SUM,
    "prod": Op.PRODUCT,
    "int": Op.INTEGRAL,
    "lim": Op.LIMIT,
    "iint": Op.OPAQUE,
    "oint": Op.OPAQUE,
}
_ARROWS = frozenset(("\\to", "\\rightarrow", "\\longrightarrow"))
_OPENING = frozenset(("(", "[", "{", "\\{"))
_CLOSING = frozenset((")", "]", "}", "\\}"))
_DERIVED = re.compile(r"(?:d|\\partial)(?:\^\{?\d\}?)?([A-Za-z]?)")
_BY = re.compile(r"(?:d|\\partial)(?:[A-Za-z]|\\[a-z]+)(?:\^\{?\d\}?)?")


def read_binder(parser: ExpressionParser, name: str) -> Node:
    """The structure after the command ``name``."""
    op = BINDERS[name]
    lower, upper = _scripts(parser)
    if op is Op.OPAQUE:
        raise Unreadable(f"\\{name} is not read")
    if op is Op.INTEGRAL:
        return _integral(parser, lower, upper)
    if op is Op.LIMIT:
        return _limit(parser, lower)
    variable, start = _split_at(lower, ("=",))
    body = parser.product()
    if variable is None:
        name_of_range = "".join(token.text for token in lower) + "^" + "".join(token.text for token in upper)
        return parser.node(Apply(Op.OPAQUE, (Symbol(f"{op} {name_of_range}"), body)))
    bounds = (_expression(parser, start), _expression(parser, upper))
    return parser.node(_bind(op, body, variable, bounds))


def _scripts(parser: ExpressionParser) -> tuple[list[Token], list[Token]]:
    """Tokens below and above the sign, in either order; a single argument is one token, as in TeX."""
    found: dict[str, list[Token]] = {"_": [], "^": []}
    while parser.peek().text in found:
        sign = parser.take().text
        minus = [parser.take()] if parser.peek().text == "-" else []
        found[sign] = minus + _one_argument(parser)
    return found["_"], found["^"]


def _one_argument(parser: ExpressionParser) -> list[Token]:
    token = parser.peek()
    if token.kind == "number" and len(token.text) > 1 and token.text.isdigit():
        parser.take()
        parser.push(Token("number", token.text[1:]))  # \int_02 is \int_0 2
        return [Token("number", token.text[0])]
    if token.kind == "command" and token.text in ("\\frac", "\\sqrt"):
        return [parser.take(), *_braced(parser), *(_braced(parser) if token.text == "\\frac" else [])]
    return parser.group()


def _braced(parser: ExpressionParser) -> list[Token]:
    return [Token("sign", "{"), *parser.group(), Token("sign", "}")]


def _split_at(
    tokens: list[Token], signs: tuple[str, ...] | frozenset[str]
) -> tuple[Symbol | None, list[Token]]:
    r"""Variable and what stands after one of ``signs``: ``k = 1``, ``x \to 0``."""
    if len(tokens) > 2 and tokens[1].text in signs:
        head = tokens[0]
        if (head.kind == "name" and len(head.text) == 1) or head.text[1:] in GREEK:
            return Symbol(head.text.lstrip("\\")), tokens[2:]
    return None, tokens


def _expression(parser: ExpressionParser, tokens: list[Token]) -> Node:
    """Read ``tokens`` by a parser of their own, counted with this one."""
    parser.enter()
    inner = type(parser)(tokens)
    inner.depth, inner.nodes = parser.depth, parser.nodes
    node = inner.whole()
    parser.nodes = inner.nodes
    parser.depth -= 1
    return node


def _bind(op: Op, body: Node, variable: Symbol, bounds: tuple[Node, ...]) -> Node:
    r"""A binder with its variable renamed by depth. ``i`` is the imaginary unit only where it is not bound."""
    fresh = Symbol(f"•{_binder_depth(body)}")
    body = substitute(body, {variable.name: fresh})
    if variable.name in ("i", "e"):
        body = _replace_constant(body, variable.name, fresh)
    return Apply(op, (body, fresh, *bounds))


def _binder_depth(node: Node) -> int:
    if not isinstance(node, Apply):
        return 0
    inner = max((_binder_depth(arg) for arg in node.args), default=0)
    return inner + (node.op in BINDING_OPS)


def _replace_constant(node: Node, name: str, new: Node) -> Node:
    if isinstance(node, Constant):
        return new if node.name == name else node
    if not isinstance(node, Apply):
        return node
    return Apply(node.op, tuple(_replace_constant(arg, name, new) for arg in node.args))


def _limit(parser: ExpressionParser, lower: list[Token]) -> Node:
    r"""``\lim_{x \to 0^+} …``."""
    variable, target = _split_at(lower, _ARROWS)
    if variable is None:
        raise Unreadable("a limit without its variable")
    side = ""
    texts = [token.text for token in target]
    for ending in (["^", "+"], ["^", "-"], ["^", "{", "+", "}"], ["^", "{", "-", "}"]):
        if texts[-len(ending) :] == ending:
            side, target = "+" if "+" in ending else "-", target[: -len(ending)]
    place = _expression(parser, target)
    return parser.node(_bind(Op.LIMIT, parser.product(), variable, (place, Symbol(f"side{side}"))))


def _integral(parser: ExpressionParser, lower: list[Token], upper: list[Token]) -> Node:
    r"""``\int_a^b body\,dx``; the differential may also stand in a numerator."""
    start, (at, count, before, variable, nested) = parser.position, _differential(parser)
    remains = [before] if before else []
    if nested:
        one = remains or [Token("number", "1")]
        parser.tokens[at : at + count] = one
        body = parser.product()
    else:
        tokens = parser.tokens[start:at] + remains
        body = _expression(parser, tokens or [Token("number", "1")])
        parser.position = at + count
    bounds = (_expression(parser, lower), _expression(parser, upper)) if lower and upper else ()
    if not bounds:  # an indefinite integral is a function of its variable
        return parser.node(Apply(Op.OPAQUE, (Symbol(f"integral d{variable.name}"), body)))
    return parser.node(_bind(Op.INTEGRAL, body, variable, bounds))


def _differential(parser: ExpressionParser) -> tuple[int, int, Token | None, Symbol, bool]:
    """Where ``dx`` stands that belongs to the integral here: index, tokens, name before it, variable, in brackets."""
    depth = inner = 0
    for index in range(parser.position, len(parser.tokens)):
        token = parser.tokens[index]
        depth += token.text in _OPENING
        depth -= token.text in _CLOSING
        if depth < 0:
            break
        inner += token.text == "\\int"
        follower = parser.tokens[index + 1] if index + 1 < len(parser.tokens) else Token("end", "")
        found = _as_differential(token, follower)
        if found is None:
            continue
        if inner == 0:
            return index, found[0], found[1], found[2], depth > 0
        inner -= 1
    raise Unreadable("an integral without its variable")


def _as_differential(token: Token, follower: Token) -> tuple[int, Token | None, Symbol] | None:
    r"""Read ``dx``, ``xdx``, ``d x`` or ``d\theta``: tokens used, name before it, variable."""
    if token.kind != "name":
        return None
    text = token.text
    if len(text) > 1 and text[-2] == "d":
        before = text[:-2]
        return 1, Token("name", before) if before else None, Symbol(text[-1])
    is_letter = (follower.kind == "name" and len(follower.text) == 1) or follower.text[1:] in GREEK
    if text[-1] == "d" and is_letter:
        before = text[:-1]
        return 2, Token("name", before) if before else None, Symbol(follower.text.lstrip("\\"))
    return None


def derivative(parser: ExpressionParser) -> Node | None:
    r"""``\frac{d}{dx} f`` and ``\frac{dy}{dx}``; None, and nothing consumed, for any other fraction."""
    if parser.peek().text != "{" or not parser.peek(1).text.startswith(("d", "\\partial")):
        return None
    start = parser.position
    top = "".join(token.text for token in parser.group())
    bottom = "".join(token.text for token in parser.group()) if parser.peek().text == "{" else ""
    found_top, found_bottom = _DERIVED.fullmatch(top), _BY.fullmatch(bottom)
    if not found_top or not found_bottom:
        parser.position = start
        return None
    if found_top[1] and bottom == "dx" and len(top) == 2:
        return parser.node(Symbol(f"{found_top[1]}'"))
    if found_top[1]:
        return parser.node(Symbol(f"{top}/{bottom}"))
    return parser.node(Apply(Op.OPAQUE, (Symbol(f"{top}/{bottom}"), parser.product())))
