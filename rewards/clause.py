"""A clause that states a value → the value in it: "she has 12 apples left after giving 5 away" → ``12``.

What is cut off depends on the kind of answer that is wanted, never on the gold's value. Where a clause names several
numbers and does not say which one it asserts, nothing is cut off, and so it will not be readable as one number.
"""

from __future__ import annotations

import re

from rewards.candidates import Kind, Wanted
from rewards.hedging import same_number
from rewards.normalize import reads_as_number
from rewards.units import canonical_unit

_GROUPED = r"\d{1,3}(?:(?:,|\{,\}|\\,|\\!|,\\!|[\u00a0\u2009\u202f])\d{3})+(?!\d)"
_CLOCK = r"\d{1,2}:\d{2}(?::\d{2})?\s?(?:[ap]\.?\s?m\.?(?![a-z]))?"
NUMBER = re.compile(
    r"(?<![A-Za-z0-9_.^])(?:[-−+]|负)?(?:(?:US|CA|AU|HK|R)?\\?[$€£¥￥₹]\s?[-−]?)?"
    rf"(?:{_CLOCK}|(?:{_GROUPED}|\d{{1,3}}(?: \d{{3}})+(?![\d.])|\d+)(?:\.\d+|,\d{{1,2}}(?![\d,]))?(?!\d*(?:st|nd|rd|th)\b)(?:(?:\s?/\s?|(?:\s|-|\sand\s)\d+/)\d+|\s?[½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒])?|\.\d+|[½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒])(?:\s?(?:π|\\pi(?![a-z])|pi\b))?"
    r"(?:\s?(?:[x×*]|\\times|\\cdot)\s?10\s?\^\s?\{?[-−]?\d+\}?)?"
    r"(?:\s?\\?[%％‰°]|\s(?:percent|per cent)\b|\s?(?:hundred|thousand|million|billion|trillion|dozen)\b|[百千万亿](?![克米瓦]))*",
    re.I,
)
_NUMBER_WORDS = (
    "zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen"
    "|eighteen|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred|thousand|million|dozen"
)
_PARTS = "halves|half|thirds?|quarters?|fourths?|fifths?|sixths?|sevenths?|eighths?|ninths?|tenths?"
WORD_NUMBER = re.compile(
    rf"\b(?:(?:minus|negative)\s+)?(?:(?:{_NUMBER_WORDS})(?:(?:[\s-]+(?:and[\s-]+)?(?:a[\s-]+)?)(?:{_NUMBER_WORDS}|{_PARTS})"
    rf"(?![A-Za-z]))*|(?:a|one)[\s-]+(?:{_PARTS})|half)(?:\s+(?:percent|per cent))?\b",
    re.I,
)
_CHINESE_NUMBER = re.compile(
    r"(?:负|百分之)?[零〇一二两三四五六七八九十百千万亿]+(?:分之[零一二两三四五六七八九十百千万]+|点[零一二三四五六七八九]+)?"
)
_WORD = re.compile(r"[A-Za-z]{2,}|[\u4e00-\u9fff]{1,}")
_MATH_WORDS = frozenset(
    [
        "pi",
        "sqrt",
        "sin",
        "cos",
        "tan",
        "cot",
        "sec",
        "csc",
        "log",
        "ln",
        "exp",
        "arcsin",
        "arccos",
        "arctan",
        "abs",
        "either",
        "or",
        "and",
        "mod",
        "choose",
        "infinity",
        "inf",
        "negative",
        "minus",
        "degrees",
    ]
)
_PROSE = re.compile(r"(?!.*\blambda\b)[^\[\]{}\"_;<>@#`|]*", re.S)
_ARITHMETIC_BEFORE = re.compile(
    r"\b(?:half|twice|thrice|double|triple|third|quarter|square|cube|root|sum|product|difference|quotient|factorial|log|sine|cosine|tangent"
    r"|than|between|most|least|under|over|above|below|within|anything|except|up to|until|squared|nearly|almost|hardly|barely|far|off"
    r"|of all|multiple|one of|before|after|past|any|divided|multiplied|increased|decreased|reciprocal|negation|negative of|inverse|digits?"
    r"|successor|predecessor|complement|power|proportional|row|column|(?:\w+\s+minus)|divisors?|factors?|congruent|coprime|prime|closer|near|like|such|ending|starting|beyond|unlikely|opposite"
    r"|from|range|interval|minus the|number after|number before|times|quite|never|not|without|ones?|other|wrong|incorrect|false|guess)\b|[\u4e00-\u9fff]*(?:大于|小于|超过|不到|少于|多于|至少|至多|最多|最少|约为)",
    re.I,
)
_BOUND = re.compile(
    r"\b(?:up to|between|at (?:least|most)|(?:more|less|fewer|greater|other|rather) (?:than|or equal)|not|either|or)\b[^.]{0,12}$|大于|小于|超过|不到|少于|多于|至少|至多|最多|最少|不止|接近",
    re.I,
)
_QUANTITY_OF = re.compile(
    r"\b(?:total|amount|profit|average|value|maximum|minimum|loss|cost|length|distance|price|speed|area|sum|number|balance|score) of\s+\$?$",
    re.I,
)
_CHANGED_BY = re.compile(
    r"\b(?:increas|decreas|reduc|chang)(?:ed|es) by\s+\$?$|\b(?:rose|fell|dropped|grew|went up|went down) by\s+\$?$",
    re.I,
)
_NAMED_NUMBER = re.compile(
    r"\b(?:section|page|chapter|equation|problem|question|theorem|lemma|figure|table|step|line|exercise|example|room|agent|catch|part|case"
    r"|option|item|version|level|see|number|no|grade|day|week|lesson|unit|rule|axiom|definition|corollary)\W*$",
    re.I,
)
_LATIN_WORD = re.compile(r"[A-Za-z'’]+")
_HARMLESS = frozenset(
    [
        "a",
        "an",
        "the",
        "exactly",
        "precisely",
        "just",
        "only",
        "simply",
        "approximately",
        "about",
        "roughly",
        "around",
        "altogether",
        "another",
        "additional",
        "extra",
        "further",
        "up",
        "out",
        "us",
        "her",
        "him",
        "them",
        "it",
        "you",
        "me",
        "to",
        "be",
        "been",
        "equal",
        "as",
        "at",
        "with",
        "total",
        "totals",
        "of",
        "value",
        "amount",
        "profit",
        "probability",
        "chance",
        "length",
        "area",
        "distance",
        "cost",
        "price",
        "speed",
        "rate",
        "score",
        "average",
        "volume",
        "width",
        "height",
        "radius",
        "diameter",
        "perimeter",
        "circumference",
        "weight",
        "mass",
        "age",
        "loss",
        "balance",
        "mean",
        "median",
        "mode",
        "range",
        "maximum",
        "minimum",
        "remaining",
        "final",
        "overall",
        "combined",
        "still",
        "also",
        "now",
        "then",
        "that",
        "there",
        "already",
        "sold",
        "currently",
        "all",
        "x",
        "y",
        "z",
        "n",
        "k",
        "m",
        "is",
        "equals",
        "point",
        "and",
        "year",
    ]
)
_ARITHMETIC_AFTER = re.compile(
    r"\s*\$?\s*-?\s*(?:(?:more|less|fewer|greater|larger|smaller|higher|lower|older|younger|bigger|longer|shorter|taller)\s+"
    r"(?:\w+\s+)?than\s+(?:[$\d]|[a-z]\b|twice|half|double|three|two|four|five|the (?:number|sum|product|answer))|times\s+(?:[$\d(]|[a-z]\b|as|the|a|that|more|it\w*|\w+ number)"
    r"|(?:squared|cubed|doubled|tripled|quadrupled|halved|shared|into|take away|added|reduced|raised|increased|decreased|multiplied|divided"
    r"|tens|ones|hundreds|thousands|halves|thirds|quarters|fourths|fifths|sixths|sevenths|eighths|ninths|tenths|hundredths|thousandths|short of|shy of|on top|ish|reversed"
    r"|backwards|inverted|negated|plus|minus|over|factorial|mod(?:ulo)?|choose|versus|vs|alias|give or take|as well as|also|through|points? \w+"
    r"|below|above|under|unless|only if|if|provided|in an? (?:older|earlier|previous)|is|was|are|short|off|shy|away|upwards|onwards|base|bn|lakh|crore|k\b|M\b)\b"
    r"|to the (?:power|\w+ power|second|third|fourth|fifth|\w+th)\b|in (?:base|binary|octal|hex|hexadecimal|\d)|less \d|out of (?:\d|a hundred)|or\b|and (?:a |an )?(?:half|bit|change|counting|quarter|third|more|up)|and \d|to \d"
    r"|percent of|per cent of|%\s*of|[½%]?\s*of\s+\$?\d|by\s+\d|x\s*\d|with an error|at (?:least|most)|[-–—]\s*\d|多|左右|以上|以下|倍|的\d|成|的?[两二三四五]倍|的一半|的(?:平方|立方|倒数|相反数|阶乘|根)|到\d|几|又)",
    re.I,
)
_OPERATOR = re.compile(
    r"\s*(?:/(?!\s?[A-Za-z]{2})|[+*^=!:÷×·√<>≤≥≠≈_(|\\]|[π√∞]|[-−]\s*[\d(A-Za-z\\$]|\\(?:cdot|times|frac|sqrt|pi|le|ge|in))"
)
_COORDINATED = re.compile(r"(?:,|;|\band\b|\bor\b|\bbut\b|&|\bplus\b|\bwhile\b|、|，|；|和|与|或)", re.I)
_SPLIT = re.compile(
    r"(?:,|;|，|；|\band)?\s*\b(?:so|therefore|thus|hence|which means|which rounds (?:up |down |off )?to|which (?:gives|is|equals|makes|leaves)(?=[^,.]{0,25}\d)|meaning(?: that)?"
    r"|making|giving|leaving|that is|i\.e\.|ie|consequently)\b[\s,:]*|(?:，|,|。|；)?(?:所以|因此|因而|于是|即|也就是|解得|得到)[，,：:]?",
    re.I,
)
_PREPOSITION = re.compile(
    r"\b(?:for|of|in|from|per|after|with|at|on|by|each|during|within|among|before|over|every|out of|than|to|since|beyond|above|below|under|around|near|without|including|against|until|between"
    r"|through|into|as|while|when|if)\s+((?:[A-Za-z'’-]+\s+){0,3})[$(]?$|(?:在|每|的|从|按|经过|用)()$",
    re.I,
)
FINITE = re.compile(
    r"(?:\b(?:that|it|there|she|he|which|answer)['’]s|\b(?:is|are|was|were|(?:will|would|can|could|must|should)(?: (?:then|only|still|also|now))?(?: [a-z]+)?|has|have|had|gets?|got|gives|gave|makes|made|needs?|needed|takes|took|costs?|earns|earned"
    r"|pays|paid|spends|spent|saves|saved|receives|received|sells|sold|buys|bought|eats|ate|reads|writes|wrote|weighs|walks|runs|ran|drives|drove"
    r"|travels|traveled|left|remains?|contains?|holds|uses|used|requires?|produces|collects|collected|totals?|owes|obtain|find|drinks|bakes|baked"
    r"|picks|picked|wins|won|scores|scored|lasts|keeps|kept|loses|lost|works|worked|equals|makes?|yields?|gives|comes|totals?|collects?|uses?|needs?|reads|plants?|grows|makes|caught|scored|measures?|receive|earn|pay|cost|take|give|get|make))(?![A-Za-z])",
    re.I,
)
_ASIDE = re.compile(
    r"\s*[(（](?![^()（）]*\b(?:base|mod|or|not|wrong|octal|binary|hex\w*|false|incorrect)\b)(?=[^()（）]*[A-Za-z\u4e00-\u9fff]{2})[^()（）]*[)）]?\s*$"
)
_ALTERNATIVE = re.compile(
    r"\s*(?:or|and|to|,|[-–—])\s*[$(]?\d|\s*(?:squared|cubed|plus|minus|divided|multiplied)\b", re.I
)
_SQUARE_UNIT = re.compile(
    r"[ \t]?(?:sq|cu)\.?[ \t]?(?:ft|in|mm|cm|km|m|yd|mi|miles?|feet|inches|meters?|metres?|yards?)\b\.?", re.I
)
_SAME_TWICE = re.compile(r"([^\s,]{1,40}),?\s+or\s+(?:equivalently,?\s+)?([^\s,]{1,40})")
_THERE_IS = re.compile(r"\s*(?:there (?:is|are)|it has|the equation has)\s+(?=no\b)", re.I)
_ONLY_ASIDE = re.compile(r"\s*[(（][^()（）]*[)）]?")
_UNIT_WORD = re.compile(r"[ \t~-]?(?P<word>[A-Za-zµμ°Ω]{1,14})\.?(?![A-Za-z])")
_CHINESE_UNIT = re.compile(
    r"[ \t]*[(（]?((?:平方|立方)?(?:千米|公里|厘米|分米|毫米|米|千克|公斤|毫克|克|吨|毫升|升|小时|分钟|秒|元|角|分|度|天|年|岁)"
    r"(?:/(?:小时|分钟|秒|时|分))?)[)）]?"
)
_MORE_UNIT = re.compile(
    r"[ \t]?(?:/|per\b|an?\b|\*|\^\s*\{?-?\d\}?|[²³]|[A-Za-zµμ]{1,14})(?:[ \t]*[A-Za-z]{1,14})?(?:\^\{?\d\}?|[²³])?"
)
_LATIN_LETTER = re.compile(
    r"\W*(?:the\s+)?(?:(?:correct|right|best)\s+)?(?:(?:option|choice|letter|answer)s?\b)?[\s:(*\[{$\"'`]*"
    r"(?:\\(?:text|textbf|mathrm|mathbf)\s*\{\s*\(?)?(?P<letter>[A-Ja-j])(?P<end>[)\]}.:,*\"'`$]|(?=\s|$))",
)
_OTHER_LETTER = re.compile(
    r"(?:^|,|/|&|\band\b|\bor\b|\bmaybe\b|和|或|、|\+)\s*[\s(*\\{]*(?:text\{)?\(?(?:[A-J]|[a-j](?=[),.]|\s*$|,))(?![A-Za-z'])"
)
_YES_NO = re.compile(r"\s*[*_\"]*(yes|no|true|false)\b[*_\"]*\s*(?=[,.;:!—–-]|$)", re.I)
_WORDS_END = re.compile(
    r"\s*[(（](?!\s*(?:or|not|wrong|maybe|false|incorrect)\b)|\s*[\[：]"
    r"|,\s+(?:who|which|with|since|as|because|so|for|not|the|he|she|it|they|we|whose|one|where|and (?:so|not|the|he|she|it))\b"
    r"|\s+(?:with|who|because|since|whose|instead of|rather than)\b|[,，](?:因为|所以|而|不)",
    re.I,
)
Range = tuple[int, int]


