# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging
from collections import Counter, defaultdict

import numpy as np
import pandas as pd
import pytest

from ctan_networks.data import class_shares, class_weights, fold_of, labelled, split_cases
from ctan_networks.data.splits import split_groups
from ctan_networks.errors import ConfigError, DataError

FRACTIONS = {"train": 0.7, "validation": 0.15, "test": 0.15}


def cohort(groups=200, seed=0):
    rng = np.random.default_rng(seed)
    items = []
    for g in range(groups):
        label = int(rng.choice(4, p=[0.7, 0.2, 0.08, 0.02]))
        for k in range(int(rng.integers(1, 4))):
            item = {"case": f"c{g}_{k}", "group": f"g{g}", "image": "x"}
            if k == 0 or rng.random() < 0.5:
                item["diagnosis"] = label
            if rng.random() < 0.3:
                item["segmentation"] = f"/masks/{g}_{k}.png"
            items.append(item)
    return items


def split(items, file, **kwargs):
    options = {"fractions": FRACTIONS, "stratify_by": ["diagnosis", "segmentation"]} | kwargs
    return split_cases(items, file, **options)


def test_no_group_is_in_two_parts_and_every_case_in_one(tmp_path):
    items = cohort()
    parts = split(items, tmp_path / "split.csv")
    where = defaultdict(set)
    for part, members in parts.items():
        for item in members:
            where[item["group"]].add(part)
    assert all(len(p) == 1 for p in where.values())
    assert Counter(i["case"] for m in parts.values() for i in m) == Counter(i["case"] for i in items)
    groups = Counter(next(iter(p)) for p in where.values())
    assert groups == {"train": 140, "validation": 30, "test": 30}


def test_strata_are_alike_in_all_parts():
    strata = {f"g{k}": label for k, label in enumerate(["a"] * 1000 + ["b"] * 200 + ["c"] * 20 + ["d"])}
    drawn = split_groups(strata, FRACTIONS, seed=3)
    for label, total in (("a", 1000), ("b", 200), ("c", 20)):
        counts = Counter(drawn[g] for g, own in strata.items() if own == label)
        for part, share in FRACTIONS.items():
            assert abs(counts[part] - share * total) <= 1.5, (label, counts)


def test_the_draw_depends_on_the_seed_and_not_on_the_order():
    strata = {f"g{k}": str(k % 3) for k in range(100)}
    drawn = split_groups(strata, FRACTIONS, seed=1)
    assert drawn == split_groups(dict(reversed(strata.items())), FRACTIONS, seed=1)
    assert drawn != split_groups(strata, FRACTIONS, seed=2)


@pytest.mark.parametrize(
    ("count", "sizes"), [(1, [1, 0, 0]), (2, [1, 1, 0]), (3, [1, 1, 1]), (4, [2, 1, 1]), (5, [3, 1, 1]), (7, [5, 1, 1])]
)
def test_few_groups(count, sizes):
    drawn = Counter(split_groups({f"g{k}": str(k) for k in range(count)}, FRACTIONS).values())
    assert [drawn[part] for part in FRACTIONS] == sizes


def test_all_in_one_part():
    assert set(split_groups({f"g{k}": "a" for k in range(9)}, {"train": 0.0, "test": 1.0}).values()) == {"test"}


def test_the_file_is_reused(tmp_path, caplog):
    file, items = tmp_path / "run" / "split.csv", cohort()
    calls = []

    def inspect(usable):
        calls.append(len(usable))
        return [i | {"group": "joined"} if i["group"] in ("g1", "g2") else i for i in usable]

    first = split(items, file, inspect=inspect)
    before = file.read_bytes()
    # Whatever seed and fractions are, and although nothing is inspected again.
    again = split(list(reversed(items)), file, seed=5, fractions={"train": 1.0}, inspect=inspect)
    assert calls == [len(items)] and file.read_bytes() == before
    assert {p: sorted(i["case"] for i in m) for p, m in first.items()} == {
        p: sorted(i["case"] for i in m) for p, m in again.items()
    }
    joined = [i for m in again.values() for i in m if i["group"] == "joined"]
    assert {i["case"][:3] for i in joined} == {"c1_", "c2_"}
    with caplog.at_level(logging.WARNING):
        split(items[:-3], file)
    assert "3 cases of" in caplog.text and items[-1]["case"] in caplog.text
    with pytest.raises(DataError, match="1 of .* not in .*stranger"):
        split([*items, {"case": "stranger"}], file)


def test_unusable_cases_are_listed_with_their_reason(tmp_path, caplog):
    file = tmp_path / "split.csv"
    items = [*cohort(20), {"case": "bad", "unusable": "no image"}]

    def inspect(usable):
        return [{"case": i["case"], "unusable": "cut short"} if i["case"] == "c0_0" else i for i in usable]

    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.INFO):
            parts = split(items, file, inspect=inspect, labels=["diagnosis", "segmentation"])
        assert {i["case"]: i["unusable"] for i in parts["unusable"]} == {"bad": "no image", "c0_0": "cut short"}
        assert "2 cases are left out" in caplog.text and "bad (no image)" in caplog.text
        train = parts["train"]
        assert f"({sum('diagnosis' in i for i in train)} with diagnosis" in caplog.text
    table = pd.read_csv(file).set_index("case")
    assert table.loc["bad", "reason"] == "no image" and table.loc["c0_0", "part"] == "unusable"


def test_wrong_lists(tmp_path):
    with pytest.raises(DataError, match="listed twice: a"):
        split([{"case": "a"}, {"case": "a"}], tmp_path / "s.csv")
    with pytest.raises(DataError, match=r"none of 1 cases can be used: a \(broken\)"):
        split([{"case": "a", "unusable": "broken"}], tmp_path / "s.csv")
    with pytest.raises(ConfigError, match="sum to 1"):
        split([{"case": "a"}], tmp_path / "s.csv", fractions={"train": 0.5})
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="no list of parts"):
        split([{"case": "a"}], tmp_path / "other.csv")


