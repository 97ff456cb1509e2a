"""The value that a sentence asserts: after its last equals sign, verb or "so", by the kind of answer that is wanted.

Nothing here decides whether the sentence asserts anything at all; :mod:`rewards.last_sentence` does.
"""

from __future__ import annotations

import re

from rewards.candidates import Kind, Wanted
from rewards.clause import FINITE, NUMBER, WORD_NUMBER, last_part, value_in
from rewards.hedging import is_hedged
from rewards.units import canonical_unit

MATH = re.compile(
    r"\$\$[^$]{1,1500}\$\$|\\\[(?:[^\\]|\\(?!\])){1,1500}\\\]|\\\((?:[^\\]|\\(?!\))){1,800}\\\)"
    r"|\\begin\{(?P<env>align|equation|gather|aligned|eqnarray)(?P<star>\*?)\}(?:[^\\]|\\(?!end\{)){1,1500}\\end\{(?P=env)(?P=star)\}"
    r"|(?<![\\\d])\$(?!\s)[^$\n]{1,400}(?<![\s\\])\$(?!\d)"
)
NOT_BUT = re.compile(
    r"(?:\bnot|n't|不是)\s*\$?(?:\$[^$\n]{1,40}\$|[^,.\n，]{1,40}?)[,，]?\s*(?:\bbut(?: rather)?\b|(?<=, )it(?:'s| is)\b|\brather\b|而是)\s*",
    re.I,
)
NOT_AFTER = re.compile(
    r",\s+(?:and\s+|but\s+)?not\s|\s+not\s+(?=[$\d])|\s+(?:instead of|rather than)\s|[,，]?而?不是", re.I
)
_NOT_BEFORE = re.compile(r"(?:\bnot|n't|不|没有?)\s*(?:equal to\s*)?\\?\$?\s*$", re.I)
_CONDITION = re.compile(
    r"^\W*(?:if|when|since|because|as|given|after|with|for|in|by|from|on|at|using|adding|subtracting|multiplying|dividing)\b(?:(?:[^,]|,(?=\d))*,(?!\d)|[^,]{0,120}?(?=\bthen\b))\s*(?:then\s+|we\s+)?",
    re.I,
)
_LEAD = re.compile(
    r"(?:[\s*_#>\"“`|•→⇒∴=~✅🎯]|[-–—]+(?=\s)|=>|-+>|\\(?:therefore|Rightarrow|implies|longrightarrow|to)\b|\(?\d{1,2}[.)](?=\s)|（\d{1,2}）"
    r"|(?:so|therefore|thus|hence|and|then|finally|consequently|in conclusion|to conclude|in total|altogether|in summary|overall|now|ok(?:ay)?|well|this means|that means|it follows)\b(?:\s+that\b)?[,:]?"
    r"|(?:conclusion|result|total|solution|output)\s*[:：]"
    r"|(?:所以|因此|综上所述|综上|总之|故|也就是说|最后|则)[，,：:]?)*",
    re.I,
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
_CHOICE = re.compile(
    r"\b(?:option|choice|letter|answer|choose|chooses|pick|picks|select|selects)\W{0,3}(?:is\s+)?[\s(*\[{$]{0,4}([A-J])(?![A-Za-z])"
    r"|\(([A-J])\)|(?:\bis|\bbe|:|=|选)\s*[*_$({\[]{0,3}([A-J])(?=[)\]}*_$]{0,3}\W*$)|(?<![A-Za-z])([A-J])\)?\s*(?:is\s+(?:the\s+)?(?:correct|right|best)|是?(?:正确|对)的?)",
)
_BARE_CHOICE = re.compile(r"[\s(*\[{$\"']{0,4}([A-J]|[a-j](?=\W*$))(?:[)\]}*$\"'.:]{1,4}(?:\s.*)?|\s*)", re.S)
_SEVERAL_LETTERS = re.compile(
    r"(?<![A-Za-z])\(?[A-J]\)?[^.]{0,20}(?:,|/|\band\b|\bor\b|\bmaybe\b|和|或)\s*(?:maybe\s+)?(?:option\s+|choice\s+)?\(?[A-J](?![A-Za-z'])"
)
_PREDICATE = re.compile(
    r"\b(?:is|are|was|were|be|becomes?|called|named|equals?|falls?)\b\s*(?:on|in|at|by)?\s*|[:：](?!\d)\s*|[是为]",
    re.I,
)
_EXCELS = re.compile(
    r"([A-Z][\w'-]*(?:\s+[A-Z][\w'-]*){0,2})\s+(?:has|had|have|got|gets|wins?|won|runs|ran|ate|sold|earned|made|scored|finished|came|arrived)\s+"
    r"(?:the\s+)?(?:\w+est\b|most\b|least\b|first\b|last\b|race\b)"
)
_SUBJECT_ROLE = re.compile(
    r"^(?:the|an?)\s+(?:\w+est\b|most|least|only|first|last|winner|one|answer|correct|right|person|best|worst)|^(?:\w+est|correct|right)\b",
    re.I,
)
DIGIT = re.compile(r"\d")
_HEADING_LABEL = re.compile(r"[A-Za-z][A-Za-z '()]{1,60}?(?:\s*\([^)]{1,20}\))?\s*[:：]\s*(?=\S)")
_IF = re.compile(r"^\W*(?:if|unless|when|suppose)\b", re.I)
_OR_NOT = re.compile(r"\bor (?:not|none|nothing|so|more|less)\b", re.I)
_REASON = re.compile(r",?\s+(?:because|since|given that|due to)\s|，?因为", re.I)


def asserted_value(sentence: str, wanted: Wanted) -> tuple[int, int] | None:
    """Range of the value in ``sentence``."""
    start, end = 0, len(sentence.rstrip(' \t\r\n.!。！；;*_"”`|✓✔✅'))
    not_but = NOT_BUT.search(sentence, 0, end)
    if not_but:
        start = not_but.end()
    denied = NOT_AFTER.search(sentence, start, end)
    if denied and denied.start() > start:
        end = denied.start()
    if wanted.kind is Kind.CHOICE:
        return _choice(sentence[:end])
    if wanted.kind is Kind.WORDS:
        return _shifted(_words(sentence[start:end], wanted), start)
    if not wanted.several and (is_hedged(sentence[start:end], wanted.words) or _OR_NOT.search(sentence)):
        return None
    reason = _REASON.search(sentence, start, end)
    if reason and reason.start() > start + 3 and DIGIT.search(sentence, start, reason.start()):
        end = reason.start()
    start += last_part(sentence[start:end])
    for _ in range(3):
        lead = _LEAD.match(sentence, start, end)
        start = lead.end() if lead else start
        condition = _CONDITION.match(sentence[start:end])
        if not condition or not DIGIT.search(sentence, start + condition.end(), end):
            if _IF.match(sentence, start, end):
                return None
            break
        start += condition.end()
    return _shifted(_mathematical(sentence[start:end], wanted), start)


def _shifted(found: tuple[int, int] | None, by: int) -> tuple[int, int] | None:
    return None if found is None or found[1] <= found[0] else (found[0] + by, found[1] + by)


def _choice(part: str) -> tuple[int, int] | None:
    if _SEVERAL_LETTERS.search(part):
        return None
    lead = _LEAD.match(part)
    offset = lead.end() if lead else 0
    bare = _BARE_CHOICE.fullmatch(part[offset:])
    if bare:
        return offset + bare.start(1), offset + bare.end(1)
    found = list(_CHOICE.finditer(part))
    letters = {next(group for group in match.groups() if group) for match in found}
    if len(letters) != 1:
        return None
    return found[-1].span(next(index for index, group in enumerate(found[-1].groups(), 1) if group))


def _words(part: str, wanted: Wanted) -> tuple[int, int] | None:
    lead = _LEAD.match(part)
    start = lead.end() if lead else 0
    label = _HEADING_LABEL.match(part, start)
    start = label.end() if label else start
    inner = value_in(part[start:], wanted)
    if (
        inner is None
        or _TURNS_WORDS.search(part[:])
        or {"yes", "no"} <= set(re.findall(r"\b(?:yes|no)\b", part.lower()))
    ):
        return None
    first, last = inner
    if re.fullmatch(r"(?:yes|no|true|false)", part[start + first : start + last], re.I):
        return start + first, start + last
    subject = _EXCELS.match(part, start)
    if subject:
        return subject.span(1)
    verbs = list(_PREDICATE.finditer(part, start))
    if verbs:
        verb = verbs[-1]
        predicate = part[verb.end() :]
        if _SUBJECT_ROLE.match(predicate) and len(part[start : verb.start()].split()) <= 3:
            return start, verb.start() - (len(part[: verb.start()]) - len(part[: verb.start()].rstrip()))
        first, last = value_in(predicate, wanted) or (0, 0)
        return verb.end() + first, verb.end() + last
    return (
        (start + first, start + last)
        if len(part[start:].split()) <= max(4, len(wanted.words.split()))
        else None
    )


_TURNS_WORDS = re.compile(
    r"\b(?:nothing|nobody|none|opposite|converse|negation|contrary|inverse|doubt|almost|hardly|neither)\b",
    re.I,
)


def _mathematical(part: str, wanted: Wanted) -> tuple[int, int] | None:
    if not part.strip():
        return None
    if (
        wanted.kind is Kind.NUMBER
        and re.fullmatch(r"[^=]*\([^()]*\)", part)
        and DIGIT.search(part.split("(")[0])
    ):
        trimmed = part[: part.rindex("(")].rstrip()
        if (
            NUMBER.search(trimmed)
            and not part[part.rindex("(") - 1].isdigit()
            and re.search(r"[A-Za-z\u4e00-\u9fff]", part[part.rindex("(") :])
        ):
            return _mathematical_core(part, wanted) if "=" in trimmed else _mathematical(trimmed, wanted)
    return _mathematical_core(part, wanted)


def _mathematical_core(part: str, wanted: Wanted) -> tuple[int, int] | None:
    formulas = list(MATH.finditer(part))
    if formulas:
        return _from_formula(part, formulas, wanted)
    label = _HEADING_LABEL.match(part)
    if label and len(part[: label.end()].split()) <= 5:
        found = _mathematical_core(part[label.end() :], wanted)
        return (label.end() + found[0], label.end() + found[1]) if found else None
    if wanted.kind is Kind.NUMBER:
        return _plain_number(part, wanted)
    return _plain_formula(part, wanted)


def _plain_number(part: str, wanted: Wanted) -> tuple[int, int] | None:
    equals = part.rfind("=")
    turned = _TURNED.search(part)
    if turned:
        return turned.span(1)
    if _INFINITY.search(part) and not DIGIT.search(part):
        return _plain_formula(part, wanted)
    if equals >= 0 and _TWO_UNKNOWNS.search(part):
        return None
    if equals >= 0 and not _may_be_read_off(part[:equals], bool(re.search(r"[A-Za-z]{3}", part[:equals]))):
        sides = part[:equals].rstrip()
        start = max(sides.rfind(" "), 0)
        return (start, len(part)) if start else (0, len(part))
    if (
        not DIGIT.search(part)
        and not WORD_NUMBER.search(part)
        and not re.search(r"[零一二两三四五六七八九十百千½⅓⅔¼¾π∞√]", part)
    ):
        return None
    inner = value_in(part, wanted)
    if inner is None:
        return None
    first, last = inner
    chosen = part[first:last]
    if chosen.isascii() and not DIGIT.search(chosen) and not _says_how_many(part, first):
        return None
    if (
        first == 0
        and last == len(part)
        and re.search(r"[A-Za-z]{3,}.*\d.*[A-Za-z]", chosen)
        and len(NUMBER.findall(chosen)) > 1
    ):
        return None
    if not DIGIT.search(chosen) and WORD_NUMBER.search(chosen) is None and chosen.isascii():
        return None
    if _NOT_BEFORE.search(part[:first]):
        return None
    return first, last


_TURNED = re.compile(r"(?:^|[\s,:])([-−]?[$]?\d[\d.,/]*)\s*=\s*[A-Za-z]$")
_TIMES = re.compile(r"(?<=[\d)%a-z])\s*[xX]\s*(?=[$\d(.])")
_NAMED_SET = re.compile(
    r"\bno (?:real |integer |positive )?(?:solutions?|roots?)\b|\ball real numbers\b|无(?:实数)?解|全体实数",
    re.I,
)
_INFINITY = re.compile(r"\binfinity\b|∞", re.I)
_TWO_UNKNOWNS = re.compile(
    r"(?<![A-Za-z])[A-Za-z]\s*=\s*[^=,]{1,30}(?:,|;|\band\b|\bor\b|和|或|，)\s*(?:and\s+|or\s+)?[A-Za-z]\s*=[^=]*$"
)


def _says_how_many(part: str, first: int) -> bool:
    """Tell whether a number in words is asserted, and not a pronoun or a mere count: "these two quantities"."""
    return bool(FINITE.search(part, 0, first)) if first else len(part.split()) <= 4


def _may_be_read_off(left: str, has_words: bool) -> bool:
    """Tell whether the value after an equals sign is the value of something asked: not of ``2x`` or of ``x + 3``."""
    last = _TIMES.sub("*", left.split("=")[-1]).strip(" $*")
    if has_words:
        last = re.split(
            r"(?<!\\)(?<![A-Za-z])(?:[A-Za-z]{2,}|a|I)(?![A-Za-z(])|[,，;；:：\u4e00-\u9fff]", last
        )[-1].strip(" $*")
    if not re.search(r"(?<![A-Za-z\\])[a-zA-Z](?![A-Za-z])", re.sub(r"\\[A-Za-z]+", " ", last)):
        return True
    return bool(_SIMPLE_SIDE.fullmatch(last))


def _from_formula(part: str, formulas: list[re.Match[str]], wanted: Wanted) -> tuple[int, int] | None:
    last = formulas[-1]
    rest = part[last.end() :]
    if wanted.kind is Kind.LIST:
        return _list_of_formulas(part, formulas)
    if DIGIT.search(rest):
        if wanted.kind is not Kind.NUMBER:
            return None
        return _plain_number(part, wanted)
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
    if goes_on and not _may_be_read_off(before[:-1], has_words=True):
        return None
    offset = _value_of_chain(body, wanted)
    if offset is None:
        return None
    suffix = re.match(r"\s*(?:\\?%|°)", rest)
    if suffix and not offset:
        return last.start(), last.end() + suffix.end()
    unit = re.match(r"\s*([A-Za-z]{1,12}(?:/[a-z]{1,5}|\^\{?\d\}?)?)\b", rest)
    is_unit = unit is not None and unit[1] not in ("in", "a", "as", "at", "is") and canonical_unit(unit[1])
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
    if not equals or wanted.kind is Kind.EQUATION or _TWO_UNKNOWNS.search(body):
        return 0
    if body[: equals[0]].strip() == "" and len(equals) == 1:
        return equals[0] + 1
    if _may_be_read_off(body[: equals[-1]], has_words=False):
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


def _plain_formula(part: str, wanted: Wanted) -> tuple[int, int] | None:
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
