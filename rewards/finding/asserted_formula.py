"""The value that a formula in a sentence asserts: after its last equals sign, if that is the value of something asked."""

from __future__ import annotations

import re

from rewards.finding.candidates import Kind, Wanted
from rewards.notation.units import canonical_unit

MATH = re.compile(
    r"\$\$[^$]{1,1500}\$\$|\\\[(?:[^\\]|\\(?!\])){1,1500}\\\]|\\\((?:[^\\]|\\(?!\))){1,800}\\\)"
    r"|\\begin\{(?P<env>align|equation|gather|aligned|eqnarray)(?P<star>\*?)\}(?:[^\\]|\\(?!end\{)){1,1500}\\end\{(?P=env)(?P=star)\}"
    r"|(?<![\\\d])\$(?!\s)[^$\n]{1,400}(?<![\s\\])\$(?!\d)"
)
_ASSERTS = re.compile(
    r"(?:\b(?:is|are|was|were|be|equals?|becomes?|gives?(?: us)?|yields?|get|gets|got|have|has|obtain|obtains|find|finds|at(?: the points?)?|on(?: a| the)?|with|to|makes?|that's|it's|as|point)\b|:(?!\d)|⇒|=>|→|[是为得于])\s*",
    re.I,
)
SYMBOLIC = re.compile(r"\binfinity\b|[=<>≤≥∈∪∞^√π\\]|[A-Za-z]\s?[(+\-*/]|\d[A-Za-z]|[\[(]\s*-?[\d\\A-Za-z]")
_SIMPLE_SIDE = re.compile(
    r"\s*(?:[A-Za-z](?:_\{?\w{1,6}\}?)?'?|[A-Za-z]\([^()=]{1,12}\)|\\(?:angle|overline|text|mathrm|theta|alpha|beta|lambda|phi|mu)\b[^=+*/]{0,30}|\|?[A-Z]{2,3}\|?"
    r"|[A-Za-z](?:\s*\+\s*[A-Za-z]){1,5}|[A-Z]{1,2}\s*\([^()=]{1,30}\))\s*"
)
DIGIT = re.compile(r"\d")
_TIMES = re.compile(r"(?<=[\d)%a-z])\s*[xX]\s*(?=[$\d(.])")
_NAMED_SET = re.compile(
    r"\bno (?:real |integer |positive )?(?:solutions?|roots?)\b|\ball real numbers\b|无(?:实数)?解|全体实数",
    re.I,
)
TWO_UNKNOWNS = re.compile(
    r"(?<![A-Za-z])[A-Za-z]\s*=\s*[^=,]{1,30}(?:,|;|\band\b|\bor\b|和|或|，)\s*(?:and\s+|or\s+)?[A-Za-z]\s*=[^=]*$"
)


def may_be_read_off(left: str, has_words: bool) -> bool:
    """Tell whether the value after an equals sign is the value of something asked: not of ``2x`` or of ``x + 3``."""
    last = _TIMES.sub("*", left.split("=")[-1]).strip(" $*")
    if has_words:
        last = re.split(
            r"(?<!\\)(?<![A-Za-z])(?:[A-Za-z]{2,}|a|I)(?![A-Za-z(])|[,，;；:：\u4e00-\u9fff]", last
        )[-1].strip(" $*")
    if not re.search(r"(?<![A-Za-z\\])[a-zA-Z](?![A-Za-z])", re.sub(r"\\[A-Za-z]+", " ", last)):
        return True
    return bool(_SIMPLE_SIDE.fullmatch(last))


