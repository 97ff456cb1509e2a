"""The words after a number, read one phrase at a time: which of them leave it as it is."""

from __future__ import annotations

import re

from rewards.finding.phrase_words import (
    ARITHMETIC,
    AS_REASON,
    BE,
    CLOSING,
    DEGREES,
    DETERMINERS,
    EXTENTS,
    FUNCTION_WORDS,
    IRREGULAR_PLURALS,
    NUMBER_WORDS,
    OCCASIONS,
    OTHER_OCCASIONS,
    PARTICIPLES,
    PREPOSITIONS,
    PRONOUNS,
    REASONS,
    SINGULAR_HEADS,
    UNSUITED,
)
from rewards.notation.units import canonical_unit

_MAX_NOUNS = 4
_COMPARATIVE = re.compile(r"more|less|fewer|[a-z]{2,}er")
_ORDINAL = re.compile(
    r"[a-z-]*(?:four|fif|six|seven|eigh|nin|ten|eleven|twelf|teen|tie|hundred|thousand|million|billion)ths?|[a-z]+-?fold"
)
TOKEN = re.compile(r"[A-Za-z][A-Za-z'’-]*|\d[\d.,:/]*|[,;:()（）=+×÷/<>%^\u4e00-\u9fff-]")


class TailReader:
    """Reads the words of one tail from left to right."""

    def __init__(self, tokens: list[str], measured: bool, single: bool, loose: bool) -> None:
        self.tokens = tokens
        self.lower = [token.lower().replace("’", "'") for token in tokens]
        self.at = 0
        self.measured = measured
        self.single = single
        self.loose = loose
        self.counts_things = False
        self.has_noun = measured

    def accepts(self) -> bool:
        """Whether every word has its place in the grammar."""
        if self.measured and self.word() in ("squared", "cubed"):
            self.at += 1
        if self.word() in DEGREES and not self.phrase_of_degree():
            return False
        if not self.nouns():
            return False
        while self.at < len(self.tokens):
            if self.is_reason():
                return True
            if not self.phrase():
                return False
        return True

    def word(self, ahead: int = 0) -> str:
        """The word at a position from here, or an empty string behind the end."""
        index = self.at + ahead
        return self.lower[index] if index < len(self.lower) else ""

    def is_reason(self) -> bool:
        """Whether a reason begins here, after which anything may stand."""
        return self.word() in REASONS or (self.word() == "as" and self.word(1) in AS_REASON)

    def is_open(self, ahead: int = 0) -> bool:
        """Whether a word of no closed class stands there: a noun, an adjective, a verb, a name."""
        word = self.word(ahead)
        return (
            word[:1].isalpha()
            and word not in FUNCTION_WORDS
            and word not in NUMBER_WORDS
            and not is_arithmetic(word)
        )

    def is_modifier(self) -> bool:
        """Whether a participle stands here before its noun: *broken windows*."""
        return self.word() in PARTICIPLES and self.is_open(1)

    def phrase_of_degree(self) -> bool:
        """*more*, *fewer*, *extra*: before a noun or at the end, never before *than* or a number."""
        self.at += 1
        if self.word() == "than":
            return self.measured and self.loose and self.compared()
        return (
            self.at == len(self.tokens)
            or self.is_open()
            or self.word() in ("to", "for", "in", "on", "per", "a")
        )

    def nouns(self) -> bool:
        """A short noun phrase with a plural head; after a unit only what measures have: *old*, *away*, *later*."""
        while self.measured and (
            self.word() in EXTENTS or (self.is_open() and _COMPARATIVE.fullmatch(self.word()))
        ):
            self.at += 1
        start = self.at
        while (self.is_open() or self.is_modifier()) and self.at - start < _MAX_NOUNS:
            self.at += 1
        if self.at == start:
            return True
        words = self.lower[start : self.at]
        while words and not self.is_head(words[-1]):
            words.pop()
        if not words:
            self.at = start
            return self.has_noun
        self.at = start + len(words)
        self.has_noun = self.counts_things = True
        return True

    def is_head(self, word: str) -> bool:
        """Whether a noun phrase may end in ``word``."""
        if word in SINGULAR_HEADS or word in IRREGULAR_PLURALS or canonical_unit(word):
            return True
        if self.single and not word.endswith(("ed", "ly", "wards", "wise")):
            return True
        return len(word) > 2 and word.endswith("s") and not word.endswith(("ss", "us", "is", "'s", "wards"))

    def phrase(self) -> bool:
        """One phrase after the noun; False if the word here begins none."""
        word, following = self.word(), self.word(1)
        if word == "left" and following == "over":
            return self.skip(2)
        if word in CLOSING or (word in PARTICIPLES and self.has_noun) or word in PARTICIPLES & CLOSING:
            return self.skip(1)
        if self.counts_things and self.is_open() and word.endswith(("ed", "ing")):
            return self.skip(1)
        if self.measured and self.is_open() and word.endswith("ing"):
            return self.skip(1) and self.rest(9)
        if word in BE and self.has_noun:
            return self.predicate()
        if word == "in" and following in (
            "all",
            "total",
            "both",
            "each",
            "every",
            "cash",
            "savings",
            "profit",
        ):
            return self.skip(2)
        if word in ("a", "an", "per", "each", "every") and self.is_open(1):
            return self.skip(2)
        if word in ("per", "every", "each", "for", "in", "of") and self.counted():
            return True
        if word in PREPOSITIONS:
            return self.prepositional()
        if word in OCCASIONS and (self.has_noun or following.endswith("ing")):
            self.at = len(self.tokens)
            return True
        if word == "to" and self.has_noun:
            return self.purpose()
        if word == "and" and self.has_noun:
            return self.skip(1) and self.is_open() and self.nouns()
        if (
            word == "than"
            and self.has_noun
            and (self.loose or self.word(-1) not in ("more", "less", "fewer"))
        ):
            return self.compared()
        if self.loose and self.counts_things and word in ("more", "less", "fewer") and following == "than":
            return self.skip(1) and self.compared()
        if word == ",":
            return self.skip(1) and (self.is_reason() or self.word() in ("the", *PRONOUNS) or self.phrase())
        if word in ("who", "that", "which") and self.has_noun:
            return self.relative(1)
        if self.has_noun and (word in PRONOUNS or self.is_name()):
            return self.relative(0)
        return False

    def predicate(self) -> bool:
        """What is said of the counted things: *are left*, *will be needed*, *were sold last month*."""
        while self.word() in BE:
            self.skip(1)
        if self.word() in UNSUITED or self.word() in ("more", "less", "fewer"):
            return False
        if not self.word() or self.word() in CLOSING or self.word() in PARTICIPLES:
            return True
        return self.counts_things and self.rest(8)

    def skip(self, count: int) -> bool:
        """Go on by ``count`` words."""
        self.at += count
        return True

    def is_name(self) -> bool:
        """Whether a proper name stands here."""
        return self.is_open() and self.tokens[self.at][0].isupper()

    def counted(self) -> bool:
        """``for the 3 children``, ``in 5 hours``: a number that counts something else."""
        index = 2 if self.word(1) in DETERMINERS else 1
        is_number = self.word(index)[:1].isdigit() or self.word(index) in NUMBER_WORDS
        if not is_number or not (self.has_noun or index == 2):
            return False
        start, self.at = self.at, self.at + index + 1
        if self.is_open() and (self.is_head(self.word()) or self.is_head(self.word(1))):
            return self.skip(1 if self.is_head(self.word()) else 2)
        self.at = start
        return False

    def prepositional(self) -> bool:
        """A preposition with a noun phrase: *of the whole group*, *in Mary's garden*, *for lunch*."""
        preposition = self.word()
        self.skip(1)
        if preposition in ("by", "from", "for", "on") and self.has_noun and self.word().endswith("ing"):
            return self.rest(9)
        if preposition in ("in", "by") and not (
            self.word() in DETERMINERS or self.is_name() or self.is_head(self.word() or "-") or self.has_noun
        ):
            return False
        if (
            preposition not in ("of", "in", "for", "on", "at", "per", "within", "during")
            and not self.has_noun
        ):
            return False
        if self.word() in PRONOUNS - {"it"} or (self.word() == "it" and preposition == "on"):
            return self.skip(1)
        while self.word() in DETERMINERS:
            self.skip(1)
        if not (self.is_open() or self.is_modifier()):
            return False
        count = 0
        while (self.is_open() or self.is_modifier()) and count < _MAX_NOUNS + 1:
            if (count and _is_participle(self.word())) or self.word() in OTHER_OCCASIONS:
                return False
            count += self.skip(1)
        self.has_noun = self.has_noun or preposition == "of"
        return True

    def purpose(self) -> bool:
        """An infinitive: *to paint the house*."""
        self.skip(1)
        if not self.is_open():
            return False
        return self.rest(8)

    def compared(self) -> bool:
        """*3 inches taller than his brother*: of a measure with its noun, and not against another number."""
        self.skip(1)
        if self.word() in ("it", "that", "this", "the") and self.word(1) in (
            "",
            "number",
            "answer",
            "sum",
            "value",
        ):
            return False
        return self.rest(5)

    def relative(self, skip: int) -> bool:
        """A clause about the noun: *who like tea*, *that Tom has left*, *Janet sells*."""
        self.skip(skip)
        return self.at < len(self.tokens) and self.word() not in BE and self.rest(10)

    def rest(self, most: int) -> bool:
        """Whether no more than ``most`` words follow before a reason, none of them arithmetic or a number."""
        for _ in range(most):
            word = self.word()
            if not word or self.is_reason():
                return True
            if (
                word[0].isdigit()
                and not (self.loose and self.has_noun)
                and not (self.has_noun and self.word(-1) in ("for", "in", "the", "at", "$", "of", "with"))
            ):
                return False
            if not word[0].isalnum() or is_arithmetic(word) or word in UNSUITED:
                return False
            self.skip(1)
        return self.at >= len(self.tokens)


def is_arithmetic(word: str) -> bool:
    """Tell whether ``word`` makes another value of a number: *squared*, *ninths*, *upside*."""
    return word in ARITHMETIC or (bool(_ORDINAL.fullmatch(word)) and not canonical_unit(word))


def _is_participle(word: str) -> bool:
    return word.endswith("ed") and len(word) > 4 and word not in PARTICIPLES
