# SPDX-License-Identifier: Apache-2.0
"""How far the maps of a regression lie from their mean: the error of a predictor that always says the mean."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ctan_networks.datasets.table.reader import TaskReader

__all__ = ["map_deviation"]

logger = logging.getLogger(__name__)

# Maps that are read: enough for one number, and quick.
SAMPLE = 16


def map_deviation(items: Sequence[Mapping[str, Any]], task: str, spatial_dims: int) -> float:
    """Mean over cases of the mean absolute difference to the mean of all, of some maps spread over the list.

    It is what :py:class:`ctan_networks.metrics.KeyMetric` wants for the trivial predictor of a mean absolute error.

    Args:
        items: the training cases; those without the label do not count.
        task: key of the map's path.
        spatial_dims: 2 or 3.

    Returns:
        the deviation in the map's own unit; 1, with a warning, where no case has a map or all maps are constant.

    Raises:
        DataError: when a map cannot be read.

    """
    paths = [item[task] for item in items if task in item]
    chosen = [paths[k] for k in np.unique(np.linspace(0, len(paths) - 1, SAMPLE).astype(int))] if paths else []
    reader = TaskReader(spatial_dims)
    maps = [np.asarray(reader.get_data(path)[0], float) for path in chosen]
    known = [values[~np.isnan(values)] for values in maps]
    known = [values for values in known if values.size]
    if known:
        mean = np.mean([values.mean() for values in known])
        deviation = float(np.mean([np.abs(values - mean).mean() for values in known]))
        if deviation > 0:
            return deviation
    logger.warning(
        "no training case has a map for %s that is not constant: its score counts errors in units of 1.", task
    )
    return 1.0
