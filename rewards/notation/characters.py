"""Unicode → the ASCII spelling that the other stages read.

One translation table, then NFKC for what it does not name (full-width and mathematical letters, digits of other
scripts). Two marks survive as non-ASCII characters because a later stage needs them: :data:`THIN` for a thin or
no-break space between digits. Everything here is linear in the text.
"""

from __future__ import annotations

import re
import unicodedata

THIN = "\u2009"
"""A space that groups digits: thin and no-break spaces, ``\\,``, ``~``."""
WORDS_OPEN, WORDS_CLOSE = "\ue000", "\ue001"
r"""Around words that stood in ``\text{…}`` or a like command."""
SOFT_COMMA = "\ue002"
r"""``{,}``: a comma that separates digits, not items."""
DOLLAR = "\ue003"
r"""``\$``: a currency sign, not a math delimiter."""
MARKS = WORDS_OPEN + WORDS_CLOSE + SOFT_COMMA + DOLLAR

_RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾⁼ⁿⁱˣʸᵃᵇᵏᵐᵗ", "0123456789+-()=nixyabkmt", strict=True))
_LOWERED = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋₍₎₌ₐₑₓₙₖₘᵢⱼ", "0123456789+-()=aexnkmij", strict=True))
_VULGAR = {
    **{"½": "1 2", "⅓": "1 3", "⅔": "2 3", "¼": "1 4", "¾": "3 4", "⅕": "1 5", "⅖": "2 5", "⅗": "3 5"},
    **{"⅘": "4 5", "⅙": "1 6", "⅚": "5 6", "⅐": "1 7", "⅛": "1 8", "⅜": "3 8", "⅝": "5 8", "⅞": "7 8"},
    **{"⅑": "1 9", "⅒": "1 10", "↉": "0 3"},
}
_GREEK_NAMES = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda nu xi rho sigma tau upsilon phi chi psi omega"
    " Gamma Delta Theta Lambda Xi Sigma Phi Psi Omega phi epsilon mu mu"
)
_GREEK = dict(
    zip(
        "αβγδεζηθικλνξρστυφχψωΓΔΘΛΞΣΦΨΩϕϵµμ",
        _GREEK_NAMES.split(),
        strict=True,
    )
)
_COMMANDS = {
    **{"π": "pi", "∞": "infty", "±": "pm", "∓": "mp", "∪": "cup", "∩": "cap", "∈": "in", "∉": "notin"},
    **{"∅": "emptyset", "⌀": "emptyset", "≈": "approx", "≅": "cong", "≃": "approx", "≡": "equiv"},
    **{"⊂": "subset", "⊆": "subseteq", "∖": "setminus", "∣": "mid", "∥": "parallel", "⊥": "perp"},
    **{"→": "to", "⇒": "Rightarrow", "⟹": "Rightarrow", "⇔": "Leftrightarrow", "∧": "land", "∨": "lor"},
    **{"⟨": "langle", "⟩": "rangle", "〈": "langle", "〉": "rangle", "⌊": "lfloor", "⌋": "rfloor"},
    **{"⌈": "lceil", "⌉": "rceil", "√": "sqrt", "∑": "sum", "∏": "prod", "∫": "int", "∠": "angle"},
    **{"…": "ldots", "⋯": "cdots", "∀": "forall", "∃": "exists", "¬": "neg", "∂": "partial"},
    **{"ℝ": "mathbb{R}", "ℤ": "mathbb{Z}", "ℕ": "mathbb{N}", "ℚ": "mathbb{Q}", "ℂ": "mathbb{C}"},
    **{"△": "triangle", "∆": "triangle"},
}
_TABLE = str.maketrans(
    {
        **dict.fromkeys("−–—―‐‑‒﹣－➖", "-"),
        **dict.fromkeys("×✕⨯✖·⋅∙∗＊•", "*"),
        **dict.fromkeys("÷⁄∕／", "/"),
        **dict.fromkeys("\u00a0\u2007\u2008\u2009\u2006\u202f", THIN),
        **dict.fromkeys("\u2002\u2003\u2004\u2005\u200a\u205f\u3000", " "),
        **dict.fromkeys(
            "\u200b\u200c\u200d\u200e\u200f\u2060\u2061\u2062\u2063\ufeff\ufe0f\ufe0e\u00ad", None
        ),
        **dict.fromkeys(MARKS, None),
        **dict.fromkeys("、", ", "),
        **dict.fromkeys("“”„«»＂「」『』", '"'),
        **dict.fromkeys("‘’′ʹ＇´ʼ", "'"),
        **dict.fromkeys("″ʺ", "''"),
        **dict.fromkeys("≤⩽≦", "<="),
        **dict.fromkeys("≥⩾≧", ">="),
        **dict.fromkeys("：∶﹕꞉", ":"),
        **dict.fromkeys("。．｡", "."),
        **dict.fromkeys("٫", "."),
        **dict.fromkeys("，٬﹐", ","),
        **dict.fromkeys("【〔", "["),
        **dict.fromkeys("】〕", "]"),
        **dict.fromkeys("％﹪٪", "%"),
        **{"≠": "!=", "∼": "~", "～": "~", "∛": "\\sqrt[3]", "∜": "\\sqrt[4]", "‰": " permille"},
        **{"°": "^\\circ ", "º": "^\\circ ", "˚": "^\\circ ", "℃": " degrees C", "℉": " degrees F"},
        **{
            "㎡": " m^2",
            "㎥": " m^3",
            "㎝": " cm",
            "㎜": " mm",
            "㎞": " km",
            "㎏": " kg",
            "㎎": " mg",
            "㎖": " ml",
        },
        **{"＄": "$", "￥": "¥", "￡": "£", "￠": "¢"},
        **{mark: f"\\frac{{{two.replace(' ', '}{')}}}" for mark, two in _VULGAR.items()},
        **{letter: f"\\{name} " for letter, name in (_GREEK | _COMMANDS).items()},
    }
)
_UP, _DOWN = "".join(_RAISED), "".join(_LOWERED)
_SPLIT_FRACTION = re.compile(rf"(?<![{_UP}])([⁰¹²³⁴⁵⁶⁷⁸⁹]++)[⁄∕/]([₀₁₂₃₄₅₆₇₈₉]++)")
_RAISED_RUN, _LOWERED_RUN = re.compile(f"[{_UP}]+"), re.compile(f"[{_DOWN}]+")
_OVERLINED = re.compile("(?:\\d\u0305)+")
_DOTTED = re.compile("(\\d)\u0307")
_MICRO = re.compile("[µμ](?=[mgslLFA](?![a-z]))")
_RAISED_TABLE, _LOWERED_TABLE = str.maketrans(_RAISED), str.maketrans(_LOWERED)


