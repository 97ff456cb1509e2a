"""What may stand before a number in a sentence that states it: an allow-list as a small grammar.

Either words that add nothing ("exactly", "a total of"), or a plain subject with a verb of being, having, costing or the
like ("she has", "the total cost is", "Tom needs to buy"). "The conjugate of", "whatever exceeds" and "a number whose half
is" are none of these, whether or not anybody has thought of them.
"""

from __future__ import annotations

import re

from rewards.finding.number_patterns import FINITE
from rewards.finding.phrase_words import (
    ARITHMETIC,
    CONDITIONS,
    DETERMINERS,
    FILLERS,
    NUMBER_WORDS,
    PRONOUNS,
    QUANTITIES,
)
from rewards.notation.units import canonical_unit, is_currency

_MAX_LEAD = 240
_TOKEN = re.compile(r"[A-Za-z][A-Za-z'’-]*|\d[\d.,:/]*|[\u4e00-\u9fff]+|[^\s*_`\"“”$]")
_OF_QUANTITY = re.compile(
    rf"\b(?:an?|the|his|her|their|its|our)\s+(?:[a-z]+\s+)??(?:{'|'.join(sorted(QUANTITIES))})\s+(?:of|is|at)\s*\W*$",
    re.I,
)
_CHANGED_BY = re.compile(
    r"\b(?:increas|decreas|reduc|chang)(?:ed|es) by\W*$|\b(?:rose|fell|dropped|grew|went up|went down) by\W*$",
    re.I,
)
_APPOSITION = re.compile(
    r"^\W*(?:the|his|her|their|its|our|this)\s+(?P<noun>[A-Za-z' -]{2,60}?)(?:,|:|\()\s*\W*$", re.I
)
_CHINESE_TURN = re.compile(
    r"[比减加乘除倍第非不没差]|大于|小于|超过|少于|多于|至少|至多|最多|最少|之前|之后|以[上下内外]|[一二两三四五六七八九十几]分之|接近|左右|从|的[前后]"
)
_PERSON = (
    r"(?:[A-Za-z' ]{1,30},\s*|(?i:so|thus|therefore|hence|then)\W+)?(?:(?i:he|she|they|we|both)|[A-Z][a-z]+(?: and [A-Z][a-z]+)?"
    r"|(?i:together)[A-Za-z, ]{1,30}|(?i:the|his|her|their)(?: [a-z]+){1,3}?)(?: [a-z]+ly)?"
)
_DEED = re.compile(
    rf"(?:{_PERSON} (?P<verb>[a-z]+)|(?i:it) took [A-Za-z ]{{1,30}}?)"
    r"(?: (?:to|for|on|an additional|a total of|out|up|with|away|in total|another|about|off|into))*\s*\$?"
)
"""A person or thing and a deed: "He shoveled", "The school raised", "Keiko sent"."""
_PLAIN_DEED = re.compile(
    r"\W*(?:that )?(?:he|she|they|we|[A-Z][a-z]+(?: and [A-Z][a-z]+)?|(?:[Tt]he|[Hh]is|[Hh]er|[Tt]heir)(?: [a-z]+){1,2}?) (?P<verb>[a-z]+ed|sent|gave|ran|ate|drove|read)(?: (?:a total of|another|in total|away|out))?\s*\$?"
)
_NAMED = re.compile(
    r"\b(?:section|page|chapter|equation|problem|question|theorem|lemma|figure|table|step|line|exercise|example|room|agent|part|case|option|item|version|level|see|no|grade|day|week|lesson|unit|rule|axiom)\W*$",
    re.I,
)
_WITH_DEED = re.compile(
    r"\s*(?:to (?:be )?[a-z]+|been [a-z]+ing|[a-z]+(?:ing|ed|en)|an? [a-z]+(?: [a-z]+)? of|fill|cut|lose|run|grow)(?: (?:for|on|up|out|down|in|into|it|them|each|her|his|their|to|with|about|another|an additional|a total of|[a-z]+ing))*\s*\$?"
)
_TO_WHOM = re.compile(
    r"\b(owes?|owed|pays?|paid|gives?|gave|costs?|saves?|saved|takes|took)\s+(?:(?:the )?(?:her|his|their|the|my|our)\s+[a-z]+|[A-Z][a-z]+(?: and [A-Z][a-z]+)?)\s*$"
)
_INTERJECTIONS = re.compile(r"\W*(?:(?:hmm+|oh|wait|no|actually|oops|sorry|instead)\b\W*)+", re.I)
_LATER = re.compile(
    rf"\b(?:after|before)\s+(?:(?:another|the next)\s+)?(?:\d+|{'|'.join(sorted(NUMBER_WORDS))}|an?|[a-z]+ing)\b",
    re.I,
)
_PARTICLES = frozenset(["up", "down", "off", "of"])
_GAINS = frozenset(["raised", "added", "shared", "doubles", "scores"])
_NAMES_OF_ANSWER = frozenset(["answer", "result", "solution", "value", "number"])
_TURNING = ARITHMETIC - frozenset(["most", "least"])
_MAX_SUBJECT = 14


