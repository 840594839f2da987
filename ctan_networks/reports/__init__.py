# SPDX-License-Identifier: Apache-2.0
"""Tables, figures and HTML page of an evaluation; :py:class:`ctan_networks.handlers.EvaluationReport` fills them."""

from __future__ import annotations

from .cases import Case, read_case
from .figures import draw_dvh, draw_history, draw_slices, to_png, to_uri
from .html import render_page
from .summary import chosen_cases, dice_by_structure, dvh_by_structure, patient_scores, score_table
from .tables import Row, case_rows, to_frame, write_rows
from .views import CaseView, make_view, to_display

__all__ = [
    "Case",
    "CaseView",
    "Row",
    "case_rows",
    "chosen_cases",
    "dice_by_structure",
    "draw_dvh",
    "draw_history",
    "draw_slices",
    "dvh_by_structure",
    "make_view",
    "patient_scores",
    "read_case",
    "render_page",
    "score_table",
    "to_display",
    "to_frame",
    "to_png",
    "to_uri",
    "write_rows",
]
