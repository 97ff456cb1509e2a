"""What one notation may mean: ``log`` without a base, a residue with its modulus, a constant of integration."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction

from rewards.comparing.outcome import Outcome, right, wrong
from rewards.trees.tree import Apply, Constant, Node, Number, Op, Symbol, negate, substitute, symbols

_TEN = Number(Fraction(10))
_CONSTANT_NAMES = frozenset("CcKk")
_SOLUTION_NAMES = frozenset(("A", "B", "C", "c", "K", "k"))
_TRANSCENDENTAL = frozenset((Op.EXP, Op.SIN, Op.COS, Op.LOG, Op.SINH, Op.COSH))
_REFERENCE = Number(Fraction(17, 10))
Decision = Callable[[Node, Node], Outcome]


def through_readings(gold: Node, answer: Node, decide: Decision) -> Outcome:
    """Decide under every reading of the notation, and take the first that agrees; else the plain one."""
    if isinstance(answer, Apply) and answer.op is Op.RESIDUE and not _is_residue(gold):
        answer = answer.args[0]
    answer = _same_constants(gold, answer)
    outcome = _up_to_constant(gold, answer, decide)
    if outcome is not None:
        return outcome
    first: Outcome | None = None
    for pair in _log_readings(gold, answer):
        outcome = decide(*pair)
        if outcome.correct:
            return outcome
        first = first or outcome
    assert first is not None
    return first


def _is_residue(node: Node) -> bool:
    return isinstance(node, Apply) and node.op is Op.RESIDUE


def _log_readings(gold: Node, answer: Node) -> Iterator[tuple[Node, Node]]:
    """``log`` as the natural logarithm, and as the decimal one."""
    if not (_has_plain_log(gold) or _has_plain_log(answer)):
        yield _cancelled(gold), _cancelled(answer)
        return
    yield _cancelled(_with_base(gold, None)), _cancelled(_with_base(answer, None))
    yield _with_base(gold, _TEN), _with_base(answer, _TEN)


def _has_plain_log(node: Node) -> bool:
    if isinstance(node, Constant):
        return node.name == "logbase"
    return isinstance(node, Apply) and any(_has_plain_log(arg) for arg in node.args)


def _with_base(node: Node, base: Node | None) -> Node:
    if not isinstance(node, Apply):
        return node
    args = tuple(_with_base(arg, base) for arg in node.args)
    if node.op is Op.LOG and isinstance(args[-1], Constant) and args[-1].name == "logbase":
        args = args[:1] if base is None else (args[0], base)
    return Apply(node.op, args)


def _cancelled(node: Node) -> Node:
    """``e^(n ln u)`` as ``u^n`` for an integer n, which is so for every complex u but 0; ``ln u^n`` stays."""
    if not isinstance(node, Apply):
        return node
    args = tuple(map(_cancelled, node.args))
    if node.op is Op.EXP:
        exponent: Node | None = args[0]
    else:
        exponent = args[1] if node.op is Op.POW and args[0] == Constant("e") else None
    power = None if exponent is None else _power_of_logarithm(exponent)
    return power or (node if args == node.args else Apply(node.op, args))


def _power_of_logarithm(exponent: Node) -> Node | None:
    """``u^n`` of ``n ln u`` or ``-ln u``; None for anything else."""
    if not isinstance(exponent, Apply):
        return None
    if exponent.op is Op.LOG:
        return exponent.args[0] if len(exponent.args) == 1 else None
    if exponent.op is Op.NEG:
        power = _power_of_logarithm(exponent.args[0])
        return None if power is None else Apply(Op.DIV, (Number(Fraction(1)), power))
    if exponent.op is not Op.MUL or len(exponent.args) != 2:
        return None
    count, logarithm = exponent.args
    if not isinstance(count, Number) or count.value.denominator != 1 or not isinstance(logarithm, Apply):
        return None
    if logarithm.op is not Op.LOG or len(logarithm.args) != 1:
        return None
    return Apply(Op.POW, (logarithm.args[0], count))


# -- constants of integration


def _up_to_constant(gold: Node, answer: Node, decide: Decision) -> Outcome | None:
    """Decide where one side ends in ``+ C``; None where neither does."""
    wanted = _split_constant(gold, "CK")
    given = _split_constant(answer, _CONSTANT_NAMES)
    if wanted is None:
        if given is None or not symbols(gold) or given[1] in symbols(gold) or given[1][0] not in "CK":
            return None
        return decide(gold, given[0])
    if _looks_like_variables(wanted):
        return None
    if given is None or given[1] in symbols(wanted[0]):
        outcome = decide(wanted[0], answer)
        if outcome.correct:
            return wrong("constant missing", "the constant of integration is missing", "format only")
        return outcome
    outcome = decide(wanted[0], given[0])
    if outcome.correct:
        return outcome
    difference: Node = Apply(Op.ADD, (wanted[0], negate(given[0])))
    elsewhere = substitute(difference, dict.fromkeys(symbols(difference), _REFERENCE))
    if symbols(difference) and decide(elsewhere, difference).correct:
        return right("same up to a constant", "both differ by a constant only, which the constant takes up")
    return outcome


def _looks_like_variables(split: tuple[Node, str]) -> bool:
    """Tell ``A + B + C`` from an antiderivative, whose variable is a small letter."""
    names = symbols(split[0])
    return not any(name[:1].islower() for name in names) or any(len(n) == 1 and n.isupper() for n in names)


def _same_constants(gold: Node, answer: Node) -> Node:
    """``A cos x + B sin x`` with the constants of ``C_1 cos x + C_2 sin x``: a general solution may name them freely."""
    wanted = [name for name in sorted(symbols(gold)) if name.partition("_")[0] == "C"]
    if not wanted or not _solves_an_equation(gold):
        return answer
    given = [name for name in sorted(symbols(answer)) if name.partition("_")[0] in _SOLUTION_NAMES]
    others = symbols(gold) - set(wanted)
    if len(given) != len(wanted) or given == wanted or others != symbols(answer) - set(given) or not others:
        return answer
    return substitute(answer, {old: Symbol(new) for old, new in zip(given, wanted, strict=True)})


def _solves_an_equation(node: Node) -> bool:
    """Tell whether ``node`` is of the kind that solves a differential equation: exponentials, waves, logarithms."""
    if not isinstance(node, Apply):
        return False
    if node.op in _TRANSCENDENTAL or (node.op is Op.POW and node.args[0] == Constant("e")):
        return True
    return any(_solves_an_equation(arg) for arg in node.args)


def _split_constant(node: Node, names: str | frozenset[str]) -> tuple[Node, str] | None:
    """``f + C`` as ``f`` and ``C``, where ``C`` occurs nowhere else."""
    if isinstance(node, Apply) and node.op is Op.DIV and not symbols(node.args[1]):  # (x^3 + C)/3
        above = _split_constant(node.args[0], names)
        return None if above is None else (Apply(Op.DIV, (above[0], node.args[1])), above[1])
    if not isinstance(node, Apply) or node.op is not Op.ADD:
        return None
    for index, term in enumerate(node.args):
        if not isinstance(term, Symbol) or term.name.partition("_")[0] not in names:
            continue
        rest = node.args[:index] + node.args[index + 1 :]
        body = rest[0] if len(rest) == 1 else Apply(Op.ADD, rest)
        if term.name not in symbols(body):
            return body, term.name
    return None
