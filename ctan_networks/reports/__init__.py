# SPDX-License-Identifier: Apache-2.0
"""Tables, figures and HTML pages of an evaluation.

:py:class:`ctan_networks.handlers.EvaluationReport` and :py:class:`ctan_networks.handlers.ClassificationReport` fill
them.
"""

from __future__ import annotations

from .cases import Case, read_case
from .classification_cases import ClassifiedCase, case_metrics, read_classified
from .classification_figures import draw_confusion, draw_reliability, draw_roc
from .classification_gallery import Choice, Gallery
from .classification_pictures import draw_photo, draw_volume, keep_display, load_display
from .classification_tables import class_scores, describe_task, known_only_where, predictions_frame, roc_curves
from .figures import draw_dvh, draw_history, draw_slices, to_png, to_uri
from .html import render_page
from .plan import PlanQuestions, plan_rows, read_prescription
from .plan_summary import plan_cases, plan_summary
from .saliency import grad_cam
from .summary import chosen_cases, dice_by_structure, dvh_by_structure, patient_scores, score_table
from .tables import Row, case_rows, to_frame, write_rows
from .views import CaseView, make_view, to_display

__all__ = [
    "Case",
    "CaseView",
    "Choice",
    "ClassifiedCase",
    "Gallery",
    "PlanQuestions",
    "Row",
    "case_metrics",
    "case_rows",
    "chosen_cases",
    "class_scores",
    "describe_task",
    "dice_by_structure",
    "draw_confusion",
    "draw_dvh",
    "draw_history",
    "draw_photo",
    "draw_reliability",
    "draw_roc",
    "draw_slices",
    "draw_volume",
    "dvh_by_structure",
    "grad_cam",
    "keep_display",
    "known_only_where",
    "load_display",
    "make_view",
    "patient_scores",
    "plan_cases",
    "plan_rows",
    "plan_summary",
    "predictions_frame",
    "read_case",
    "read_classified",
    "read_prescription",
    "render_page",
    "roc_curves",
    "score_table",
    "to_display",
    "to_frame",
    "to_png",
    "to_uri",
    "write_rows",
]
