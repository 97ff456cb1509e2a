r"""LaTeX layout → commands that later stages read as tokens: matrices, paired bars, primes, unit vectors.

``\begin{pmatrix} a & b \\ c & d \end{pmatrix}`` becomes ``\pmatrix{ a \cell b \row c \cell d }``: the row and cell
marks must not meet the rules that undress other backslashes. Linear in the length of the text.
"""

from __future__ import annotations

import re

from rewards.trees.names import words

MATRICES = words("matrix pmatrix bmatrix Bmatrix vmatrix Vmatrix smallmatrix psmallmatrix bsmallmatrix array")
_OPEN_END = re.compile(r"\\right\s*\.")
_MARK = re.compile(
    r"\\begin\s*\{\s*(?P<begin>[A-Za-z]{1,20})\*?\s*\}(?:\s*\{(?P<columns>[lcr|@{} .\d]{0,40}?)\})?"
    r"|\\end\s*\{\s*(?P<end>[A-Za-z]{1,20})\*?\s*\}"
    r"|(?P<row>\\\\(?:\s*\[\s*-?[\d.]{1,6}\s*[a-z]{2}\s*\])?|\\cr(?![A-Za-z])|\\newline(?![A-Za-z]))"
    r"|(?P<cell>(?<!\\)&(?:amp;)?)|(?P<line>\\hline(?![A-Za-z]))"
)
_BRACED_ARRAY = re.compile(
    r"(?:\\left\s*)?\\\{\s*\\begin\s*\{(?:array|aligned|matrix)\}(?:\s*\{[lcr ]{1,8}\})?"
)
_FENCES = (
    (re.compile(r"\\left\s*(?:\||\\vert(?![A-Za-z]))"), r"\\lvert "),
    (re.compile(r"\\right\s*(?:\||\\vert(?![A-Za-z]))"), r"\\rvert "),
    (re.compile(r"\\left\s*\\(?:\||[lV]Vert(?![A-Za-z])|Vert(?![A-Za-z]))"), r"\\lVert "),
    (re.compile(r"\\right\s*\\(?:\||[rV]Vert(?![A-Za-z])|Vert(?![A-Za-z]))"), r"\\rVert "),
)
_BOLD = r"\\(?:mathbf|textbf|boldsymbol|bm|pmb|vec|hat|widehat)\s*"
_UNIT_VECTOR = re.compile(
    rf"{_BOLD}(?:\{{\s*)?(?:{_BOLD})?(?:\{{\s*)?(?P<letter>\\imath|\\jmath|[ijk])(?![A-Za-z])\s*(?P<close>\}}?\s*\}}?)"
)
_PRIMES = re.compile(r"(?<=[A-Za-z)}])(?:'{1,3}|′{1,3}|″)(?![A-Za-z'\"])")
_TRANSPOSED_TUPLE = re.compile(
    r"^(\s*(?:\\left\s*)?[(\[][^()\[\]]{1,400},[^()\[\]]{1,400}[)\]])\s*\^\s*\{?\s*(?:T|\\top|\\intercal)\s*\}?\s*$"
)
_UNIT_NAMES = {"i": "I", "j": "J", "k": "K", "\\imath": "I", "\\jmath": "J"}


def lay_out(text: str) -> str:
    """Rewrite the layout commands of ``text``; text without any is returned as it is."""
    if "\\begin" in text:
        text = _BRACED_ARRAY.sub(r"\\begin{cases}", text)
        text = _environments(text)
        text = _OPEN_END.sub("", text)
    if "\\left" in text:
        for pattern, replacement in _FENCES:
            text = pattern.sub(replacement, text)
    if "\\" in text:
        text = _UNIT_VECTOR.sub(_unit_vector, text)
    text = _TRANSPOSED_TUPLE.sub(r"\1", text)
    if "'" in text or "′" in text or "″" in text:
        text = _PRIMES.sub(_primes, text)
    return text


def _unit_vector(found: re.Match[str]) -> str:
    whole = found[0]
    opened, closed = whole.count("{"), found["close"].count("}")
    if opened > closed:
        return whole  # \mathbf{i + j}: not a letter of its own
    surplus = closed - opened
    return f"\\unit{_UNIT_NAMES[found['letter']]} " + "}" * surplus


def _primes(found: re.Match[str]) -> str:
    count = sum(2 if mark == "″" else 1 for mark in found[0])
    return "^{" + "\\primemark " * count + "}"


def _environments(text: str) -> str:
    out: list[str] = []
    open_environments: list[str] = []
    position = 0
    for found in _MARK.finditer(text):
        out.append(text[position : found.start()])
        position = found.end()
        inside = open_environments[-1] if open_environments else ""
        if found["begin"]:
            name = _canonical(found["begin"], text[found.end() : found.end() + 1_500])
            open_environments.append(name)
            columns = found["columns"]
            braced = f"{{{columns}}}" if columns is not None and name != "matrix" and name != "array" else ""
            out.append((f"\\{name}{{ " if name else " ") + braced)
        elif found["end"]:
            if open_environments:
                open_environments.pop()
            if not inside:
                _drop_last_break(out)
            out.append(" }" if inside else " ")
        elif not open_environments:
            out.append(found[0])
        elif found["row"]:
            out.append(" \\row " if inside else " , ")
        elif found["cell"]:
            out.append(" \\cell " if inside else " ")
    out.append(text[position:])
    return "".join(out)


def _drop_last_break(out: list[str]) -> None:
    """A line break before the end of the lines separates nothing."""
    while out and not out[-1].strip():
        out.pop()
    if out and out[-1] == " , ":
        out.pop()


def _canonical(name: str, rest: str) -> str:
    """Command for an environment; empty for one whose lines are separate statements."""
    if name in MATRICES:
        return name.replace("small", "")
    if name in ("cases", "dcases"):
        end = rest.find("\\end")
        body = rest if end < 0 else rest[:end]
        return "cases" if "&" in body and "=" not in body.split("&")[0] else ""
    return ""
