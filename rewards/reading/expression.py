"""Tokens → expression tree: a recursive-descent parser with a fixed table of names.

This module holds the arithmetic; names and subscripts are read by :mod:`rewards.reading.identifiers`, LaTeX commands and
functions by :mod:`rewards.reading.latex_commands`, sums, integrals and limits by :mod:`rewards.reading.binders`.
"""

from __future__ import annotations

from collections.abc import Sequence

from rewards.reading import identifiers, latex_commands
from rewards.reading.cursor import END, Cursor
from rewards.reading.tokens import Token
from rewards.reading.values import Unreadable
from rewards.trees.names import CONSTANTS, FUNCTIONS, is_proper, number
from rewards.trees.tree import Apply, Node, Number, Op, Symbol, negate

_RELATION_SIGNS = frozenset(("=", "<", ">", "<=", ">=", "!=", "\\equiv"))
_ATOM_SIGNS = frozenset(("(", "[", "{"))
_BRACKETS = {"(": ")", "[": "]", "{": "}"}
_TIMES = frozenset(("*", "\\cdot", "\\times", "\\ast"))
_MODULO = frozenset(("\\bmod", "\\mod", "mod"))
_DEGREES = frozenset(("degrees", "degree", "\\degree", "\\circ"))


class ExpressionParser(Cursor):
    """Parses one expression or chain of relations. One object, one use."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        super().__init__(tokens)
        self.open_bars = 0
        self.inside_function = 0

    # -- the grammar, from the loosest binding to the tightest

    def relation(self) -> tuple[tuple[Node, ...], tuple[str, ...]]:
        """Parse everything: sides and the signs between them."""
        sides, signs = [self.sum()], []
        while self.peek().text in _RELATION_SIGNS:
            signs.append(self.take().text.replace("\\equiv", "="))
            sides.append(self.sum())
        if self.position < len(self.tokens):
            raise Unreadable(f"unexpected {self.peek().text!r}")
        return tuple(sides), tuple(signs)

    def whole(self) -> Node:
        """Parse everything as one expression."""
        node = self.sum()
        if self.position < len(self.tokens):
            raise Unreadable(f"unexpected {self.peek().text!r}")
        return node

    def sum(self) -> Node:
        """``a + b - c``, and ``(mod m)`` after it."""
        self.enter()
        terms = [self.product()]
        while self.peek().text in ("+", "-"):
            sign = self.take().text
            term = self.product()
            terms.append(term if sign == "+" else self.node(negate(term)))
        self.depth -= 1
        result = terms[0] if len(terms) == 1 else self.node(Apply(Op.ADD, tuple(terms)))
        return self.residue(result)

    def residue(self, value: Node) -> Node:
        r"""``a \pmod m`` or ``a (mod m)``."""
        if self.accept("\\pmod"):
            return self.node(Apply(Op.RESIDUE, (value, self.argument())))
        if self.peek().text == "(" and self.peek(1).text in _MODULO:
            self.position += 2
            return self.node(Apply(Op.RESIDUE, (value, self.bracketed(")"))))
        return value

    def product(self) -> Node:
        """``a * b / c`` with juxtaposition as multiplication."""
        factors = [self.signed()]
        while True:
            token = self.peek()
            if token.text in _TIMES:
                self.take()
                factors.append(self.signed())
            elif token.text in ("/", "\\div"):
                self.take()
                factors = [self.node(Apply(Op.DIV, (self.multiply(factors), self.signed())))]
            elif token.text in _MODULO:
                self.take()
                factors = [self.node(Apply(Op.MODULO, (self.multiply(factors), self.signed())))]
            elif self.starts_atom(token):
                if token.kind == "number" and self.tokens[self.position - 1].kind == "number":
                    raise Unreadable("two numbers side by side")
                factors.append(self.power())
            else:
                return self.multiply(factors)

    def multiply(self, factors: list[Node]) -> Node:
        """One node for a run of factors."""
        return factors[0] if len(factors) == 1 else self.node(Apply(Op.MUL, tuple(factors)))

    def signed(self) -> Node:
        """``-a``; binds looser than a power, so ``-2^2`` is ``-(2^2)``."""
        if self.peek().text in ("+", "-"):
            self.enter()
            sign = self.take().text
            operand = self.signed()
            self.depth -= 1
            if sign == "+":
                return operand
            twice = isinstance(operand, Number) and operand.value < 0  # -(-7) is not worked out
            return self.node(Apply(Op.NEG, (operand,)) if twice else negate(operand))
        return self.power()

    def power(self) -> Node:
        r"""``a^b``, right-associative; also ``a'`` and ``5^{\circ}``."""
        base = self.postfix()
        if self.peek().text not in ("^", "**"):
            return base
        self.enter()
        self.take()
        primes = identifiers.primes(self)
        if primes:
            result: Node = Apply(Op.OPAQUE, (Symbol("'" * primes), base))
        elif self.peek().text in _DEGREES or (self.peek().text == "{" and self.peek(1).text in _DEGREES):
            self.group()
            result = self.in_degrees(base)
        else:
            result = Apply(Op.POW, (base, self.exponent()))
        self.depth -= 1
        return self.node(result)

    def exponent(self) -> Node:
        """What stands after ``^``: in LaTeX one digit or a group, in plain text a signed power."""
        token = self.peek()
        if token.text == "{" and self.peek(1).text in ("\\top", "\\intercal") and self.peek(2).text == "}":
            self.position += 3
            return Symbol("T")
        if token.text in ("\\top", "\\intercal"):
            self.take()
            return Symbol("T")
        if token.kind == "number":  # alone: x^2\frac12 has no mixed number in it
            self.take()
            return self.node(number(token.text))
        return self.signed()

    def in_degrees(self, value: Node) -> Node:
        """An angle in degrees: only inside a function does it matter that they are no radians."""
        return self.node(Apply(Op.DEGREES, (value,))) if self.inside_function else value

    def postfix(self) -> Node:
        """``a!``, ``a!!``, ``a%``, ``a degrees``."""
        result = self.atom()
        while True:
            text = self.peek().text
            if text == "!":
                double = self.peek(1).text == "!"
                self.position += 1 + double
                result = self.node(Apply(Op.DOUBLE_FACTORIAL if double else Op.FACTORIAL, (result,)))
            elif text == "%":
                self.take()
                result = self.node(Apply(Op.PERCENT, (result,)))
            elif text in _DEGREES:
                self.take()
                result = self.in_degrees(result)
            else:
                return result

    def atom(self) -> Node:
        """A number, name, command or bracketed expression."""
        token = self.take()
        if token.kind == "number":
            return self.mixed(self.node(number(token.text)))
        if token.kind == "name":
            return identifiers.name(self, token)
        if token.kind == "command":
            return latex_commands.command(self, token.text[1:])
        if token.text == "{" and self.accept("}"):
            return identifiers.script_before(self) if self.peek().text in ("_", "^") else self.atom()
        if token.text in ("_", "^"):
            self.position -= 1
            return identifiers.script_before(self)
        if token.text in _BRACKETS:
            return self.bracketed(_BRACKETS[token.text])
        if token.text == "|":
            return self.bars("|")
        raise Unreadable("an operand is missing" if token is END else f"unexpected {token.text!r}")

    # -- atoms

    def bracketed(self, closing: str) -> Node:
        """The rest of a bracketed expression, up to ``closing``."""
        bars, self.open_bars = self.open_bars, 0
        inside = self.sum()
        if closing == "}" and self.accept("\\choose"):
            inside = self.node(Apply(Op.BINOMIAL, (inside, self.sum())))
        self.expect(closing)
        self.open_bars = bars
        return inside

    def bars(self, closing: str) -> Node:
        """The rest of an absolute value or determinant of a matrix, up to ``closing``."""
        bars, self.open_bars = self.open_bars, self.open_bars + (closing == "|")
        inside = self.sum()
        self.expect(closing)
        self.open_bars = bars
        return self.node(Apply(Op.ABS, (inside,)))

    def mixed(self, whole: Node) -> Node:
        r"""``2 2/3`` and ``2\frac{2}{3}``: a whole number directly followed by a proper fraction of integers."""
        if not isinstance(whole, Number) or whole.places is not None:
            return whole
        if self.peek().text in latex_commands.FRACTIONS:
            start = self.position
            self.take()
            part = latex_commands.fraction(self)
            if is_proper(part):
                return self.node(Apply(Op.MIXED, (whole, part)))
            self.position = start
            return whole
        follows = self.tokens[self.position : self.position + 3]
        if len(follows) == 3 and follows[0].kind == follows[2].kind == "number" and follows[1].text == "/":
            part = Apply(Op.DIV, (number(follows[0].text), number(follows[2].text)))
            if not is_proper(part):
                raise Unreadable("a mixed number needs a proper fraction")
            self.position += 3
            return self.node(Apply(Op.MIXED, (whole, part)))
        return whole

    def argument(self) -> Node:
        """One argument of a command: a group, a single digit or a single letter, as TeX takes it."""
        self.enter()
        argument = self.argument_of(self.peek())
        self.depth -= 1
        return argument

    def argument_of(self, token: Token) -> Node:
        """The argument that begins with ``token``."""
        if token.text in ("{", "("):
            self.take()
            return self.bracketed(_BRACKETS[token.text])
        if token.kind == "number" and token.text.isdigit():
            self.take()
            if len(token.text) > 1:
                self.push(Token("number", token.text[1:]))
            return self.node(number(token.text[0]))
        if token.kind == "name":
            self.take()
            if len(token.text) > 1:
                self.push(Token("name", token.text[1:]))
            letter = token.text[0]
            return self.node(CONSTANTS.get(letter) or Symbol(letter))
        if token.kind == "command":
            return self.atom()
        raise Unreadable("a command lacks its argument")

    def starts_atom(self, token: Token) -> bool:
        """Tell whether ``token`` begins an operand, which makes juxtaposition a product."""
        if token.kind == "command":
            return latex_commands.starts_atom(token.text[1:])
        if token.text == "(":
            return self.peek(1).text not in _MODULO
        if token.text == "|":
            return self.open_bars == 0
        return token.kind in ("number", "name") or token.text in _ATOM_SIGNS

    def is_function(self) -> bool:
        """Tell whether the next token names a function, other than a root."""
        return FUNCTIONS.get(self.peek().text.lstrip("\\"), Op.ROOT) is not Op.ROOT
