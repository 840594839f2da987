# SPDX-License-Identifier: Apache-2.0
"""One self-contained HTML page a run."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ctan_networks.reports.scores import capital

__all__ = ["flatten", "render_page"]


def render_page(template: str, values: Mapping[str, Any], parts: Sequence[tuple[Path, Mapping[str, Any]]] = ()) -> str:
    """Fill a template; text is escaped, so that names of cases and paths cannot become markup.

    Args:
        template: file in this folder; ``base.html`` is what all have in common.
        values: what the page shows, ``details`` and ``history`` (``data:`` address or None) among it.
        parts: templates of parts of the page, each with values of its own; those that are not there are left out.

    Returns:
        the page; it refers to nothing outside itself.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=_number, signed=_signed, capital=capital, limits=_limits)
    values = {
        **values,
        "details": flatten(values["details"]),
        "written": datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
    }
    rendered = [
        environment.from_string(file.read_text(encoding="utf-8")).render({**values, **own})
        for file, own in parts
        if file.is_file()
    ]
    return environment.get_template(template).render({**values, "parts": rendered})


def flatten(details: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Rows (name, text) of nested run details; names of inner levels are joined by a space."""
    rows: list[tuple[str, str]] = []
    for name, value in details.items():
        label = f"{prefix}{str(name).replace('_', ' ')}"
        if isinstance(value, Mapping):
            rows += flatten(value, f"{label} ")
        elif isinstance(value, list | tuple | set):
            rows.append((label, ", ".join(str(v) for v in value)))
        elif value is not None:
            rows.append((label, str(value)))
    return rows


def _number(value: float | None, decimals: int) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.{decimals}f}"


def _signed(value: float | None, decimals: int) -> str:
    # A minus sign as wide as the plus, and no negative zero.
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{value:+.{decimals}f}"
    return f"{0:.{decimals}f}" if float(text) == 0 else text.replace("-", "−")


def _limits(text: str) -> str:
    return text.replace("<=", "≤").replace(">=", "≥")
