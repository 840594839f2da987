# SPDX-License-Identifier: Apache-2.0
"""Training, validation and test parts: by group, stratified, seeded, and written down."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ctan_networks.data.tables import read_table
from ctan_networks.errors import ConfigError, DataError, refuse_unknown
from ctan_networks.reading import is_there
from ctan_networks.utils import atomic_path

__all__ = ["fold_of", "labelled", "split_cases", "split_groups"]

logger = logging.getLogger(__name__)

UNUSABLE = "unusable"
COLUMNS = ["case", "group", "stratum", "part", "reason"]
# Strata with fewer groups than parts cannot be in every part.
RARE = "rare"
LISTED = 20
SPLITS = ("train", "validation", "test")

Item = dict[str, Any]


class Split(list):
    """The cases of one split.

    Attributes:
        name: of the split.
        sizes: split to its number of cases.

    """

    def __init__(self, items: Iterable[Item], name: str, sizes: Mapping[str, int]) -> None:
        super().__init__(items)
        self.name = name
        self.sizes = dict(sizes)


class Splits(dict):
    """Split to its cases; asked for another split, it says which there are."""

    def __missing__(self, name: str) -> Split:
        raise ConfigError(f"there is no split {name!r}: choose one of {', '.join(SPLITS)}.")


def split_cases(
    items: Sequence[Item],
    split_file: str | os.PathLike,
    fractions: Mapping[str, float],
    stratify_by: Sequence[str],
    labels: Sequence[str] = (),
    seed: int = 0,
    inspect: Callable[[Sequence[Item]], list[Item]] | None = None,
    folds: int | None = None,
    fold: int = 0,
) -> Splits:
    """Divide cases into parts, or read how they were divided before.

    When ``split_file`` is there it alone decides: later runs and evaluations work on the same parts. Otherwise the
    parts are drawn and the file is written, one row a case: case, group, stratum, part, reason. A case that cannot be
    used is in the part "unusable", with the reason.

    Args:
        items: the cases. Each has "case", and may have "group" (what stays in one part: a lesion, a patient; default:
            the case), labels, "split": where it must be, its group with it, and "unusable": the reason why it is left
            out.
        split_file: the CSV.
        fractions: "train", "validation" and "test" to their shares of the groups; they sum to 1.
        stratify_by: keys of labels; groups are stratified by their combination, an absent label counting as a value.
        labels: keys of labels that are counted in the log.
        seed: seed of the draw.
        inspect: called with the usable items before the parts are drawn, and only then; gives them back with "group"
            or "unusable" changed. For what takes long, such as decoding every image.
        folds: cross-validation: "train" and "validation" together are divided into so many folds (the file stays as it
            is), of which one is then "validation" and the others are "train". None: none.
        fold: which, from 0.

    Returns:
        Part to its items, in the order of ``items``, with "group" filled in; the part "unusable" too.

    Raises:
        DataError: when no case can be used, two cases have one name, or the file does not know a case or contradicts
            the split of one.
        ConfigError: when the fractions do not sum to 1 or name another split, or there is no such fold.

    """
    file = Path(split_file)
    refuse_unknown(fractions, SPLITS, "fractions")
    twice = [case for case, count in Counter(item["case"] for item in items).items() if count > 1]
    if twice:
        raise DataError(f"{len(twice)} cases are listed twice: {_some(twice)}. Rename or remove one of each.")
    parts = _read(items, file) if is_there(file) else _draw(items, file, fractions, stratify_by, seed, inspect)
    if folds is not None:
        both = parts["train"] + parts["validation"]
        divided = {
            part: fold_of(both, folds, fold, part == "validation", stratify_by, seed)
            for part in ("train", "validation")
        }
        parts = {**parts, **divided}
    sizes = {part: len(parts.get(part, ())) for part in SPLITS}
    for part, members in parts.items():
        if part == UNUSABLE:
            if members:
                logger.warning(
                    "%d cases are left out (reasons in %s): %s",
                    len(members),
                    file,
                    _some([f"{m['case']} ({m[UNUSABLE]})" for m in members]),
                )
            continue
        counts = ", ".join(f"{sum(key in m for m in members)} with {key}" for key in labels)
        groups = len({m["group"] for m in members})
        logger.info("part %r: %d cases of %d groups%s", part, len(members), groups, f" ({counts})" if counts else "")
        if not members and fractions.get(part):
            logger.warning("the split %r is empty: %s.", part, _counted(sizes))
    return Splits({part: Split(parts.get(part, ()), part, sizes) for part in {**dict.fromkeys(SPLITS), **parts}})


def fold_of(
    items: Sequence[Item],
    folds: int,
    fold: int,
    held_out: bool,
    stratify_by: Sequence[str] = (),
    seed: int = 0,
) -> list[Item]:
    """One fold of a cross-validation, or all but that one, in the order of the list.

    Args:
        items: the cases, with "group" where several belong together.
        folds: number of folds.
        fold: which, from 0.
        held_out: the fold itself; else the cases to train on.
        stratify_by: see :py:func:`split_cases`.
        seed: seed of the division, the same for all folds.

    Raises:
        ConfigError: when there is no such fold, or there are more folds than groups.

    """
    whole = all(isinstance(number, int) and not isinstance(number, bool) for number in (folds, fold))
    if not whole or folds < 2 or not 0 <= fold < folds:
        raise ConfigError(f"there is no fold {fold!r} of {folds!r}: give at least two folds, and one from 0 on.")
    strata = _strata(items, stratify_by)
    if folds > len(strata):
        raise ConfigError(
            f"{folds} folds cannot be made of {len(items)} cases in {len(strata)} groups (patients, lesions): give"
            " --folds a number up to that, and at least 2."
        )
    # Equal shares; the last gets what rounding leaves.
    fractions = {str(k): 1 / folds for k in range(folds)}
    drawn = split_groups(strata, fractions, seed)
    return [item for item in items if (drawn[str(item.get("group", item["case"]))] == str(fold)) == held_out]


def labelled(items: Sequence[Item], tasks: Iterable[str]) -> list[Item]:
    """The items that have a label of at least one of the tasks; how many have none is logged.

    Raises:
        DataError: when there is no item, or none has; names the split.

    """
    tasks = list(tasks)
    name = f"the split {items.name!r}" if isinstance(items, Split) else "the list"
    if not items:
        others = f" ({_counted(items.sizes)})" if isinstance(items, Split) else ""
        raise DataError(
            f"{name} is empty{others}. Give more cases, other --fractions, or a list whose column 'split' names the"
            f" split of each case ({', '.join(SPLITS)})."
        )
    chosen = [item for item in items if any(task in item for task in tasks)]
    if not chosen:
        raise DataError(
            f"{name} has no label for {' or '.join(tasks)} in any of its {len(items)} cases. Give labels (in a list,"
            " the column of that name), or leave the task out with --task."
        )
    if len(chosen) < len(items):
        logger.info("%d of %d cases have no label for %s.", len(items) - len(chosen), len(items), " or ".join(tasks))
    return chosen


def split_groups(strata: Mapping[str, str], fractions: Mapping[str, float], seed: int = 0) -> dict[str, str]:
    """Draw a part for each group, with the same mixture of strata in each part as nearly as whole groups allow.

    Args:
        strata: group to stratum.
        fractions: part to its share; they sum to 1.
        seed: seed of the draw.

    Returns:
        Group to part. Strata with fewer groups than there are parts are drawn together. No part is empty where there
        are as many groups as parts; where there are fewer, the first parts have one each.

    Raises:
        ConfigError: when the fractions do not sum to 1.

    """
    if abs(sum(fractions.values()) - 1) > 1e-6 or min(fractions.values()) < 0:
        raise ConfigError(f"fractions must be at least 0 and sum to 1, got {dict(fractions)}.")
    shares = {part: share for part, share in fractions.items() if share > 0}
    # The order of the list must not matter.
    groups = sorted(strata)
    counts = Counter(strata.values())
    labels = [strata[g] if counts[strata[g]] >= len(shares) else RARE for g in groups]
    drawn: dict[str, str] = {}
    rest = 1.0
    for k, (part, share) in enumerate(list(shares.items())[:-1]):
        # One at least for this part, and one for each that is still to come.
        most = max(len(groups) - (len(shares) - k - 1), 1)
        count = min(max(round(len(groups) * share / rest), 1), most, len(groups))
        chosen, others = _take(groups, labels, count, seed)
        drawn.update(dict.fromkeys((groups[i] for i in chosen), part))
        groups, labels = [groups[i] for i in others], [labels[i] for i in others]
        rest -= share
    last = list(shares)[-1]
    drawn.update(dict.fromkeys(groups, last))
    return drawn


def _take(groups: list[str], labels: list[str], count: int, seed: int) -> tuple[list[int], list[int]]:
    from sklearn.model_selection import train_test_split

    if count in (0, len(groups)):
        everything = list(range(len(groups)))
        return (everything, []) if count else ([], everything)
    counts = Counter(labels)
    # scikit-learn wants two of each stratum, and a place for each on both sides.
    small = min(count, len(groups) - count) < len(counts)
    common = counts.most_common(1)[0][0]
    stratify = None if small else [common if counts[x] < 2 else x for x in labels]
    chosen, others = train_test_split(range(len(groups)), train_size=count, stratify=stratify, random_state=seed)
    return sorted(chosen), sorted(others)


def _draw(
    items: Sequence[Item],
    file: Path,
    fractions: Mapping[str, float],
    stratify_by: Sequence[str],
    seed: int,
    inspect: Callable[[Sequence[Item]], list[Item]] | None,
) -> dict[str, list[Item]]:
    import pandas as pd

    usable = [{"group": item["case"], **item} for item in items if UNUSABLE not in item]
    if inspect is not None and usable:
        usable = inspect(usable)
    left_out = [item for item in [*items, *usable] if UNUSABLE in item]
    usable = [item for item in usable if UNUSABLE not in item]
    if not usable:
        reasons = _some([f"{i['case']} ({i[UNUSABLE]})" for i in left_out], 5) or "the list is empty"
        raise DataError(f"none of {len(items)} cases can be used: {reasons}. Mend them, or give another folder.")
    strata = _strata(usable, stratify_by)
    named = {item["group"]: item["split"] for item in usable if "split" in item}
    free = {group: stratum for group, stratum in strata.items() if group not in named}
    drawn = named | (split_groups(free, fractions, seed) if free else {})
    rows = [
        {"case": i["case"], "group": i["group"], "stratum": strata[i["group"]], "part": drawn[i["group"]], "reason": ""}
        for i in usable
    ]
    rows += [{"case": i["case"], "group": "", "stratum": "", "part": UNUSABLE, "reason": i[UNUSABLE]} for i in left_out]
    if is_there(file):
        # Another run has drawn them while this one looked at its cases, which may take minutes: one list for both.
        return _read(items, file)
    with atomic_path(file) as temporary:
        # Cases are called as their files, whose names may be any bytes.
        frame = pd.DataFrame(rows, columns=COLUMNS, dtype=object).sort_values("case")
        frame.to_csv(temporary, index=False, encoding="utf-8", errors="surrogateescape")
    logger.info("parts of %d cases written to %s", len(rows), file)
    parts: dict[str, list[Item]] = {part: [] for part in SPLITS}
    for item in usable:
        parts[drawn[item["group"]]].append(item)
    return parts | {UNUSABLE: left_out}


def _read(items: Sequence[Item], file: Path) -> dict[str, list[Item]]:
    table = read_table(
        file,
        f"Delete it to have the parts drawn anew; it must have the columns {', '.join(COLUMNS)}.",
        "surrogateescape",
    )
    absent = [name for name in COLUMNS if name not in table.columns]
    if absent:
        raise DataError(
            f"{file} is no list of parts (no column {', '.join(absent)}): it must have the columns"
            f" {', '.join(COLUMNS)}. Delete it to have the parts drawn anew."
        )
    twice = table["case"][table["case"].duplicated()].tolist()
    if twice:
        raise DataError(f"{file} has several rows of {_some(twice)}. Leave one of each, or delete the file.")
    rows = {str(row["case"]): row | {"part": str(row["part"]).strip()} for row in table.to_dict("records")}
    wrong = [case for case, row in rows.items() if not row["part"] or (row["part"] != UNUSABLE and not row["group"])]
    if wrong:
        raise DataError(f"{file} says no part or no group for {_some(wrong)}. Fill it in, or delete the file.")
    others = sorted({str(row["part"]) for row in rows.values()} - {*SPLITS, UNUSABLE})
    if others:
        logger.warning("%s has parts that are none of %s: %s", file, ", ".join(SPLITS), _some(others))
    elsewhere = []
    for item in items:
        part = rows.get(str(item["case"]), {}).get("part", UNUSABLE)
        if "split" in item and part not in (item["split"], UNUSABLE):
            elsewhere.append(f"{item['case']} ({part})")
    if elsewhere:
        raise DataError(
            f"{file} has cases of a test set in other splits: {_some(elsewhere)}. Correct it, or delete it to have the"
            " parts drawn anew."
        )
    strangers = [item["case"] for item in items if item["case"] not in rows]
    if strangers:
        raise DataError(
            f"{len(strangers)} of {len(items)} cases are not in {file}: {_some(strangers)}. It was made for other data:"
            " give another split_file (or output_dir), or delete it to have the parts drawn anew."
        )
    missing = sorted(set(rows) - {item["case"] for item in items})
    if missing:
        logger.warning("%d cases of %s are not in the data: %s", len(missing), file, _some(missing))
    parts: dict[str, list[Item]] = {part: [] for part in (*SPLITS, UNUSABLE)}
    for item in items:
        row = rows[str(item["case"])]
        kept = item | {"group": row["group"]}
        if row["part"] == UNUSABLE:
            kept[UNUSABLE] = row["reason"]
        elif UNUSABLE in item:
            # It was usable when the parts were drawn.
            row = row | {"part": UNUSABLE}
        parts.setdefault(str(row["part"]), []).append(kept)
    logger.info("parts of %d cases as in %s", len(items), file)
    return parts


def _strata(items: Sequence[Item], stratify_by: Sequence[str]) -> dict[str, str]:
    """Stratum of each group."""
    strata: dict[str, str] = {}
    for item in items:
        group = str(item.get("group", item["case"]))
        own = "/".join(_value(item.get(key)) for key in stratify_by)
        # A group with different labels (a lesion of which one image has no diagnosis) counts as what it is known as.
        strata[group] = min(strata.get(group, own), own)
    return strata


def _value(label: Any) -> str:
    """A label as a stratum: its class, or only whether it is known (a mask)."""
    return "unknown" if label is None else str(label) if isinstance(label, int) else "known"


def _some(names: Sequence[str], count: int = LISTED) -> str:
    more = len(names) - count
    return ", ".join(map(str, names[:count])) + (f" and {more} more" if more > 0 else "")


def _counted(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name} has {count}" for name, count in sizes.items())
