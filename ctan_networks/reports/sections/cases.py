# SPDX-License-Identifier: Apache-2.0
"""Which cases are shown with a picture, and their pictures."""

from __future__ import annotations

import tempfile
from bisect import insort
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ctan_networks.errors import DataError
from ctan_networks.processes import gather_in_turn
from ctan_networks.reports.figures import DASHED, SOLID, colour, to_uri
from ctan_networks.reports.scores import Score
from ctan_networks.reports.section import Case, Section
from ctan_networks.reports.slices import PHOTO, Outline, Panel, cut, draw_panels, planes_of, sizes_of

__all__ = ["Choice", "Gallery", "Pictures", "ranked_cases"]

STYLES = {"reference": SOLID, "predicted": DASHED}
# On a photograph, unlike each other and any skin.
PHOTO_COLOURS = {"reference": "#00e5ff", "predicted": "#ffe600"}


class Choice(NamedTuple):
    """A case that is drawn.

    Attributes:
        case: its name.
        why: what it was chosen for, in words.
    """

    case: str
    why: str


class Gallery:
    """The most extreme cases by several criteria, of however many.

    Only cases that may still be chosen need to be kept: :py:meth:`offer` says which.

    Args:
        sections: give the criteria, and each case's values.
        count: greatest number of cases.
    """

    def __init__(self, sections: Sequence[Section], count: int) -> None:
        self.sections = sections
        self.count = count
        # Sorted, best first: (minus the value, number of arrival, name, what to say).
        self.ranked: dict[tuple[str, str], list[tuple[float, int, str, str]]] = {
            (section.task, criterion): [] for section in sections for criterion in section.criteria
        }
        self.arrived = 0

    def offer(self, case: Case) -> set[str]:
        """Take in a scored case; return the names of all that may still be chosen."""
        for section in self.sections:
            for criterion, value, words in section.extremes(case):
                ranking = self.ranked[section.task, criterion]
                insort(ranking, (-value, self.arrived, case.name, words))
                # No more than count of one criterion are ever drawn, also when others have chosen some of them.
                del ranking[self.count :]
        self.arrived += 1
        return {entry[2] for ranking in self.ranked.values() for entry in ranking}

    def chosen(self) -> list[Choice]:
        """The cases to draw, by criterion: each criterion in turn chooses its next, until there are enough."""
        reasons: dict[str, tuple[int, int, str]] = {}
        for rank in range(self.count):
            for order, ((_, criterion), ranking) in enumerate(self.ranked.items()):
                if rank < len(ranking) and len(reasons) < self.count:
                    _, _, name, words = ranking[rank]
                    place = f"{_ordinal(rank + 1)} " if rank else ""
                    reasons.setdefault(name, (order, rank, f"{place}{criterion}{words}"))
        return [Choice(name, why) for name, (_, _, why) in sorted(reasons.items(), key=lambda item: item[1][:2])]


