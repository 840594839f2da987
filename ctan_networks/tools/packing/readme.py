# SPDX-License-Identifier: Apache-2.0
"""The README of a packed bundle: what to install for it, and no link to what is not in the pack."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection

from ctan_networks.tools.packing.package_copy import without_extras
from ctan_networks.tools.packing.requirements import Requirements

__all__ = ["packed_readme"]

# What the source's README says in place of the section below.
NEEDS = re.compile(r"Needs `ctan-networks`[^\n.]*?(?:\(this\s+repository: `[^`]*`\))?\.\s+")
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)")
COMMANDS = "## MONAI Bundle Commands\n"
SECTION = """## Requirements

Python 3.10 or later. The code of `ctan-networks` that this bundle uses is in `package/`. For inference:

    {inference}

For training and evaluation:

    {training}
"""
OPTIONAL = "\nSome options need more, and say so: {names}.\n"
TOOLS = "\nCommands that begin with `python -m ctan_networks` are not part of this bundle; they need `ctan-networks`.\n"


def packed_readme(text: str, inference: Requirements, training: Requirements, files: Collection[str]) -> str:
    """The README of a bundle, for its pack.

    Args:
        text: the README.
        inference: what inference needs.
        training: what training and evaluation need.
        files: what is in the pack, relative to the bundle's folder; links to other files become their words.

    """
    section = SECTION.format(inference=inference.command(), training=training.command())
    optional = sorted(inference.optional | training.optional, key=str.lower)
    section += OPTIONAL.format(names=", ".join(optional)) if optional else ""
    section += TOOLS if "python -m ctan_networks" in text else ""
    text = LINK.sub(lambda match: match[0] if _is_inside(match[2], files) else match[1], NEEDS.sub("", text))
    before, heading, after = text.partition(COMMANDS)
    text = f"{before}{section}\n{heading}{after}" if heading else f"{text.rstrip()}\n\n{section}"
    return without_extras(text)


def _is_inside(link: str, files: Collection[str]) -> bool:
    """Whether a link leads to the web, to a heading, or to a file or folder of the bundle."""
    if re.match(r"\w+:|#", link):
        return True
    path = posixpath.normpath(posixpath.join("docs", link.partition("#")[0]))
    return any(file == path or file.startswith(f"{path}/") for file in files)
