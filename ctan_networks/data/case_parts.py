# SPDX-License-Identifier: Apache-2.0
"""Training, validation and test part of a list of cases: as the list says, and drawn where it does not."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ctan_networks.data.splits import COLUMNS, split_cases, split_groups
from ctan_networks.utils import atomic_path

__all__ = ["case_parts"]

logger = logging.getLogger(__name__)

Item = dict[str, Any]


def case_parts(
    items: Sequence[Item],
    split_file: str | os.PathLike,
    fractions: Mapping[str, float],
    stratify_by: Sequence[str],
    labels: Sequence[str] = (),
    seed: int = 0,
    folds: int | None = None,
    fold: int = 0,
) -> dict[str, list[Item]]:
    """Divide the cases of :py:func:`ctan_networks.datasets.table.case_table`.

    Splits that the list names stand; without a validation split among them, the training cases are divided into
    training and validation in the proportion of ``fractions``. Without any, all cases are divided. What was used is
    written to ``split_file``, which later runs read, see :py:func:`ctan_networks.data.split_cases`; where it
    contradicts the list, the list counts and the file is written anew.

    Args:
        items: the cases, with "split" or without.
        split_file: the CSV.
        fractions: of "train", "validation" and "test".
        stratify_by: keys of labels.
        labels: keys of labels that are counted in the log.
        seed: seed of the draw.
        folds: number of folds of a cross-validation; None: none.
        fold: which, from 0.

    Returns:
        Part to its items, without "split".

    Raises:
        DataError: see :py:func:`ctan_networks.data.split_cases`.
        ConfigError: when the fractions do not sum to 1.

    """
    named = {item["case"]: item["split"] for item in items if "split" in item}
    plain = [{key: value for key, value in item.items() if key != "split"} for item in items]
    if named:
        _write_named(plain, named, Path(split_file), fractions, seed)
    return split_cases(plain, split_file, fractions, stratify_by, labels, seed, folds=folds, fold=fold)


def _write_named(
    items: Sequence[Item], named: Mapping[str, str], file: Path, fractions: Mapping[str, float], seed: int
) -> None:
    """Write the parts that the list names, unless the file says the same already."""
    import pandas as pd

    divided = "validation" in named.values()
    part = dict(named)
    if not divided:
        both = {key: fractions[key] for key in ("train", "validation")}
        shares = {key: share / sum(both.values()) for key, share in both.items()}
        groups = {str(i.get("group", i["case"])): "" for i in items if named[i["case"]] == "train"}
        drawn = split_groups(groups, shares, seed)
        part |= {i["case"]: drawn[str(i.get("group", i["case"]))] for i in items if named[i["case"]] == "train"}
    rows = [(i["case"], str(i.get("group", i["case"])), "", part[i["case"]], "") for i in items]
    new = pd.DataFrame(rows, columns=COLUMNS, dtype=str).sort_values("case").reset_index(drop=True)
    if file.is_file():
        old = pd.read_csv(file, dtype=str, keep_default_na=False)
        if old.equals(new):
            return
        logger.warning("%s is of other parts than the list names: it is written anew.", file)
    with atomic_path(file) as path:
        new.to_csv(path, index=False)