def from_formula(part: str, formulas: list[re.Match[str]], wanted: Wanted) -> tuple[int, int] | None:
    """Range of the value in the last of ``formulas``, which stand in ``part`` in order."""
    last = formulas[-1]
    rest = part[last.end() :]
    if wanted.kind is Kind.LIST:
        return _list_of_formulas(part, formulas)
    if DIGIT.search(rest):
        return None
    if (
        len(formulas) > 1
        and re.search(r"\b(?:and|or|和|或)\s*$|[,，]\s*$", part[formulas[-2].end() : last.start()])
        and not re.search(
            r"[A-Za-z]{3,}", re.sub(r"\b(?:and|or)\b", "", part[formulas[-2].end() : last.start()])
        )
    ):
        return formulas[-2].start(), len(part)
    first, end = last.start() + _delimiter(last[0]), last.end() - _delimiter(last[0])
    body = part[first:end]
    if last["env"]:
        inner = re.match(r"\\begin\{[a-z]+\*?\}", body)
        first += inner.end() if inner else 0
        end = first + len(re.sub(r"\\end\{[a-z]+\*?\}$", "", part[first:end]))
        row = max(part.rfind("\\\\", first, end), part.rfind("&", first, end))
        if row >= 0:
            first = row + (2 if part[row] == "\\" else 1)
        body = part[first:end]
    before = part[: last.start()].rstrip()
    goes_on = before.endswith("=") and not body.lstrip().startswith("=")
    if goes_on and not may_be_read_off(before[:-1], has_words=True):
        return None
    offset = _value_of_chain(body, wanted)
    if offset is None:
        return None
    suffix = re.match(r"\s*(?:\\?%|°)", rest)
    if suffix and not offset:
        return last.start(), last.end() + suffix.end()
    unit = re.match(r"\s*([A-Za-z]{1,12}(?:/[a-z]{1,5}|\^\{?\d\}?)?)\b", rest)
    is_unit = unit is not None and unit[1] not in ("in", "a", "as", "at", "is") and canonical_unit(unit[1])
    if (
        unit
        and is_unit
        and offset
        and wanted.kind is Kind.NUMBER
        and re.fullmatch(r"\s*-?[\d.,]+\s*", body[offset:])
    ):
        return first + offset, last.end() + unit.end()
    if unit and is_unit and not offset and wanted.kind is Kind.NUMBER:
        return last.start(), last.end() + unit.end()
    lead = re.match(
        r"\s*(?:\\(?:Rightarrow|implies|therefore|to|longrightarrow|quad|qquad)(?![A-Za-z])\s*)*=?\s*",
        body[offset:],
    )
    return first + offset + (lead.end() if lead else 0), first + len(body.rstrip(" .,;\n"))


def _value_of_chain(body: str, wanted: Wanted) -> int | None:
    """Offset of what a chain of equations asserts; None if it is an equation that is not solved."""
    equals = [m.start() for m in re.finditer(r"(?<![<>!:\\])=(?!=)", body)]
    if not equals or wanted.kind is Kind.EQUATION or TWO_UNKNOWNS.search(body):
        return 0
    if body[: equals[0]].strip() == "" and len(equals) == 1:
        return equals[0] + 1
    if may_be_read_off(body[: equals[-1]], has_words=False):
        if wanted.kind is Kind.NUMBER or len(equals) > 1:
            return equals[-1] + 1
        return 0
    if len(equals) > 1 and _SIMPLE_SIDE.fullmatch(body[: equals[0]]):
        return equals[-1] + 1
    return equals[-1] + 1 if wanted.kind is Kind.OTHER else 0


def _list_of_formulas(part: str, formulas: list[re.Match[str]]) -> tuple[int, int] | None:
    start = formulas[-1].start()
    for earlier, later in zip(reversed(formulas[:-1]), reversed(formulas[1:]), strict=True):
        between = part[earlier.end() : later.start()]
        if not re.fullmatch(r"\s*(?:,|;|、)?\s*(?:and|or|和|或|及)?\s*", between):
            break
        start = earlier.start()
    return start, formulas[-1].end()


def _delimiter(formula: str) -> int:
    if formula.startswith("\\begin"):
        return 0
    return 1 if formula[0] == "$" and not formula.startswith("$$") else 2


def plain_formula(part: str, wanted: Wanted) -> tuple[int, int] | None:
    """A formula without delimiters: what follows the last verb, or the whole where there are no words."""
    named = _NAMED_SET.search(part)
    if named:
        return named.span()
    words = re.findall(r"(?<![A-Za-z\\])[A-Za-z]{3,}", part)
    start = 0
    if words:
        verbs = [verb.end() for verb in _ASSERTS.finditer(part) if verb.end() < len(part)]
        verbs = [verb for verb in verbs if SYMBOLIC.search(part, verb) or DIGIT.search(part, verb)]
        if not verbs and not SYMBOLIC.search(part):
            return None
        start = verbs[-1] if verbs else 0
        for verb in reversed(verbs):
            if wanted.kind is Kind.LIST and not re.search(r"[A-Za-z]{4,}", part[verb:start]):
                start = verb
    if not re.search(r"[\dA-Za-z∞ℝ∅π√]", part[start:]):
        return None
    if wanted.kind is Kind.OTHER:
        offset = _value_of_chain(part[start:], wanted)
        start += offset or 0
    lead = re.match(r"\s*", part[start:])
    return start + (lead.end() if lead else 0), len(part)