def leads_to_value(lead: str, *, loose: bool = False) -> bool:
    """Tell whether the words before a number leave it as it is; ``loose`` lets persons do what they like with it."""
    lead = lead[-_MAX_LEAD:].rpartition("=")[2]
    if re.search(r"[\u4e00-\u9fff]", lead):
        return not _CHINESE_TURN.search(lead)
    lead = _CHANGED_BY.sub(" is ", lead)
    apposition = _APPOSITION.match(lead)
    if apposition:
        return _is_plain(apposition["noun"].split(), 8)
    said = _INTERJECTIONS.match(lead)
    lead = lead[said.end() :] if said else lead
    deed = (_DEED if loose else _PLAIN_DEED).fullmatch(lead)
    if deed and not _NAMES_OF_ANSWER & set(lead.lower().split()) and not _NAMED.search(lead):
        verb = (deed["verb"] or "").lower()
        if _is_plain(_TOKEN.findall(lead[: deed.start("verb")] if verb else lead), _MAX_SUBJECT) and (
            verb not in (CONDITIONS | ARITHMETIC) - _GAINS
        ):
            return True
    lead = _TO_WHOM.sub(r"\1 ", _LATER.sub(" ", lead))
    verbs = list(FINITE.finditer(lead))
    after = lead[verbs[-1].end() :] if verbs else lead
    if not _adds_nothing(after) and not (
        loose
        and verbs
        and _WITH_DEED.fullmatch(after)
        and _is_plain([word for word in _TOKEN.findall(after) if word not in _PARTICLES], 5)
        and not _NAMED.search(lead)
    ):
        return False
    return not verbs or (_is_subject(lead[: verbs[0].start()]) and _is_plain(_middle(lead, verbs), 16))


def _adds_nothing(words: str) -> bool:
    """Tell whether ``words`` are fillers, or "a total of" and the like."""
    found = _OF_QUANTITY.search(words := words.replace("of course", " "))
    words = words[: found.start()] if found else words
    tokens = [token.lower() for token in _TOKEN.findall(words)]
    return all(
        token in FILLERS
        or is_currency(canonical_unit(token))
        or (not token[0].isalnum() and token not in "<>≤≥≠≈~±-−+")
        for token in tokens
    )


def _middle(lead: str, verbs: list[re.Match[str]]) -> list[str]:
    """The words between the first and the last verb: "costs that she has to pay are"."""
    return _TOKEN.findall(lead[verbs[0].start() : verbs[-1].end()])


def _is_subject(text: str) -> bool:
    """Tell whether ``text`` is a plain subject: definite, and without arithmetic or a condition."""
    tokens = _TOKEN.findall(text)
    while tokens and tokens[0].lower() in FILLERS - DETERMINERS - PRONOUNS:
        tokens.pop(0)
    if tokens and tokens[0].lower() in ("a", "an", "some", "any", "no", "something", "anything", "one"):
        return False
    return _is_plain(tokens, _MAX_SUBJECT)


def _is_plain(tokens: list[str], most: int) -> bool:
    """Tell whether the words make nothing else of a number that is said of them."""
    words = [token.lower().replace("’", "'") for token in tokens]
    return len(words) <= most and not any(word in CONDITIONS or word in _TURNING for word in words)
