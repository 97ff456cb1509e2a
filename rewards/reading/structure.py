"""Plain text → a typed value: lists, sets, tuples, intervals, conditions, systems, ratios, and single expressions.

Works from the loosest joint to the tightest: joined parts, unions, membership, brackets, ratios, then one relation or
expression, which :mod:`rewards.reading.expression` parses from tokens. Depth and size are bounded on the way.
"""

from __future__ import annotations

import re

from rewards.notation.clock import read_moment
from rewards.notation.normalize import normalize
from rewards.notation.outermost import bracketed, items, joined, mask, split
from rewards.notation.phrases import is_words, plain_words, set_phrase
from rewards.notation.spelling import set_notation
from rewards.reading.conditions import comma_before_condition, free_integer, is_condition_of, shared_variable
from rewards.reading.formula import expression_node, formula, relation, sign_variants
from rewards.reading.joining import MAX_ITEMS, combined, flat
from rewards.reading.special import (
    is_product_of_letters,
    letter_alone,
    letter_with_text,
    letters_together,
    quantity_name,
    read_based,
    split_congruence,
)
from rewards.reading.tokens import tokenize
from rewards.reading.values import (
    Builder,
    Choice,
    Congruence,
    Equation,
    LimitExceeded,
    Member,
    NamedSet,
    Ordered,
    Parametric,
    Ratio,
    Region,
    Scalar,
    Text,
    Unordered,
    Unreadable,
    Value,
)
from rewards.trees.tree import Symbol

_MAX_DEPTH = 8
_NUMBER = re.compile(r"[-+]?\d{1,40}(?:\.\d{1,40})?%?|[-+]?\d{1,40}\s*/\s*\d{1,40}")
_UNION, _MEETING = re.compile(r"\\cup(?![A-Za-z])"), re.compile(r"\\cap(?![A-Za-z])")
_WITHOUT, _COLON = re.compile(r"\\setminus(?![A-Za-z])"), re.compile(r"(?<![:=<>]):(?!=)")
_EQUALS, _BREAK = re.compile(r"(?<![<>!=:])=(?!=)"), re.compile(r"\||(?<![<>!=:]):(?!=)|\bsuch that\b|,")
_NAMED = re.compile(r"\\(?:Set([RZNQCP])|(Empty))")
_MEMBER = re.compile(
    r"(?P<name>\\?[A-Za-z]{1,8}(?:_\s*\{?\w{1,4}\}?)?|\([^()]{1,40}\))\s*\\(?P<not>not)?in(?![A-Za-z])(?P<set>.*)",
    re.S,
)
_POINT = re.compile(r"(?:\\?(?:text|point)\s*)?([A-Z][A-Za-z0-9_']{0,3})\s*=?\s*(\(.*\))", re.S)
_COUNT = re.compile(r"[CP]\s*\(\s*(?:\d{1,4}|[nmN])\s*,\s*(?:\d{1,4}|[krm])\s*\)")
_TRANSPOSED = re.compile(r"\s*\^\s*\{?\s*(?:T|\\top|\\intercal|\\mathsf\s*\{?T\}?)\s*\}?$")
_WRITTEN = re.compile(r"(?<![A-Za-z\\])[A-Za-z]|[_\u3400-\u9fff]|\\equiv|\\p?mod|\\bmod|\\text")
_EITHER = re.compile(r"(?:either|both)\s+", re.I)
_SIGNED_PART = re.compile(r"\s*(?:<=|>=|!=|<|>)")
_VARIABLE = re.compile(r"\\?[A-Za-z]{1,8}(?:_\s*\{?\w{1,4}\}?)?")
_VECTOR = re.compile(
    r"\\(?:vec|overrightarrow|overline|mathbf|boldsymbol|hat|bar)\s*(?:\{\s*)?\\?[A-Za-z]{1,6}(?:_\{?\w{1,4}\}?)?\s*\}?(?:_\{?\w{1,4}\}?)?"
)
_PAIRS = {"()", "[]", "(]", "[)"}


def read_value(text: str, depth: int = 0) -> tuple[Value, str]:
    """Value of plain ``text`` and the units that stood beside its items.

    Raises:
        Unreadable: it has no meaning here (:class:`LimitExceeded`: it is too large).
    """
    if depth > _MAX_DEPTH:
        raise LimitExceeded("collections nested too deep")
    if _NUMBER.fullmatch(text):
        return relation(tokenize(text)), ""
    text = set_notation(text)
    text = comma_before_condition(text)
    special = _special(text, depth)
    if special is not None:
        return special, ""
    family = free_integer(text)
    if family is not None:
        value, unit = read_value(family[0], depth + 1)
        return Parametric(family[1], value), unit
    text = _EITHER.sub("", text, count=1) if text[:1] in "eEbB" else text
    parts, joints = joined(text)
    if len(parts) == 1:
        return _single(text, depth), ""
    return _joined(parts, joints, depth)