def test_two_runs_that_draw_at_once_share_one_list(tmp_path):
    """One looks at its cases for minutes; meanwhile the other, of another seed, has written the list."""
    items, file = cohort(60), tmp_path / "split.csv"
    first = []

    def inspect(usable):
        first.append(split(items, file, seed=1))
        return usable

    second = split(items, file, seed=2, inspect=inspect)
    assert {part: [i["case"] for i in members] for part, members in second.items()} == {
        part: [i["case"] for i in members] for part, members in first[0].items()
    }


def test_folds_hold_out_every_group_once(tmp_path):
    items = cohort(100)
    held_out = [fold_of(items, 4, k, True, ["diagnosis"]) for k in range(4)]
    assert sorted(i["case"] for part in held_out for i in part) == sorted(i["case"] for i in items)
    groups = [{i["group"] for i in part} for part in held_out]
    assert all(not a & b for k, a in enumerate(groups) for b in groups[k + 1 :])
    assert [len(g) for g in groups] == [25] * 4
    for k in range(4):
        train = fold_of(items, 4, k, False, ["diagnosis"])
        assert {i["case"] for i in train} == {i["case"] for i in items} - {i["case"] for i in held_out[k]}
    for wrong in ((1, 0), (4, 4), (4, -1)):
        with pytest.raises(ConfigError, match="no fold"):
            fold_of(items, *wrong, True)


def test_folds_leave_the_test_part_and_the_file_alone(tmp_path):
    items, file = cohort(100), tmp_path / "split.csv"
    plain = split(items, file)
    before = file.read_bytes()
    folds = [split(items, file, folds=3, fold=k) for k in range(3)]
    assert file.read_bytes() == before
    assert all(part["test"] == plain["test"] for part in folds)
    both = sorted(i["case"] for part in ("train", "validation") for i in plain[part])
    assert sorted(i["case"] for part in folds for i in part["validation"]) == both


def test_more_folds_than_groups():
    items = [{"case": f"c{k}", "group": f"patient{k % 3}"} for k in range(9)]
    for folds, fold in ((5, 0), (4, 3), (9, 1)):
        with pytest.raises(ConfigError, match=f"{folds} folds cannot be made of 9 cases in 3 groups"):
            fold_of(items, folds, fold, True)
    for folds, fold in ((2.0, 0), (2, 1.0), ("3", 0), (True, 0)):
        with pytest.raises(ConfigError, match="no fold"):
            fold_of(items, folds, fold, True)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_an_empty_split_is_named(tmp_path, caplog, count):
    items = [{"case": f"c{k}", "grade": 0} for k in range(count)]
    parts = split(items, tmp_path / "split.csv")
    empty = [part for part in FRACTIONS if not parts[part]]
    assert empty == ["validation", "test"][count - 1 :]
    for part in empty:
        assert f"the split '{part}' is empty: train has 1" in caplog.text
        with pytest.raises(DataError, match=rf"'{part}' is empty \(train has 1, .*column 'split'"):
            labelled(parts[part], ["grade"])


def test_a_split_that_does_not_exist(tmp_path):
    parts = split(cohort(20), tmp_path / "split.csv")
    with pytest.raises(ConfigError, match="no split 'validatoin': choose one of train, validation, test"):
        parts["validatoin"]
    with pytest.raises(ConfigError, match="fractions: there is no val. Did you mean validation"):
        split(cohort(20), tmp_path / "split.csv", fractions={"train": 0.8, "val": 0.2})
    alone = split(cohort(20), tmp_path / "test.csv", fractions={"test": 1.0})
    assert len(alone["test"]) and alone["train"] == alone["validation"] == []


def test_labelled(tmp_path):
    parts = split(cohort(20), tmp_path / "split.csv")
    with pytest.raises(DataError, match=r"the split 'train' has no label for z in any of its \d+ cases.*column"):
        labelled(parts["train"], ["z"])
    items = [{"case": "a", "x": 0}, {"case": "b", "y": 1}, {"case": "c"}]
    assert [i["case"] for i in labelled(items, ["x", "y"])] == ["a", "b"]
    with pytest.raises(DataError, match="label for z"):
        labelled(items, ["z"])


def test_class_shares():
    items = [{"d": 0}, {"d": 0}, {"d": 0}, {"d": 1}, {"other": 2}]
    assert class_shares(items, "d", 2) == [0.75, 0.25]
    assert class_shares(items, "d", 3) == [0.6, 0.2, 0.2]
    assert class_shares([], "d", 2) == [0.5, 0.5]
    with pytest.raises(DataError, match="0 to 0"):
        class_shares(items, "d", 1)


def test_class_weights_are_those_of_scikit_learn():
    from sklearn.utils.class_weight import compute_class_weight

    labels = [0] * 60 + [1] * 30 + [2] * 10
    items = [{"d": k} for k in labels] + [{}]
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert class_weights(items, "d", 3) == pytest.approx(list(expected))
    assert class_weights(items, "d", 3, balance=0) == pytest.approx([1, 1, 1])
    half = np.array(class_weights(items, "d", 4, balance=0.5))
    assert half[2] == half[3] and np.average(half[:3], weights=[60, 30, 10]) == pytest.approx(1)
    assert class_weights(items, "e", 3) == [1, 1, 1], "nobody is labelled: MONAI Label's items"
    with pytest.raises(DataError, match="0 to 1"):
        class_weights(items, "d", 2)
    with pytest.raises(ConfigError):
        class_weights(items, "d", 3, balance=-1)
