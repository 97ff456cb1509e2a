"""Documents and the disk say the same."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import grpo_tui
from grpo_tui.cli import build_parser
from grpo_tui.config.load import load_config
from grpo_tui.config.presets import PRESETS

ROOT = Path(__file__).parents[2]
PACKAGES = ("grpo_tui", "rewards")
TREE_LINE = re.compile(r"^(?P<indent> *)(?P<names>[\w./, ]+?)(?:  +\S.*)?$")


def modules_on_disk() -> set[str]:
    return {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if path.name not in ("__init__.py", "__main__.py")
    }


def modules_in_the_document() -> set[str]:
    """Paths in the tree of ARCHITECTURE.md: a folder ends in ``/``, its modules stand indented below it."""
    text = (ROOT / "grpo_tui" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    tree = re.search(r"<!-- tree -->\n```\n(.*?)```", text, re.DOTALL)
    assert tree is not None, "ARCHITECTURE.md has no tree"
    found: set[str] = set()
    folders: list[tuple[int, str]] = []
    for line in tree[1].splitlines():
        match = TREE_LINE.match(line)
        if not match or not match["names"].strip():
            continue
        indent, names = len(match["indent"]), match["names"].split()
        while folders and folders[-1][0] >= indent:
            folders.pop()
        base = "".join(folder for _, folder in folders)
        if names[0].endswith("/"):
            folders.append((indent, names[0]))
        else:
            found |= {base + name for name in names if name.endswith(".py")}
    return found


def test_the_architecture_document_names_every_module_and_no_other() -> None:
    documented, real = modules_in_the_document(), modules_on_disk()
    assert real - documented == set(), "on disk, but not in grpo_tui/ARCHITECTURE.md"
    assert documented - real == set(), "in grpo_tui/ARCHITECTURE.md, but not on disk"


def test_files_that_readme_links_exist() -> None:
    for document in (ROOT / "README.md", ROOT / "rewards" / "README.md", ROOT / "sample_data" / "README.md"):
        text = document.read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#]+)\)", text):
            if "://" not in target:
                assert (document.parent / target).exists(), (
                    f"{document.name} links {target}, which is not there"
                )


def test_commands_that_readme_shows_parse() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = [line for line in readme.splitlines() if line.startswith("grpo-tui ")]
    assert len(lines) >= 5
    for line in lines:
        words = shlex.split(line, comments=True)[1:]
        if "<" in words:  # what follows is the shell's
            words = words[: words.index("<")]
        arguments = build_parser().parse_args(words)
        overrides = getattr(arguments, "overrides", [])
        preset = getattr(arguments, "preset", None)
        load_config(preset=preset or "tiny", overrides=overrides)


def test_presets_in_readme_are_all_there_are() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in PRESETS:
        assert f"`{name}`" in readme


def test_version_is_the_same_everywhere() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{grpo_tui.__version__}"' in pyproject
    assert grpo_tui.__version__ in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_top_level_holds_only_what_was_agreed() -> None:
    import subprocess

    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    top = {line.partition("/")[0] for line in listed.splitlines()}
    agreed = {"pyproject.toml", "README.md", "grpo_tui", "rewards", "tests", "sample_data"}
    beside = {"LICENSE", "CHANGELOG.md", "constraints.txt", ".ci", ".pre-commit-config.yaml", ".gitignore"}
    assert top <= agreed | beside, f"not agreed on: {top - agreed - beside}"
