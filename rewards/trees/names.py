"""The fixed table of names that may occur in an answer, and its literals. Nothing else can be built."""

from __future__ import annotations

from fractions import Fraction

from rewards.trees.tree import Apply, Constant, Node, Number, Op


def words(text: str) -> frozenset[str]:
    """The words of ``text``, for tables."""
    return frozenset(text.split())


TRIGONOMETRIC: dict[str, Op] = {
    "sin": Op.SIN,
    "cos": Op.COS,
    "tan": Op.TAN,
    "cot": Op.COT,
    "sec": Op.SEC,
    "csc": Op.CSC,
    "sinh": Op.SINH,
    "cosh": Op.COSH,
    "tanh": Op.TANH,
    "coth": Op.COTH,
    "sech": Op.SECH,
    "csch": Op.CSCH,
    "tg": Op.TAN,
    "ctg": Op.COT,
    "cosec": Op.CSC,
}
INVERSE: dict[Op, Op] = {
    Op.SIN: Op.ARCSIN,
    Op.COS: Op.ARCCOS,
    Op.TAN: Op.ARCTAN,
    Op.COT: Op.ARCCOT,
    Op.SEC: Op.ARCSEC,
    Op.CSC: Op.ARCCSC,
    Op.SINH: Op.ARCSINH,
    Op.COSH: Op.ARCCOSH,
    Op.TANH: Op.ARCTANH,
}
FUNCTIONS: dict[str, Op] = {
    **TRIGONOMETRIC,
    **{
        f"{arc}{name}": INVERSE[op]
        for name, op in TRIGONOMETRIC.items()
        for arc in ("arc", "a", "ar")
        if op in INVERSE and len(name) > 2
    },
    "arctg": Op.ARCTAN,
    "arcctg": Op.ARCCOT,
    "log": Op.LOG,
    "ln": Op.LOG,
    "lg": Op.LOG,
    "exp": Op.EXP,
    "abs": Op.ABS,
    "sqrt": Op.ROOT,
    "cbrt": Op.ROOT,
    "floor": Op.FLOOR,
    "ceil": Op.CEILING,
    "ceiling": Op.CEILING,
    "Re": Op.REAL_PART,
    "Im": Op.IMAGINARY_PART,
    "arg": Op.ARGUMENT,
    "Arg": Op.ARGUMENT,
    "conj": Op.CONJUGATE,
    "det": Op.DETERMINANT,
    "cis": Op.EXP,
    "sgn": Op.OPAQUE,
    "sign": Op.OPAQUE,
    "erf": Op.OPAQUE,
    "dim": Op.OPAQUE,
    "ker": Op.OPAQUE,
    "deg": Op.OPAQUE,
    "tr": Op.OPAQUE,
    "rank": Op.OPAQUE,
    "ord": Op.OPAQUE,
    "Pr": Op.OPAQUE,
    "Var": Op.OPAQUE,
}
"""Functions of one argument, written with or without brackets."""

SEVERAL: dict[str, Op] = {
    "gcd": Op.GCD,
    "lcm": Op.LCM,
    "max": Op.MAX,
    "min": Op.MIN,
    "binom": Op.BINOMIAL,
    "binomial": Op.BINOMIAL,
    "choose": Op.BINOMIAL,
    "comb": Op.BINOMIAL,
    "nCr": Op.BINOMIAL,
    "perm": Op.PERMUTATIONS,
    "nPr": Op.PERMUTATIONS,
    "factorial": Op.FACTORIAL,
    "mod": Op.MODULO,
}
"""Functions of several arguments, which need brackets."""

CONSTANTS = {
    "pi": Constant("pi"),
    "e": Constant("e"),
    "i": Constant("i"),
    "imath": Constant("i"),
    "infty": Constant("oo"),
    "infinity": Constant("oo"),
    "oo": Constant("oo"),
}
GREEK = words("""alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa varkappa lambda mu nu xi omicron
    rho varrho sigma varsigma tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi
    Omega ell hbar aleph nabla partial jmath""")
ALIASES = {
    "varepsilon": "epsilon",
    "vartheta": "theta",
    "varphi": "phi",
    "varrho": "rho",
    "varsigma": "sigma",
    "jmath": "j",
}
DECORATIONS = words("""overline bar vec overrightarrow overleftrightarrow overleftarrow hat widehat tilde widetilde dot ddot widebar
    overarc wideparen overparen""")
"""Commands that make an opaque symbol of the letters below them."""
FIGURES = words("angle measuredangle triangle square parallelogram odot arc")
"""Commands that make an opaque symbol of the capital letters after them."""
DOTS = words("ldots cdots dots dotsb dotsc vdots ddots")
IGNORED = words("""displaystyle textstyle scriptstyle limits nolimits left right big Big bigg Bigg bigl bigr Bigl Bigr middle rm bf
    it mathstrut strut quad qquad thinspace hfill nonumber notag""")
"""Commands that change nothing but looks."""
OPAQUE_FUNCTIONS = frozenset("fghFGH")
"""Letters that mean a function when a bracket follows: ``f(x)`` is no product."""
UNIT_VECTORS = {"unitI": "î", "unitJ": "ĵ", "unitK": "k̂"}
"""Commands that :mod:`rewards.notation.layout` writes for the unit vectors, and the names of their symbols."""


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