def value_in(clause: str, wanted: Wanted) -> Range | None:
    """Narrow ``clause`` to the value it states, as far as that is certain; else the whole clause.

    None if its words make something else of the number: "42 doubled", "the number after 42", "at least 42".
    """
    kind = wanted.kind
    if kind is Kind.CHOICE:
        return _choice(clause)
    if kind is Kind.WORDS:
        return _words(clause, wanted.words)
    if kind is Kind.NUMBER:
        return _number(clause)
    lead = _THERE_IS.match(clause)
    return lead.end() if lead else 0, len(clause)


def _choice(clause: str) -> Range | None:
    found = _LATIN_LETTER.match(clause)
    if not found:
        return 0, len(clause)
    letter, rest = found["letter"], clause[found.end() :]
    closed = found["end"] != "" or not rest.strip()
    if letter.islower() and not closed:
        return 0, len(clause)
    return None if _OTHER_LETTER.search(rest) else found.span("letter")


def _words(clause: str, gold: str) -> Range:
    leading = _YES_NO.match(clause)
    if leading:
        return leading.span(1)
    found = _WORDS_END.search(clause)
    if (
        found
        and found.start()
        and not _WORDS_END.search(gold)
        and not ("," in gold and found[0].startswith(","))
    ):
        return 0, found.start()
    return 0, len(clause)


