# SPDX-License-Identifier: Apache-2.0
"""``python -m ctan_networks COMMAND``."""

from __future__ import annotations

import fire

from ctan_networks import workflow
from ctan_networks.tools import commands


def main() -> None:
    """Run one of the commands with what the command line gives."""
    workflow.explain_errors()
    fire.Fire({name: getattr(commands, name) for name in commands.__all__}, name="ctan_networks")


if __name__ == "__main__":
    main()
