"""``python -m grpo_tui``."""

import sys

from grpo_tui.cli import main

sys.exit(main())
