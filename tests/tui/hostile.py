"""Text as a model might write it, or somebody who means harm."""

from __future__ import annotations

HOSTILE = (
    "[red]not markup[/red] [/] [/blue] [@click=app.quit]x[/]",
    "[link=file:///etc/passwd]click[/link] [bold",
    "\\frac{a}{b} \\[x\\] $x^2$ [[1, 2], [3]] \\",
    "\x1b[2J\x1b[31mred\x1b]0;title\x07 \x9b1m \x00 \x7f \x08\x08",
    "left \u202eright-to-left\u202c \u2066isolate\u2069 zero\u200bwidth\u200d join \ufeff",
    "漢字かな交じり文 한국어 👩‍👩‍👧 🇩🇪 e\u0301\u0301\u0301 ﷽",
    "line one\nline two\r\nline three\r\tTab\x0b\x0c\x85\u2028\u2029",
    "\ud800\udfff lone surrogates",
    "",
    "   \n \n",
    "x" * 5000,
    "a " * 2000,
    "\n" * 500,
)