# -- fixed shapes


def _special(text: str, depth: int) -> Value | None:
    """Letters, based numbers, congruences and sets named in words."""
    if not _WRITTEN.search(text):
        return None
    letter = letter_alone(text)
    if letter:
        return Choice(letter)
    if text[:1] in "+-" and letter_alone(text[1:]):
        raise Unreadable("a letter with a sign")
    beside = letter_with_text(text)
    if beside:
        return Choice(beside[0], _content(beside[1], depth))
    based = read_based(text)
    if based:
        return based
    moment = read_moment(text)
    if moment is not None:
        return moment
    several = letters_together(text) if depth == 0 else []
    if several:
        return Unordered(tuple(Choice(one) for one in several))
    phrase = set_phrase(text)
    if phrase is not None and phrase != text:
        return read_value(phrase, depth + 1)[0]
    congruence = split_congruence(text)
    if congruence:
        unknown, residues, modulus = congruence
        nodes = [expression_node(part) for part in joined(residues)[0]]
        return Congruence(
            expression_node(unknown) if unknown else None, tuple(nodes), expression_node(modulus)
        )
    if text.isalpha() and len(text) > 1 and text.lower() not in ("pi",) and not is_product_of_letters(text):
        raise Unreadable(f"{text!r} is a word")
    return None


def _content(text: str, depth: int) -> Value:
    """What stands beside a letter; words if nothing else."""
    try:
        return read_value(normalize(text).text, depth + 1)[0]
    except LimitExceeded:
        raise
    except Unreadable:
        return Text(plain_words(text))


# -- joined parts


def _joined(parts: list[str], joints: list[str], depth: int) -> tuple[Value, str]:
    """A list, or conditions and sets joined by "and" and "or"."""
    if len(parts) > MAX_ITEMS:
        raise LimitExceeded(f"more than {MAX_ITEMS} items")
    values: list[Value] = []
    units: set[str] = set()
    for part in parts:
        value, unit = _part(part, values, depth)
        values.append(value)
        units |= {unit} - {""}
    words = [isinstance(value, Text) for value in values]
    if any(words) and not all(words):
        raise Unreadable("words and formulas are mixed")
    if is_condition_of(values, joints):
        return values[0], ", ".join(sorted(units))
    return combined(values, joints), ", ".join(sorted(units))


def _part(part: str, before: list[Value], depth: int) -> tuple[Value, str]:
    """One part with its own label and unit; ``x < 1 or > 3`` shares its variable."""
    shared = shared_variable(before)
    if shared and _SIGNED_PART.match(part):
        part = shared + part
    if not part.strip():
        raise Unreadable("a part of it is empty")
    normal = normalize(part)
    try:
        value, units = read_value(normal.text, depth + 1)
        return value, normal.unit or units
    except LimitExceeded:
        raise
    except Unreadable:
        if is_words(part.strip()):
            return Text(plain_words(part)), ""
        raise


# -- one part


def point_reading(text: str) -> Value | None:
    """``C(3, 4)`` as a point, where it was read as a number of combinations."""
    text = set_notation(text)
    if not _COUNT.fullmatch(text):
        return None
    inside = read_value(text[text.index("(") :])[0]
    return Ordered("(", ")", inside.items, text[0]) if isinstance(inside, Ordered) else None


def _single(text: str, depth: int) -> Value:
    for separator, joint in ((_UNION, "or"), (_MEETING, "and"), (_WITHOUT, "minus")):
        parts = split(text, separator)
        if len(parts) > 1:
            return Region(joint, tuple(read_value(part.strip(), depth + 1)[0] for part in parts))
    named = _NAMED.fullmatch(text)
    if named:
        return NamedSet(named[1] or "empty")
    member = _MEMBER.fullmatch(text) if "in" in text else None
    if member:
        return _member(member, depth)
    turned = _TRANSPOSED.sub("", text)
    inside = bracketed(text) or (bracketed(turned) if turned != text and "," in turned else None)
    if inside is not None:
        value = _in_brackets(*inside, depth=depth, set_braces=text.startswith("\\{"))
        if value is not None:
            return value
    point = _POINT.fullmatch(text)
    if point and "," in point[2] and not _COUNT.fullmatch(text):
        value = read_value(point[2], depth + 1)[0]
        if isinstance(value, Ordered) and value.opening == "(":
            return Ordered("(", ")", value.items, point[1])
    return _assigned(text, depth) or formula(text)


