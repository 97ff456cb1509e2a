"""A clause that states a value → the value in it: "she has 12 apples left after giving 5 away" → ``12``.

What is cut off depends on the kind of answer that is wanted, never on the gold's value. Where a clause names several
numbers and does not say which one it asserts, nothing is cut off, and so it will not be readable as one number.
"""

from __future__ import annotations

import re

from rewards.finding.candidates import Kind, Wanted
from rewards.finding.number_patterns import NUMBER
from rewards.finding.stated_number import Range, number_in

_SPLIT = re.compile(
    r"(?:,|;|，|；|\band)?\s*\b(?:so|therefore|thus|hence|which means|which rounds (?:up |down |off )?to|which (?:gives|is|equals|makes|leaves)(?=[^,.]{0,25}\d)|meaning(?: that)?"
    r"|making|giving|leaving|that is|i\.e\.|ie|consequently)\b[\s,:]*|(?:，|,|。|；)?(?:所以|因此|因而|于是|即|也就是|解得|得到)[，,：:]?",
    re.I,
)
_THERE_IS = re.compile(r"\s*(?:there (?:is|are)|it has|the equation has)\s+(?=no\b)", re.I)
_LATIN_LETTER = re.compile(
    r"\W*(?:the\s+)?(?:(?:correct|right|best)\s+)?(?:(?:option|choice|letter|answer)s?\b)?[\s:(*\[{$\"'`]*"
    r"(?:\\(?:text|textbf|mathrm|mathbf)\s*\{\s*\(?)?(?P<letter>[A-Ja-j])(?P<end>[)\]}.:,*\"'`$]|(?=\s|$|选项|项))",
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
_TEXT_COMMAND = re.compile(
    r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mbox|rm|operatorname)\s*\{([^{}]*)\}"
)
_LATEX_BLANK = re.compile(r"\\(?:[,;:! ]|q?quad(?![A-Za-z]))|[~\"“”*_]")
_POWER = re.compile(r"(?<=[A-Za-z]) ?\^ ?\{?-?\d\}?")
_PROSE_WORD = re.compile(r"[A-Za-z]{2,}|[\u4e00-\u9fff]")


def value_in(clause: str, wanted: Wanted, *, loose: bool = False) -> Range | None:
    """Narrow ``clause`` to the value it states, as far as that is certain; else the whole clause.

    ``loose`` is for the last sentence of a solution, which tells more of a story than a statement of the answer.

    None if its words make something else of the number: "42 doubled", "the number after 42", "at least 42".
    """
    kind = wanted.kind
    if kind is Kind.CHOICE:
        return _choice(clause)
    if kind is Kind.WORDS:
        return _words(clause, wanted.words)
    if kind is Kind.NUMBER:
        return number_in(clause, loose)
    lead = _THERE_IS.match(clause)
    return lead.end() if lead else 0, len(clause)


def states_otherwise(text: str) -> bool:
    r"""Tell whether a whole box, tag or field says something else than its number: ``\boxed{\text{42 doubled}}``."""
    bare = _TEXT_COMMAND.sub(lambda found: f" {found[1]} ", text) if "\\" in text else text
    bare = _POWER.sub("", " ".join(_LATEX_BLANK.sub(" ", bare).split()).strip(" .$"))
    if len(text) > 400 or not _PROSE_WORD.search(bare) or not NUMBER.search(bare):
        return False
    return "\\" not in bare and number_in(bare, loose=False) is None


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


def last_part(clause: str) -> int:
    """Where the conclusion of a sentence begins: after its last "so", "which gives" and the like."""
    start = 0
    for found in _SPLIT.finditer(clause):
        if re.search(r"[\d\\]|[A-Za-z\u4e00-\u9fff]{2,}", clause[found.end() :]):
            start = found.end()
    return start