def _number(clause: str) -> Range | None:
    clause = _without_aside(clause)
    twice = _SAME_TWICE.fullmatch(clause)
    if twice and same_number(twice[1]) and same_number(twice[1]) == same_number(twice[2]):
        return twice.span(1)
    if not FINITE.search(clause) and reads_as_number(clause):
        return 0, len(clause)
    first = NUMBER.search(clause)
    if first is None:
        return _word_number(clause)
    in_words = WORD_NUMBER.match(clause)
    if in_words and _ONLY_ASIDE.fullmatch(clause, in_words.end()):
        return 0, len(clause)
    if _is_formula(clause, first):
        return (
            None
            if _ARITHMETIC_AFTER.match(clause, first.end()) and _WORD.search(clause)
            else (0, len(clause))
        )
    start = _after_last_equals(clause)
    tail = clause[start:]
    found = _first_number(tail) if start else None
    if found is not None:
        return start + found[0], start + found[1]
    number = _stated_number(tail)
    if number is None:
        return _trimmed(clause, start, len(clause)) if start else (0, len(clause))
    if _OPERATOR.match(tail, number.end()) or _runs_on_before(tail, number.start()):
        opening = NUMBER.search(tail)
        begins = opening.start() if opening and leads_to_value(tail[: opening.start()]) else 0
        return start + begins, len(clause)
    if _ARITHMETIC_AFTER.match(tail, number.end()) or not leads_to_value(tail[: number.start()]):
        return None
    return start + number.start(), start + _with_unit(tail, number.end())


