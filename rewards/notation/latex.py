r"""LaTeX → the small notation that the parser reads: dressing is taken off, variants get one spelling.

One pass with a stack, so nested commands cost nothing extra and the work is linear in the text. Unknown commands
stay as they are: whether they mean something is for the parser to say.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from rewards.notation.characters import DOLLAR, SOFT_COMMA, THIN, WORDS_CLOSE, WORDS_OPEN

_PIECE = re.compile(
    r"\\(?P<name>[A-Za-z]+)(?P<star>\*(?=\s*\{))?|\\(?P<char>.)|(?P<comma>\{\s*,\s*\})|\{\s*(?P<sign>[:=<>])\s*\}|(?P<open>\{)|(?P<close>\})"
    r"|(?P<tie>~)|(?P<amp>&)|(?P<space>\s+)|(?P<plain>[^\\{}~&\s]+)|(?P<stray>\\)",
    re.S,
)
_OPTION = re.compile(r"\s*\[[^\[\]{}\\]{0,40}\]")
_DIMENSION = re.compile(r"\s*-?[\d.]+\s*(?:pt|em|ex|mu|cm|mm|in)(?![A-Za-z])")

_TEXT = "text textrm textbf textit textsf texttt textup textsc textnormal textmd emph mathrm rm mbox hbox operatorname"
_KEPT = (
    "mathbf mathit mathsf mathtt mathnormal boxed fbox framebox underline uline bm boldsymbol pmb ensuremath mathop"
    " mathord mathbin mathrel mathpunct mathopen mathclose mathcal mathscr displaylines num smash mathstrut bold"
    " underbar makebox enclose centerline rlap llap mathclap"
)
_NOTHING = (
    "left right middle big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr Biggl Biggr bigm Bigm displaystyle textstyle"
    " scriptstyle scriptscriptstyle limits nolimits thinspace negthinspace negmedspace negthickspace hfill noindent"
    " centering large Large LARGE huge Huge small normalsize tiny bf it sf tt cal boldmath unboldmath strut null"
    " relax nonumber notag newline par allowbreak nobreak protect hline qed blacksquare square Box"
)
_DROPPED = "phantom hphantom vphantom hspace vspace label tag mspace ref eqref hskip kern mkern color"
_ARGUMENTS = {
    **dict.fromkeys(_TEXT.split(), "t"),
    **dict.fromkeys(_KEPT.split(), "k"),
    **dict.fromkeys(_DROPPED.split(), "d"),
    **{"textcolor": "dk", "colorbox": "dk", "fcolorbox": "ddk", "raisebox": "dk", "scalebox": "dk"},
    **{"SI": "kt", "qty": "kt", "si": "t", "unit": "t", "ang": "a"},
}
_SPELLED = {
    **dict.fromkeys(("dfrac", "tfrac", "cfrac", "sfrac", "nicefrac", "flatfrac", "xfrac"), "\\frac"),
    **dict.fromkeys(("dbinom", "tbinom"), "\\binom"),
    **dict.fromkeys(("cdot", "times", "ast", "star", "cdotp", "bullet"), "*"),
    **dict.fromkeys(("div", "slash"), "/"),
    **dict.fromkeys(("le", "leq", "leqslant", "leqq"), "<="),
    **dict.fromkeys(("ge", "geq", "geqslant", "geqq"), ">="),
    **dict.fromkeys(("ne", "neq"), "!="),
    **{"lt": "<", "gt": ">", "colon": ":", "ratio": ":", "minus": "-", "textminus": "-", "plus": "+"},
    **{"lbrace": "\\{", "rbrace": "\\}", "lbrack": "[", "rbrack": "]", "lparen": "(", "rparen": ")"},
    **dict.fromkeys(("quad", "qquad", "enspace", "enskip", "space", "nobreakspace"), " "),
    **dict.fromkeys(("degree", "degrees", "textdegree"), " degrees "),
    **{
        "circ": "\\circ",
        "celsius": " degrees C ",
        "textcelsius": " degrees C ",
        "percent": "%",
        "textbar": "|",
    },
    **{"pounds": "£", "textsterling": "£", "euro": "€", "EUR": "€", "texteuro": "€", "yen": "¥"},
    **{"textyen": "¥", "cent": "¢", "cents": "¢", "textcent": "¢", "textdollar": DOLLAR, "dollar": DOLLAR},
    **{"textpi": "\\pi", "uppi": "\\pi", "textsuperscript": "^", "textsubscript": "_"},
    **{"varnothing": "\\emptyset", "Reals": "\\mathbb{R}", "R": "\\mathbb{R}", "dots": "\\ldots"},
}
_CHARACTERS = {
    **dict.fromkeys(",;:> ", THIN),
    **{"\\": ", ", "!": "", "%": "%", "$": DOLLAR, "#": " ", "&": " ", "_": "_", "-": "", "/": ""},
    **{"(": " ", ")": " ", "[": " ", "]": " ", "{": "\\{", "}": "\\}", "|": "\\|", "\n": " "},
}
_INFIX = {"over": "\\frac", "choose": "\\binom"}


@dataclass(slots=True)
class _Group:
    """An open brace: what its end writes, where it began, and what its command still expects."""

    mode: str
    start: int
    slot: int = -1
    closing: str = ""
    rest: str = ""
    infix: tuple[int, str] = (-1, "")


@dataclass(slots=True)
class _Undresser:
    """One pass over one text."""

    text: str
    out: list[str] = field(default_factory=list)
    groups: list[_Group] = field(default_factory=list)
    pending: str = ""
    dropping: int = 0

    def run(self) -> str:
        top = _Group("top", 0, self.placeholder())
        self.groups.append(top)
        position = 0
        while position < len(self.text):
            found = _PIECE.match(self.text, position)
            if found is None:
                break
            position = self.piece(found)
        return "".join(self.out) + top.closing

    def placeholder(self) -> int:
        self.out.append("")
        return len(self.out) - 1

    def piece(self, found: re.Match[str]) -> int:
        """Take one piece and return where the next begins."""
        kind = found.lastgroup
        if kind == "star":
            kind = "name"
        if kind == "space":
            if not self.pending:
                self.out.append(" ")
        elif kind == "open":
            self.open()
        elif kind == "close":
            self.close()
        else:
            self.pending = ""
            if kind == "name":
                return self.command(found["name"], found.end())
            if kind != "stray":
                self.single(kind or "", found)
        return found.end()

    def single(self, kind: str, found: re.Match[str]) -> None:
        if kind == "plain":
            self.out.append(found[0])
        elif kind == "comma":
            self.out.append(SOFT_COMMA)
        elif kind == "sign":
            self.out.append(found["sign"])
        elif kind == "tie":
            self.out.append("~" if not "".join(self.out[-3:]).strip() else THIN)
        elif kind == "amp":
            self.out.append(" ")
        elif kind == "char":
            char = found["char"]
            self.out.append(_CHARACTERS.get(char, found[0]))

    def open(self) -> None:
        mode, rest = (self.pending[0], self.pending[1:]) if self.pending else ("g", "")
        self.pending = ""
        group = _Group(mode, len(self.out), rest=rest)
        if mode == "g":
            self.out.append("{")
            group.slot = self.placeholder()
            group.closing = "}"
        elif mode == "t":
            self.out.append(" " + WORDS_OPEN)
            group.closing = WORDS_CLOSE + " "
        elif mode == "a":
            group.closing = " degrees "
        self.groups.append(group)

    def close(self) -> None:
        if len(self.groups) == 1:
            self.out.append("}")  # unbalanced: for the parser to refuse
            return
        group = self.groups.pop()
        if group.mode == "d":
            del self.out[group.start :]
        else:
            self.out.append(group.closing)
        self.pending = group.rest

    def command(self, name: str, end: int) -> int:
        """Take a named command and return where the next piece begins."""
        if name in _NOTHING_SET:
            if name in ("left", "right") and self.text.startswith(".", end):
                return end + 1
            return end
        if name == "rm" and self.upright():
            return end
        if name in _ARGUMENTS:
            self.pending = _ARGUMENTS[name]
            if name in ("hskip", "kern", "mkern"):
                self.pending = ""
                length = _DIMENSION.match(self.text, end)
                return length.end() if length else end
            option = _OPTION.match(self.text, end)
            return option.end() if option and name != "num" else end
        if name in _INFIX and self.infix(_INFIX[name]):
            return end
        spelled = _SPELLED.get(name)
        if spelled is None:
            spelled = "\\" + name
        self.out.append(spelled)
        if spelled[-1:].isalpha() and self.text[end : end + 1].isalnum():
            self.out.append(" ")
        return end

    def upright(self) -> bool:
        r"""``{\rm cm}``: the group that begins with the switch holds words."""
        group = self.groups[-1]
        if group.mode != "g" or "".join(self.out[group.slot + 1 :][:4]).strip():
            return False
        self.out[group.slot - 1], group.closing, group.slot = " " + WORDS_OPEN, WORDS_CLOSE + " ", -1
        return True

    def infix(self, command: str) -> bool:
        r"""``{a \over b}`` → ``\frac{a}{b}``; a second one in the group undoes it."""
        group = self.groups[-1]
        if group.slot < 0:
            return False
        if self.out[group.slot]:
            self.undo_infix(group)
            return False
        self.out[group.slot] = command + "{"
        group.infix = (len(self.out), "\\over " if command == "\\frac" else "\\choose ")
        self.out.append("}{")
        group.closing += "}"
        return True

    def undo_infix(self, group: _Group) -> None:
        r"""``{a \over b \over c}`` has no meaning: all stay as they are written."""
        middle, written = group.infix
        self.out[group.slot], self.out[middle] = "", written
        group.closing = group.closing[:-1]
        group.slot = -1


_NOTHING_SET = frozenset(_NOTHING.split())


def undress(text: str) -> str:
    """Take the dressing off ``text``; marks of :mod:`rewards.notation.characters` stand for what a later stage must know."""
    return _Undresser(text).run()
