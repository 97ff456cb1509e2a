"""Whether compiled code can be had on the machine that runs the tests."""

from __future__ import annotations

import pytest

from grpo_tui.generation.compiler import CannotBuildError, library


def _builds() -> bool:
    try:
        library()
    except CannotBuildError:
        return False
    finally:
        library.cache_clear()
    return True


needs_compiler = pytest.mark.skipif(not _builds(), reason="no C compiler that can build it")