def leads_to_value(lead: str) -> bool:
    """Tell whether the words before a number leave it as it is: "she has a total of", not "the number after"."""
    if _BOUND.search(lead):
        return False
    lead = _CHANGED_BY.sub(" is ", lead)
    verbs = list(FINITE.finditer(lead))
    after = lead[verbs[-1].end() :] if verbs else lead
    words = _LATIN_WORD.findall(after)
    if all(word.lower() in _HARMLESS for word in words):
        return bool(verbs) or not words or len(words) < 8
    if _ARITHMETIC_BEFORE.search(after):
        return False
    return (bool(verbs) and len(words) <= 6) or (len(words) >= 2 and not _NAMED_NUMBER.search(after))


def _without_aside(clause: str) -> str:
    """Leave out a remark in brackets at the end: "12 (that is, 3 groups of 4)"."""
    found = _ASIDE.search(clause)
    return clause[: found.start()] if found and NUMBER.search(clause, 0, found.start()) else clause


def _is_formula(clause: str, first: re.Match[str]) -> bool:
    """Tell a formula, list or the like, which is left as it is, from words with numbers in them."""
    if not _PROSE.fullmatch(clause):
        return True
    words = [word[0].lower() for word in _WORD.finditer(re.sub(r"\\[A-Za-z]+", " ", clause[: first.start()]))]
    if any(word not in _MATH_WORDS for word in words):
        return False
    rest = re.sub(r"\\[A-Za-z]+", " ", clause[first.end() :])
    return not any(word.lower() not in _MATH_WORDS for word in _WORD.findall(rest))


