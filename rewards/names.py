"""The fixed table of names that may occur in an answer, and its literals. Nothing else can be built."""

from __future__ import annotations

from fractions import Fraction

from rewards.tree import Apply, Constant, Node, Number, Op

FUNCTIONS: dict[str, Op] = {
    **{op.value: op for op in (Op.SIN, Op.COS, Op.TAN, Op.COT, Op.SEC, Op.CSC, Op.SINH, Op.COSH, Op.TANH)},
    **{op.value: op for op in (Op.ARCSIN, Op.ARCCOS, Op.ARCTAN, Op.LOG, Op.EXP, Op.ABS)},
    "asin": Op.ARCSIN,
    "acos": Op.ARCCOS,
    "atan": Op.ARCTAN,
    "ln": Op.LOG,
    "lg": Op.LOG,
    "sqrt": Op.ROOT,
    "cbrt": Op.ROOT,
}
CONSTANTS = {
    "pi": Constant("pi"),
    "e": Constant("e"),
    "i": Constant("i"),
    "infty": Constant("oo"),
    "oo": Constant("oo"),
}
GREEK = frozenset(
    [
        "alpha",
        "beta",
        "gamma",
        "delta",
        "epsilon",
        "varepsilon",
        "zeta",
        "eta",
        "theta",
        "vartheta",
        "iota",
        "kappa",
        "lambda",
        "mu",
        "nu",
        "xi",
        "rho",
        "sigma",
        "tau",
        "upsilon",
        "phi",
        "varphi",
        "chi",
        "psi",
        "omega",
        "Gamma",
        "Delta",
        "Theta",
        "Lambda",
        "Xi",
        "Sigma",
        "Phi",
        "Psi",
        "Omega",
        "ell",
    ]
)


def number(text: str) -> Number:
    """A literal, exactly, with the digits written after its point."""
    mantissa = text.lower().partition("e")[0]
    places = len(mantissa.partition(".")[2]) if "." in mantissa else None
    return Number(Fraction(text), places if mantissa == text else None)


def is_proper(node: Node) -> bool:
    """Tell whether ``node`` is a fraction of two plain integers between 0 and 1."""
    if not isinstance(node, Apply) or node.op is not Op.DIV:
        return False
    top, bottom = node.args
    if not isinstance(top, Number) or not isinstance(bottom, Number):
        return False
    return top.places is None and bottom.places is None and 0 < top.value < bottom.value
