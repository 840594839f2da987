# SPDX-License-Identifier: Apache-2.0
"""Section of a dose: the scores of the OpenKBP challenge, DVH metrics, and what a planner asks of a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from ctan_networks.radiotherapy.metrics.dose_score import compute_dose_score, zero_outside
from ctan_networks.radiotherapy.metrics.dvh import TARGET_PREFIX, compute_dvh_metrics, dvh_columns, dvh_curve
from ctan_networks.radiotherapy.transforms.body import body_mask
from ctan_networks.reports.figures import DASHED, SOLID, draw_dvh, to_uri
from ctan_networks.reports.scores import Results, Row, Score
from ctan_networks.reports.section import Case, Section
from ctan_networks.reports.sections.plan import PlanQuestions, plan_rows, plan_summary, read_prescription, spread
from ctan_networks.reports.sections.regression import RegressionSection
from ctan_networks.reports.slices import display_spacing, to_display

__all__ = ["DoseSection"]

# SplitOutputsd names the mask as it names every label.
MASK_KEYS = ("mask", "reference_mask")
STRUCTURES = "reference_segmentation"
KINDS = ("reference", "predicted")
DVH_STEP_GY = 0.25


class DoseSection(RegressionSection):
    """Dose score and DVH score (Babier et al. 2021, doi 10.1002/mp.14845), DVH metrics, and questions of a planner.

    ============================  ======================================================================
    ``predicted_<task>``          ``[1, i, j, k]`` Gy; set to zero outside the mask
    ``reference_<task>``          ``[1, i, j, k]`` Gy; NaN where unknown
    ``mask``, ``reference_mask``  ``[1, i, j, k]`` 1 where dose is possible (either name); where there is
                                  none, the body found in the CT
    ``reference_segmentation``    ``[S, i, j, k]`` 0/1, a channel of NaN where a structure is unknown
    image                         CT in HU, a MetaTensor whose affine gives the geometry
    ``prescription``              Gy, of the case; may be absent
    ============================  ======================================================================

    All but the prediction may be absent. Everything beside the dose score is of the reference structures.

    Args:
        task: name of the task.
        structures: names of the channels of the reference structures.
        plan_metrics: give mean dose, D_2 and D_98 of each structure, and of targets (PTV...) the homogeneity index and,
            where the prescription is known, Paddick's conformity index at 95 % of it.
        goals: goals of the plan, as :py:func:`ctan_networks.radiotherapy.metrics.plan_goals.parse_goals` reads them;
            the report says which of them the reference and the predicted dose meet.
        gamma: settings of :py:func:`ctan_networks.radiotherapy.metrics.gamma.gamma_pass_rate`, ``{}`` for the usual
            ones; ``{"normalisation": "prescription"}`` takes each case's own. None: not computed.
        prescription: in Gy, of cases that have none of their own.
        prescription_key: key of the prescribed dose of a case in Gy.

    Raises:
        ConfigError: when a goal or setting cannot be read, or pymedphys, which gamma needs, is not installed.
    """

    criteria = ()

    def __init__(
        self,
        task: str,
        structures: Sequence[str],
        plan_metrics: bool = False,
        goals: Sequence[Mapping[str, Any]] | None = None,
        gamma: Mapping[str, Any] | None = None,
        prescription: float | None = None,
        prescription_key: str = "prescription",
    ) -> None:
        super().__init__(task, "Gy")
        self.structures = list(structures)
        self.questions: PlanQuestions | None = None
        if plan_metrics or goals or gamma is not None:
            self.questions = PlanQuestions(plan_metrics, goals, gamma, self.structures)
        self.prescription = prescription
        self.prescription_key = prescription_key

    def score(self, case: Case) -> bool:
        """Add ``dose_score``, the DVH metrics and what the questions ask for."""
        affine = case.geometry
        predicted, reference = case.pair(self.task, 1)
        mask = self._mask(case, affine, predicted.shape[1:])
        if reference is not None:
            # Where the reference is unknown there is nothing to compare.
            mask = mask * ~reference.isnan()
        predicted = case.volumes[f"predicted_{self.task}"] = zero_outside(predicted, mask)
        masks = case.volume(STRUCTURES, len(self.structures), predicted.shape[1:])
        if masks is not None and bool(masks.isnan().all()):
            del case.volumes[STRUCTURES]
            masks = None
        if reference is None:
            return False
        score = compute_dose_score(predicted[None], reference[None], mask[None])
        case.rows.append(Row(case.name, self.task, "", "dose_score", float(score)))
        doses = torch.cat([reference, predicted])
        if masks is not None:
            voxel = float(abs(np.linalg.det(affine[:3, :3])))
            pairs = compute_dvh_metrics(doses, masks, self.structures, voxel).T.tolist()
            for (structure, metric), (r, p) in zip(dvh_columns(self.structures), pairs, strict=True):
                case.rows.append(Row(case.name, self.task, structure, metric, abs(r - p), r, p))
        if self.questions is not None:
            gray = read_prescription(case.item, self.prescription_key, self.prescription)
            case.rows += plan_rows(case.name, doses, masks, mask, affine, self.structures, self.questions, gray)
        return True

    def scores(self, results: Results) -> list[Score]:
        """Dose score: mean over patients. DVH score: one flat mean over all metrics of all patients."""
        rows = results.of(self.task)
        single, dvh = rows[rows["structure"] == ""], rows[rows["structure"] != ""]
        return [
            results.mean("dose_score", "Dose score", single, "Gy", higher_is_better=False),
            results.mean("dvh_score", "DVH score", dvh, "Gy", higher_is_better=False, flat=True),
        ]

    def describe(self, results: Results, sections: Sequence[Section]) -> dict[str, Any]:
        """``dvh``: each DVH metric over the patients in whom it is known; ``plan``, ``goals``, ``gamma`` of a plan."""
        own = results.rows[(results.rows["task"] == self.task) & (results.rows["structure"] != "")]
        return {
            "structures": self.structures,
            "cases_without_dose_mask": sum(not case.facts[self.task] for case in results.cases),
            "dvh": spread(own),
            **({} if self.questions is None else plan_summary(results.rows, self.questions)),
        }

    def notes(self) -> list[str]:
        return [
            "Dose score: sum of |reference − prediction| over the volume, by the number of voxels that can receive "
            "dose, mean over patients; the prediction is set to zero outside these voxels. DVH score: mean of "
            "|reference − prediction| over every DVH metric of every patient. Both as in the OpenKBP challenge (Babier "
            "et al., Med Phys 2021)."
        ]

    def extremes(self, case: Case) -> list[tuple[str, float, str]]:
        return []

    def outlines(self) -> dict[str, list[str]]:
        return {STRUCTURES.removeprefix("reference_"): self.structures}

    def focus(self, case: Case) -> np.ndarray | None:
        dose = case.volumes.get(f"reference_{self.task}", case.volumes[f"predicted_{self.task}"])[0].numpy()
        masks = case.volumes.get(STRUCTURES, case.volumes.get("predicted_segmentation"))
        found = []
        for name, mask in zip(self.structures, [] if masks is None else masks.numpy(), strict=False):
            inside = mask > 0.5
            if name.startswith(TARGET_PREFIX) and inside.any():
                found.append((float(np.nanmean(dose[inside])), inside))
        return max(found, key=lambda pair: pair[0])[1] if found else dose >= 0.95 * np.nanmax(dose)

    def keep(self, case: Case) -> dict[str, np.ndarray]:
        masks = case.volumes.get(STRUCTURES)
        doses = {key: case.volumes.get(f"{key}_{self.task}") for key in KINDS}
        known = {key: dose[0].numpy() for key, dose in doses.items() if dose is not None}
        if masks is None or len(known) < 2:
            return {}
        highest = max(float(np.nanmax(dose)) for dose in known.values())
        edges = np.arange(0.0, highest + 2 * DVH_STEP_GY, DVH_STEP_GY)
        curves = {f"dvh/{key}": np.full((len(masks), edges.size), np.nan) for key in known}
        for s, mask in enumerate(masks.numpy()):
            inside = mask > 0.5
            for key, dose in known.items():
                if inside.any():
                    curves[f"dvh/{key}"][s] = 100 * dvh_curve(dose[inside], edges)
        return {"dvh/edges": edges, **curves}

    def details(self, case: Case, kept: Mapping[str, np.ndarray]) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {}
        if "dvh/edges" in kept:
            words = f"Dose-volume histograms of {case.name} in the reference structures."
            found["figures"] = [{"image": to_uri(self.draw(kept)), "words": words}]
        own = [row for row in case.rows if row.task == self.task and row.structure and not np.isnan(row.value)]
        if own:
            head = ["Structure", "Metric (Gy)", "reference", "prediction", "difference"]
            rows = [[r.structure, r.metric, r.reference, r.predicted, r.predicted - r.reference] for r in own]
            found["tables"] = [{"head": head, "rows": rows}]
        return found

    def draw(self, kept: Mapping[str, np.ndarray]) -> Figure:
        """The histograms that :py:meth:`keep` gives; reference dose solid, predicted dose dashed."""
        edges = kept["dvh/edges"]
        curves = {
            name: {f"{k} dose": (edges, kept[f"dvh/{k}"][s]) for k in KINDS if not np.isnan(kept[f"dvh/{k}"][s]).all()}
            for s, name in enumerate(self.structures)
        }
        return draw_dvh(curves, dict(zip((f"{k} dose" for k in KINDS), (SOLID, DASHED), strict=True)), float(edges[-1]))

    def _mask(self, case: Case, affine: np.ndarray, grid: Sequence[int]) -> torch.Tensor:
        """Where dose is possible; notes in ``facts`` whether the case says so."""
        key = next((key for key in MASK_KEYS if case.item.get(key) is not None), None)
        case.facts[self.task] = key is not None
        mask = case.volume(key or case.image_key, 1, grid)
        assert mask is not None
        del case.volumes[key or case.image_key]
        if key is not None:
            return mask
        body = np.zeros(mask.shape, np.float32)
        left, posterior, inferior = display_spacing(affine)
        # body_mask wants the slices last, as they are in display orientation; both views write through to their arrays.
        shown = to_display(mask.numpy(), affine)[0]
        to_display(body, affine)[0] = body_mask(shown, (left, posterior, inferior))
        return torch.from_numpy(body)