def _after_last_equals(clause: str) -> int:
    equals = max(clause.rfind("="), clause.rfind("≈"))
    return equals + 1 if equals >= 0 else 0


def _first_number(tail: str) -> Range | None:
    """The number right after an equals sign, whatever the words after it say."""
    number = NUMBER.search(tail)
    if number is None or tail[: number.start()].strip(" $*(") or _OPERATOR.match(tail, number.end()):
        return None
    if _ALTERNATIVE.match(tail, number.end()):
        return None
    return number.start(), _with_unit(tail, number.end())


def _stated_number(clause: str) -> re.Match[str] | None:
    """The one number that a clause in words asserts; None if that is not certain."""
    numbers = list(NUMBER.finditer(clause))
    if not numbers:
        return None
    if len({number[0].strip().replace(" ", "") for number in numbers}) == 1:
        return numbers[-1]
    return _asserted(clause, numbers)


def _asserted(clause: str, numbers: list[re.Match[str]]) -> re.Match[str] | None:
    """The number that is said to be the case, among those that only say of what, for what or when; None if unsure."""
    ends = [0, *(number.end() for number in numbers[:-1])]
    free = [
        number
        for number, end in zip(numbers, ends, strict=True)
        if not _is_circumstance(clause[end : number.start()])
    ]
    if not free:
        verbs = [verb.end() for verb in FINITE.finditer(clause, 0, numbers[-1].start())]
        return next((number for number in numbers if verbs and number.start() >= verbs[-1]), None)
    if len(free) == 1:
        return free[0]
    last = free[-1]
    between = clause[free[0].end() : last.start()]
    if (
        len(free) == 2
        and not _COORDINATED.search(between)
        and FINITE.search(between)
        and not FINITE.search(clause, 0, free[0].start())
    ):
        return last  # "3 children get 4 apples"
    return None


