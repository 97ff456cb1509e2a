"""Tokens → expression tree: a recursive-descent parser with a fixed table of names."""

from __future__ import annotations

from fractions import Fraction

from rewards.cursor import END, Cursor
from rewards.names import CONSTANTS, FUNCTIONS, GREEK, is_proper, number
from rewards.tokens import Token
from rewards.tree import ONE, TWO, Apply, Node, Number, Op, Symbol, negate
from rewards.values import Unreadable

_RELATION_SIGNS = frozenset(("=", "<", ">", "<=", ">=", "!="))
_ATOM_SIGNS = frozenset(("(", "[", "{"))
_BRACKETS = {"(": ")", "[": "]", "{": "}"}


class ExpressionParser(Cursor):
    """Parses one expression or chain of relations. One object, one use."""

    # -- the grammar, from the loosest binding to the tightest

    def relation(self) -> tuple[tuple[Node, ...], tuple[str, ...]]:
        """Parse everything: sides and the signs between them."""
        sides, signs = [self.sum()], []
        while self.peek().text in _RELATION_SIGNS:
            signs.append(self.take().text)
            sides.append(self.sum())
        if self.position < len(self.tokens):
            raise Unreadable(f"unexpected {self.peek().text!r}")
        return tuple(sides), tuple(signs)

    def sum(self) -> Node:
        """``a + b - c``."""
        self.enter()
        terms = [self.product()]
        while self.peek().text in ("+", "-"):
            sign = self.take().text
            term = self.product()
            terms.append(term if sign == "+" else self.node(negate(term)))
        self.depth -= 1
        return terms[0] if len(terms) == 1 else self.node(Apply(Op.ADD, tuple(terms)))

    def product(self) -> Node:
        """``a * b / c`` with juxtaposition as multiplication."""
        result = self.signed()
        factors = [result]
        while True:
            token = self.peek()
            if token.text == "*":
                self.take()
                factors.append(self.signed())
            elif token.text == "/":
                self.take()
                factors = [self.node(Apply(Op.DIV, (self.multiply(factors), self.signed())))]
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
            return self.node(negate(operand)) if sign == "-" else operand
        return self.power()

    def power(self) -> Node:
        """``a^b``, right-associative."""
        base = self.postfix()
        if self.peek().text not in ("^", "**"):
            return base
        self.enter()
        self.take()
        exponent = self.signed()
        self.depth -= 1
        return self.node(Apply(Op.POW, (base, exponent)))

    def postfix(self) -> Node:
        """``a!`` and ``a%``."""
        result = self.atom()
        while self.peek().text in ("!", "%"):
            op = Op.FACTORIAL if self.take().text == "!" else Op.PERCENT
            result = self.node(Apply(op, (result,)))
        return result

    def atom(self) -> Node:
        """A number, name, command or bracketed expression."""
        token = self.take()
        if token.kind == "number":
            return self.mixed(self.node(number(token.text)))
        if token.kind == "name":
            return self.name(token)
        if token.kind == "command":
            return self.command(token.text[1:])
        if token.text in _BRACKETS:
            return self.bracketed(_BRACKETS[token.text])
        if token.text == "|":
            return self.node(Apply(Op.ABS, (self.bracketed("|"),)))
        raise Unreadable("an operand is missing" if token is END else f"unexpected {token.text!r}")

    # -- atoms

    def bracketed(self, closing: str) -> Node:
        """The rest of a bracketed expression, up to ``closing``."""
        inside = self.sum()
        self.expect(closing)
        return inside

    def mixed(self, whole: Node) -> Node:
        r"""``2 2/3`` and ``2\frac{2}{3}``: a whole number directly followed by a proper fraction of integers."""
        if not isinstance(whole, Number) or whole.places is not None:
            return whole
        if self.peek().text == "\\frac":
            start = self.position
            self.take()
            part = self.fraction()
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

    def name(self, token: Token) -> Node:
        """A function, a constant, or a run of single-letter variables."""
        run = token.text
        if run in FUNCTIONS:
            return self.function(run)
        if run in CONSTANTS:
            return self.node(CONSTANTS[run])
        function = next((name for name in FUNCTIONS if len(name) > 2 and run.startswith(name)), None)
        if function and len(run) - len(function) == 1:
            self.push(Token("name", run[len(function) :]))
            return self.function(function)
        if len(run) > 3:
            raise Unreadable(f"unknown name {run!r}")
        if len(run) > 1:
            self.push(Token("name", run[1:]))
        letter = run[0]
        return self.node(CONSTANTS.get(letter) or self.subscripted(letter))

    def subscripted(self, letter: str) -> Symbol:
        """A variable with an optional subscript: ``x``, ``x_1``, ``x_{10}``."""
        if self.peek().text != "_":
            return Symbol(letter)
        self.take()
        braced = self.peek().text == "{"
        if braced:
            self.take()
        index = self.take()
        if index.kind not in ("number", "name"):
            raise Unreadable("an unreadable subscript")
        if braced:
            self.expect("}")
        return Symbol(f"{letter}_{index.text}")

    def command(self, name: str) -> Node:
        """A LaTeX command."""
        if name == "frac":
            return self.fraction()
        if name == "sqrt":
            return self.root()
        if name == "binom":
            return self.node(Apply(Op.BINOMIAL, (self.argument(), self.argument())))
        if name in FUNCTIONS:
            return self.function(name)
        if name in CONSTANTS:
            return self.node(CONSTANTS[name])
        if name in GREEK:
            return self.node(self.subscripted(name))
        raise Unreadable(f"unknown command \\{name}")

    def fraction(self) -> Node:
        r"""The two arguments of ``\frac``."""
        return self.node(Apply(Op.DIV, (self.argument(), self.argument())))

    def root(self) -> Node:
        r"""``\sqrt{x}`` or ``\sqrt[n]{x}``."""
        degree: Node = TWO
        if self.peek().text == "[":
            self.take()
            degree = self.bracketed("]")
        return self.node(Apply(Op.ROOT, (self.argument(), degree)))

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
        if token.kind == "number" and "." not in token.text:
            self.take()
            if len(token.text) > 1:
                self.push(Token("number", token.text[1:]))
            return self.node(number(token.text[0]))
        if token.kind == "name":
            self.take()
            if len(token.text) > 1:
                self.push(Token("name", token.text[1:]))
            return self.name(Token("name", token.text[0]))
        if token.kind == "command":
            return self.atom()
        raise Unreadable("a command lacks its argument")

    def function(self, name: str) -> Node:
        r"""A function applied to ``(…)`` or to the product that follows: ``\sin^2 2x``, ``\log_2 8``."""
        op, exponent = FUNCTIONS[name], None
        extra: list[Node] = []
        if op is Op.ROOT:
            extra = [TWO if name == "sqrt" else Number(Fraction(3))]
        if op is Op.LOG and name != "ln":
            extra = [self.log_base(name)] if name == "lg" or self.peek().text == "_" else []
        if self.peek().text in ("^", "**"):
            self.take()
            exponent = self.argument() if self.peek().text != "-" else self.signed()
            if exponent == negate(ONE):
                raise Unreadable("an inverse function written as a power")
        result = self.node(Apply(op, (self.operand(), *extra)))
        return result if exponent is None else self.node(Apply(Op.POW, (result, exponent)))

    def log_base(self, name: str) -> Node:
        r"""Base of ``\log_2`` or, for ``lg``, ten."""
        if name == "lg":
            return Number(Fraction(10))
        self.take()
        return self.argument()

    def operand(self) -> Node:
        """What a function without brackets applies to."""
        self.enter()
        token = self.peek()
        if token.text in ("(", "{", "["):
            self.take()
            operand = self.bracketed(_BRACKETS[token.text])
        else:
            factors = [self.power()]
            while (
                self.starts_atom(self.peek())
                and self.peek().text not in _ATOM_SIGNS
                and not self.is_function()
            ):
                factors.append(self.power())
            operand = self.multiply(factors)
        self.depth -= 1
        return operand

    def starts_atom(self, token: Token) -> bool:
        """Tell whether ``token`` begins an operand, which makes juxtaposition a product."""
        if token.kind == "command":
            return token.text not in ("\\}", "\\|", "\\pm", "\\cup", "\\in")
        return token.kind in ("number", "name") or token.text in _ATOM_SIGNS

    def is_function(self) -> bool:
        """Tell whether the next token names a function."""
        return self.peek().text.lstrip("\\") in FUNCTIONS