def ranked_cases(scores: Sequence[Score], rank_by: Sequence[str], count: int) -> list[Choice]:
    """Cases worth a picture, best first: worst, best, median, then the next worst.

    Args:
        scores: of all cases.
        rank_by: names of scores; the first one that was measured ranks the cases.
        count: greatest number of cases.
    """
    found = {score.name: score for score in scores if score.cases is not None}
    score = next((found[name] for name in rank_by if name in found), None)
    if score is None or score.cases is None or count <= 0:
        return []
    ranked = score.cases.sort_values(ascending=not score.higher_is_better, kind="stable")
    n = len(ranked)
    wanted = {n - 1: "worst" if n > 1 else "only case"}
    next_worst = ((n - k, f"{_ordinal(k)} worst") for k in range(2, n))
    for rank, what in ((0, "best"), ((n - 1) // 2, "median"), *next_worst):
        if len(wanted) < count:
            wanted.setdefault(rank, what)
    choices = []
    for rank, what in sorted(wanted.items()):
        name = str(ranked.index[rank])
        own = [f"{s.title} {s.cases[name]:.3f} {s.unit}".strip() for s in found.values() if name in s.cases]  # type: ignore[index,operator]
        choices.append(Choice(name, "; ".join([what, *own])))
    return choices


class Pictures:
    """Pictures of some cases; of each case that may be drawn slices are kept, on disk.

    Args:
        sections: whose outlines, panels and details are shown.
        count: greatest number of pictures.
        rank_by: names of scores: pictures are of the best, the median and the worst cases by the first one that was
            measured. Empty: of the extremes by the sections' criteria.
        window: values of the image that are black and white; None: those of the image.
    """

    def __init__(
        self, sections: Sequence[Section], count: int, rank_by: Sequence[str], window: Sequence[float] | None
    ) -> None:
        self.sections = sections
        self.count = count
        self.rank_by = list(rank_by)
        self.window = None if window is None else (float(window[0]), float(window[1]))
        self.folder: tempfile.TemporaryDirectory | None = None
        self.start()

    def start(self) -> None:
        """Forget an earlier run."""
        self.close()
        self.gallery = Gallery(self.sections, self.count)
        self.kept: dict[str, Path] = {}
        self.written = 0

    def close(self) -> None:
        """Remove what was kept."""
        if self.folder is not None:
            self.folder.cleanup()
            self.folder = None

    def offer(self, case: Case) -> None:
        """Keep what a picture of a scored case needs, if it may be drawn.

        Raises:
            DataError: when there is no image, or it is not on the grid of the case's volumes.
        """
        wanted = self.gallery.offer(case)
        if self.rank_by and self.count:
            wanted = {*self.kept, case.name}
        if case.name in wanted:
            self.kept[case.name] = self._path()
            np.savez(self.kept[case.name], **self.arrays(case))  # type: ignore[arg-type]
        for name in self.kept.keys() - wanted:
            self.kept.pop(name).unlink()

    def gather(self, cases: Sequence[Case], scores: Sequence[Score]) -> None:
        """Bring together what several processes have kept of the cases that are drawn."""
        if not self.rank_by:
            self.gallery = Gallery(self.sections, self.count)
            for case in cases:
                self.gallery.offer(case)
        # What the gallery of one process has dropped, that of all drops too.
        drawn = {choice.case for choice in self.chosen(scores)}
        own = {name: path.read_bytes() for name, path in self.kept.items() if name in drawn}
        for share in gather_in_turn([own]):
            for name, content in share.items():
                self.kept[name] = self._path()
                self.kept[name].write_bytes(content)

    def chosen(self, scores: Sequence[Score]) -> list[Choice]:
        """The cases to draw."""
        return ranked_cases(scores, self.rank_by, self.count) if self.rank_by else self.gallery.chosen()

    def draw(self, cases: Sequence[Case], scores: Sequence[Score]) -> list[dict[str, Any]]:
        """What the page shows of each chosen case: ``case``, ``group``, ``why``, ``image``, ``wide`` and details."""
        by_name = {case.name: case for case in cases}
        pictures = []
        for choice in self.chosen(scores):
            case = by_name[choice.case]
            with np.load(self.kept[choice.case], allow_pickle=False) as file:
                kept = dict(file)
            panels, figure = self.figure(case, kept)
            details: dict[str, list[Any]] = {"captions": [], "answers": [], "tables": [], "figures": []}
            for section in self.sections:
                for name, entries in section.details(case, kept).items():
                    details[name] += entries
            pictures.append(
                {
                    "case": case.name,
                    "group": case.group if case.group != case.name else None,
                    "why": choice.why,
                    "image": to_uri(figure),
                    "volume": PHOTO not in panels[0].images,
                    "wide": PHOTO not in panels[0].images or len(panels) > 1,
                    "outlined": bool(panels[0].outlines),
                    "saliency": any(panel.fading for panel in panels),
                    **details,
                }
            )
        return pictures

    def figure(self, case: Case, kept: Mapping[str, np.ndarray]) -> tuple[list[Panel], Figure]:
        """The panels of a case and their drawing, from what :py:meth:`arrays` gives."""
        panels = [panel for section in self.sections for panel in section.panels(case, kept)]
        image, legend = self._image(kept, bool(panels))
        # A volume without outlines is seen in the other panels.
        if image.outlines or PHOTO in image.images or not panels:
            panels = [image, *panels]
        panels = [panel._replace(window=panel.window or self.window) for panel in panels]
        return panels, draw_panels(panels, bool(kept["oriented"]), legend)

    def arrays(self, case: Case) -> dict[str, np.ndarray]:
        """What the picture of a scored case needs."""
        value = case.item.get(case.image_key)
        shape = list(getattr(value, "shape", ()))
        if len(shape) not in (3, 4):
            found = shape or type(value).__name__
            raise DataError(
                f"{case.name}: '{case.image_key}' must be a picture [channels, W, H] or a volume [channels, i, j, k], "
                f"found {found}; name the key of the image in image_key."
            )
        grid = next((list(volume.shape[1:]) for volume in case.volumes.values()), None)
        image = case.volume(case.image_key, None, grid)
        assert image is not None
        volumes = {"image": (image if len(image) == 3 and image.ndim == 3 else image[:1]).numpy()}
        masks = {f"{kind}_{task}" for section in self.sections for task in section.outlines() for kind in STYLES}
        for key, volume in case.volumes.items():
            if key != case.image_key:
                volumes[key] = (volume > 0.5).numpy() if key in masks else volume[:1].numpy()
        # The last section that has a wish says where.
        regions = (section.focus(case) for section in reversed(self.sections))
        focus = next((region for region in regions if region is not None and region.any()), None)
        arrays = cut(volumes, case.affine, focus)
        for section in self.sections:
            arrays |= section.keep(case)
        return {**arrays, "oriented": np.array(case.affine is not None or "input_affine" in arrays)}

    def _image(self, kept: Mapping[str, np.ndarray], titled: bool) -> tuple[Panel, list[Line2D]]:
        """The image with all outlines, and the handles of the legend."""
        images = planes_of(kept, "image")
        outlines: dict[str, list[Outline]] = {plane: [] for plane in images}
        names: dict[str, Any] = {}
        styles: dict[str, Any] = {}
        structures: dict[str, list[str]] = {}
        for section in self.sections:
            structures |= section.outlines()
        tint = 0
        for task, listed in structures.items():
            for kind, style in STYLES.items():
                for plane, masks in planes_of(kept, f"{kind}_{task}").items():
                    for s, (name, mask) in enumerate(zip(listed, masks, strict=True)):
                        plain = PHOTO in images and len(listed) == 1
                        if mask.any():
                            styles[kind] = style
                            names[name] = colour(tint + s)
                            outlines[plane].append(Outline(mask, PHOTO_COLOURS[kind] if plain else names[name], style))
            tint += len(listed)
        found = {plane: lines for plane, lines in outlines.items() if lines}
        title = ("image and structures" if found else "image") if titled else ""
        handles: list[Line2D] = []
        if len(names) > 1 or PHOTO not in images:
            handles = [Line2D([], [], color=names[n], label=n) for t in structures.values() for n in t if names.get(n)]
            handles += [Line2D([], [], color="black", linestyle=style, label=kind) for kind, style in styles.items()]
        return Panel(title, images, sizes_of(kept), found), handles

    def _path(self) -> Path:
        if self.folder is None:
            self.folder = tempfile.TemporaryDirectory(prefix="evaluation_report_")
        self.written += 1
        return Path(self.folder.name) / f"{self.written}.npz"


def _ordinal(number: int) -> str:
    return {2: "2nd", 3: "3rd"}.get(number, f"{number}th")