def _member(found: re.Match[str], depth: int) -> Value:
    name, body = found["name"].replace(" ", "").lstrip("\\"), found["set"].strip()
    value = read_value(body, depth + 1)[0]
    if name.startswith("("):
        return value  # (x, y) in a set of pairs
    return Member(name, Region("minus", (NamedSet("R"), value)) if found["not"] else value)


def _in_brackets(opening: str, inside: str, closing: str, *, depth: int, set_braces: bool) -> Value | None:
    """A set, builder, tuple or interval; None where the brackets only group."""
    if opening == "{":
        built = _builder(inside, depth)
        if built is not None:
            return built
    if not inside.strip():
        if not set_braces:
            raise Unreadable("the brackets are empty")
        return NamedSet("empty")
    parts = items(inside)
    if len(parts) > MAX_ITEMS:
        raise LimitExceeded(f"more than {MAX_ITEMS} items")
    if opening == "{":
        if not set_braces and len(parts) == 1:
            return None
        return Unordered(flat([_part(part, [], depth)[0] for part in parts]), "set")
    if opening + closing not in _PAIRS:
        return None
    if len(parts) > 1 or (opening == "[" and inside.strip().startswith("[")):
        return _both_signs_in_tuple(opening, parts, closing, depth)
    if any(sign in mask(inside) for sign in "<>=") or "\\in" in inside:
        return read_value(inside.strip(), depth + 1)[0]
    return None


def _both_signs_in_tuple(opening: str, parts: list[str], closing: str, depth: int) -> Value:
    """A tuple; with ± in it, the tuples for each sign of each ±."""
    written = "\n".join(parts)
    tuples = [
        Ordered(opening, closing, tuple(_part(part, [], depth)[0] for part in variant.split("\n")))
        for variant in sign_variants(written)
    ]
    return tuples[0] if len(tuples) == 1 else Unordered(tuple(dict.fromkeys(tuples)), "list")


def _builder(inside: str, depth: int) -> Value | None:
    r"""``{x | x > 3}``, ``{x \in R : x > 3}``, ``{x > 3}``."""
    found = _BREAK.search(mask(inside))
    if found is None or found[0] == ",":
        if found is None and any(sign in mask(inside) for sign in "<>"):
            value = read_value(inside.strip(), depth + 1)[0]
            return Builder("", value)
        return None
    head, condition = inside[: found.start()].strip(), inside[found.end() :].strip()
    member = _MEMBER.fullmatch(head)
    name = member["name"].strip() if member else head
    if not _VARIABLE.fullmatch(name):
        if bracketed(name) is None:
            raise Unreadable("a set-builder needs a variable")
        name = ""
    body = read_value(condition, depth + 1)[0]
    if member:
        within = _member(member, depth)
        body = Region("and", (within, body))
    return Builder(name.replace(" ", "").lstrip("\\"), body)


def _assigned(text: str, depth: int) -> Value | None:
    r"""``S = \{1, 2\}``, ``(x, y) = (1, 2)``, ``A = (1, 2]``, ``AB = 5``; None for any other equation."""
    sides = split(text, _EQUALS)
    if len(sides) != 2:
        return None
    left, right = sides[0].strip(), sides[1].strip()
    names = bracketed(left)
    if names and names[0] == "(" and len(items(names[1])) > 1 and bracketed(right):
        return _by_names([name.strip() for name in items(names[1])], read_value(right, depth + 1)[0])
    collection = (
        right.startswith(("\\{", "\\Set", "\\Empty"))
        or "\\cup" in right
        or (right[:1] in ("(", "[", "{") and bracketed(right) is not None and "," in right)
    )
    if collection and (_VARIABLE.fullmatch(left) or _VECTOR.fullmatch(left) or quantity_name(left)):
        return read_value(right, depth + 1)[0]
    name = quantity_name(left)
    if name is None:
        return None
    value = read_value(right, depth + 1)[0]
    if isinstance(value, Scalar):
        return Equation((Symbol(name), value.node))
    return value if isinstance(value, (Unordered, Ratio)) else None


def _by_names(names: list[str], value: Value) -> Value:
    """``(x, y) = (1, 2)`` as ``x = 1, y = 2``."""
    if not isinstance(value, Ordered) or len(value.items) != len(names):
        raise Unreadable("names and values do not match")
    pairs: list[Value] = []
    for name, item in zip(names, value.items, strict=True):
        if not isinstance(item, Scalar):
            raise Unreadable("a named value is no expression")
        pairs.append(Equation((expression_node(name), item.node)))
    return Unordered(tuple(pairs), "system")