def _is_circumstance(lead: str) -> bool:
    """Tell whether a number after ``lead`` hangs on a preposition: "for the", "after giving"."""
    found = _PREPOSITION.search(lead[-60:])
    if _QUANTITY_OF.search(lead):
        return False
    return found is not None and not FINITE.search(found[1])


def _runs_on_before(clause: str, start: int) -> bool:
    """Tell whether an operator stands before the number: ``48 + 24 apples``."""
    before = clause[:start].rstrip(" $")
    return (before[-1:] in tuple("+*/^×÷<>≤≥≠·(") and before[-1:] != "(") or before.endswith(
        ("\\cdot", "\\times")
    )


def _with_unit(clause: str, end: int) -> int:
    """Extend a number to the unit that follows it, if it is a known one: ``12 km per hour``."""
    chinese = _CHINESE_UNIT.match(clause, end)
    if chinese and canonical_unit(chinese[1]):
        return chinese.end()
    square = _SQUARE_UNIT.match(clause, end)
    if square:
        return square.end() - (1 if square[0].endswith(".") else 0)
    found = _UNIT_WORD.match(clause, end)
    word = found["word"] if found else ""
    if (
        not found
        or word.lower() in ("in", "a", "an", "of", "i")
        or not (word.lower() in ("square", "cubic", "sq", "cu") or canonical_unit(word))
    ):
        return end
    end = found.end() - (1 if found[0].endswith(".") else 0)
    for _ in range(3):
        more = _MORE_UNIT.match(clause, end)
        if not more or not _is_more_unit(more[0].strip()):
            break
        end = more.end()
    return end


def _is_more_unit(text: str) -> bool:
    if text[0] in "/^²³*":
        return True
    head, _, tail = text.partition(" ")
    if head.lower() in ("per", "a", "an"):
        return bool(tail) and bool(canonical_unit(tail))
    return head.lower() not in ("in", "i", "of") and bool(canonical_unit(head)) and not tail


def _word_number(clause: str) -> Range | None:
    """A number in words inside a sentence: "she has twelve apples" → ``twelve``."""
    found = list(WORD_NUMBER.finditer(clause))
    if not found and re.search(r"[\u4e00-\u9fff]", clause):
        found = [number for number in _CHINESE_NUMBER.finditer(clause) if len(number[0]) < 16]
    if len(found) != 1:
        return 0, len(clause)
    number = found[0]
    if number.end() - number.start() == len(clause.strip()):
        return 0, len(clause)
    after = clause[number.end() :]
    if _ARITHMETIC_AFTER.match(after) or not leads_to_value(clause[: number.start()]):
        return None
    if (number[0].lower() in ("one", "half") and after.strip()) or re.match(
        r"\s*(?:of|point)\b|点|分之", after
    ):
        return 0, len(clause)
    return number.start(), number.end()


def _trimmed(text: str, start: int, end: int) -> Range:
    part = text[start:end]
    return start + len(part) - len(part.lstrip()), end


def last_part(clause: str) -> int:
    """Where the conclusion of a sentence begins: after its last "so", "which gives" and the like."""
    start = 0
    for found in _SPLIT.finditer(clause):
        if re.search(r"[\d\\]|[A-Za-z\u4e00-\u9fff]{2,}", clause[found.end() :]):
            start = found.end()
    return start
