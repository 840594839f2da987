# SPDX-License-Identifier: Apache-2.0
"""``python -m ctan_networks COMMAND``."""

from __future__ import annotations

import sys

from ctan_networks import workflow
from ctan_networks.tools import commands
from ctan_networks.tools.run_command import run_command


def main() -> None:
    """Run one of the commands with what the command line gives."""
    workflow.explain_errors()
    run_command({name: getattr(commands, name) for name in commands.__all__}, sys.argv[1:], "ctan_networks")


if __name__ == "__main__":
    main()