def to_ascii(text: str) -> str:
    """Spell ``text`` in ASCII as far as it has an ASCII spelling; Chinese and other words stay."""
    if text.isascii():
        return text
    text = unicodedata.normalize("NFC", text)
    text = _SPLIT_FRACTION.sub(_fraction, text)
    text = _RAISED_RUN.sub(lambda run: "^{" + run[0].translate(_RAISED_TABLE) + "}", text)
    text = _LOWERED_RUN.sub(lambda run: "_{" + run[0].translate(_LOWERED_TABLE) + "}", text)
    text = _OVERLINED.sub(lambda run: "\\overline{" + run[0].replace("\u0305", "") + "}", text)
    text = _DOTTED.sub(r"\\dot{\1}", text)
    text = _MICRO.sub("u", text).translate(_TABLE)
    return text if text.isascii() else "".join(map(_compatible, text))


def _fraction(found: re.Match[str]) -> str:
    top, bottom = found[1].translate(_RAISED_TABLE), found[2].translate(_LOWERED_TABLE)
    return f"\\frac{{{top}}}{{{bottom}}}"


def _compatible(char: str) -> str:
    """Full-width and mathematical letters and the digits of other scripts become ASCII; anything else stays."""
    if char.isascii() or char == THIN or "\u4e00" <= char <= "\u9fff":
        return char
    if char.isdecimal():
        return str(int(char))
    plain = unicodedata.normalize("NFKC", char)
    if plain.isascii():
        return plain
    return plain.translate(_TABLE) if plain != char and len(plain) == 1 else char
