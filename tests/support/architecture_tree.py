"""Print the module tree that stands in ``grpo_tui/ARCHITECTURE.md``: ``python -m tests.support.architecture_tree``.

With ``--write`` the tree in the document is replaced: everything in its last fenced block.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "grpo_tui" / "ARCHITECTURE.md"
_WIDTH = 150


def summary(file: Path) -> str:
    """The first paragraph of a module's docstring, on one line."""
    text = ast.get_docstring(ast.parse(file.read_text("utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split())


def tree(folder: Path, depth: int = 0) -> Iterator[str]:
    """One line for each package and module below ``folder``."""
    indent = "  " * depth
    init = folder / "__init__.py"
    yield f"{indent + folder.name + '/':<32}{summary(init) if init.exists() else ''}"[:_WIDTH].rstrip()
    for file in sorted(folder.glob("*.py")):
        if file.name not in ("__init__.py", "__main__.py"):
            yield f"{indent + '  ' + file.name:<32}{summary(file)}"[:_WIDTH].rstrip()
    for child in sorted(folder.iterdir()):
        if child.is_dir() and child.name != "__pycache__" and any(child.glob("*.py")):
            yield from tree(child, depth + 1)


def main() -> None:
    """Print or write."""
    lines = "\n".join([*tree(ROOT / "rewards"), *tree(ROOT / "grpo_tui")])
    if "--write" not in sys.argv:
        sys.stdout.write(f"{lines}\n")
        return
    before, fence, _ = DOCUMENT.read_text("utf-8").rpartition("```\n")
    head, opening, _ = before.rpartition("```")
    first_line = head + opening + _.partition("\n")[0] + "\n"
    DOCUMENT.write_text(f"{first_line}{lines}\n{fence}", "utf-8")


if __name__ == "__main__":
    main()
