# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import logging
import os
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from monai.data import DataLoader, MetaTensor, decollate_batch
from monai.transforms import (
    Compose,
    CropForegroundd,
    EnsureChannelFirstd,
    Invertd,
    LoadImaged,
    RandGaussianNoised,
    ScaleIntensityRanged,
)

from ctan_networks.data import cached_dataset
from ctan_networks.data.cached_dataset import CachedDataset
from ctan_networks.data.epoch_sampler import EpochSampler
from ctan_networks.data.fingerprint import fingerprint
from ctan_networks.data.meta import pack_meta, unpack_meta
from ctan_networks.data.readable_cases import ReadableCases
from ctan_networks.errors import ConfigError, DataError
from ctan_networks.transforms import CacheBoundary
from ctan_networks.utils import archive_damage


@pytest.fixture
def items(tmp_path):
    listed = []
    for k in range(3):
        array = np.zeros((6, 6, 6), np.float32)
        array[1:4, 2:5, 1:3] = k + 1
        np.save(tmp_path / f"case_{k}.npy", array)
        listed.append({"case": f"c{k}", "image": str(tmp_path / f"case_{k}.npy")})
    return listed


def pipeline(a_max: float = 10.0) -> Compose:
    return Compose(
        [
            LoadImaged("image", image_only=True),
            EnsureChannelFirstd("image", channel_dim="no_channel"),
            CropForegroundd("image", source_key="image", margin=1, allow_smaller=True),
            CacheBoundary(),
            ScaleIntensityRanged("image", 0, a_max, 0, 1),
            RandGaussianNoised("image", prob=1.0),
        ]
    )


def dataset(items, cache, **kwargs) -> CachedDataset:
    return CachedDataset(items, pipeline(), cache, **kwargs)


def test_cached_and_fresh_give_the_same(items, tmp_path):
    cache = tmp_path / "cache"
    fresh, first, second = (dataset(items, where)[0, 0]["image"] for where in (None, cache, cache))
    assert torch.equal(fresh, first) and torch.equal(first, second)
    assert len(list(cache.glob("*.pt"))) == 1
    entry = torch.load(next(cache.glob("*.pt")), weights_only=True)
    assert unpack_meta(entry)["image"].max() == 1, "what follows the boundary is not cached"


def test_a_cached_case_can_be_inverted(items, tmp_path):
    transform = Compose(pipeline().transforms[:5])
    for _ in range(2):
        data = CachedDataset(items, transform, tmp_path / "cache")
        case = next(iter(DataLoader(data, batch_size=1, num_workers=0)))
    image = decollate_batch(case)[0]["image"]
    crop = MetaTensor(torch.ones_like(image), meta=image.meta, applied_operations=image.applied_operations)
    back = Invertd("pred", transform, orig_keys="image")({"pred": crop, "image": crop})["pred"]
    assert back.shape == (1, 6, 6, 6)
    assert back.sum() == crop.numel()


def test_cache_knows_a_changed_file_and_a_changed_preprocessing(items, tmp_path):
    cache = tmp_path / "cache"
    dataset(items, cache)[0]
    np.save(items[0]["image"], np.full((6, 6, 6), 7, np.float32))
    os.utime(items[0]["image"], ns=(1, 1))
    assert dataset(items, None)[0]["image"].shape == dataset(items, cache)[0]["image"].shape == (1, 6, 6, 6)
    assert len(list(cache.glob("*.pt"))) == 2
    other = pipeline()
    other.transforms[2].cropper.margin = 0
    CachedDataset(items, other, cache)[0]
    assert len(list(cache.glob("*.pt"))) == 3
    CachedDataset(items, pipeline(a_max=3.0), cache)[0]
    assert len(list(cache.glob("*.pt"))) == 3, "what follows the boundary does not count"


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "one bit"])
def test_a_broken_entry_is_made_anew(items, tmp_path, damage, caplog):
    cache = tmp_path / "cache"
    wanted = dataset(items, cache)[1]["image"]
    entry = next(cache.glob("*.pt"))
    content = bytearray(entry.read_bytes())
    # The voxels, which torch reads without looking at the archive's checksums.
    content[content.index(b"data/0") + 100] ^= 1
    broken = {"empty": b"", "text": b"not a cache entry", "cut": content[:200], "one bit": content}[damage]
    entry.write_bytes(broken)
    assert torch.equal(dataset(items, cache)[1]["image"], wanted)
    assert "made anew" in caplog.text and not archive_damage(entry)


def test_a_full_disk_costs_time_alone(items, tmp_path, monkeypatch, caplog):
    wanted = dataset(items, None)[0]["image"]

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cached_dataset.torch, "save", full)
    data = dataset(items, tmp_path / "cache")
    assert torch.equal(data[0]["image"], wanted) and torch.equal(data[0]["image"], wanted)
    assert data[1]["case"] == "c1"
    assert not list((tmp_path / "cache").iterdir())
    assert caplog.text.count("No space left on device") == 1 and "--cache_dir" in caplog.text


def test_workers_tell_of_a_full_disk_once(items, tmp_path, monkeypatch, capfd):
    """Each epoch has new ones."""

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cached_dataset, "atomic_path", full)
    data = dataset(items, tmp_path / "cache")
    handler = logging.StreamHandler(open(os.dup(2), "w"))  # noqa: SIM115  closed by the handler's stream
    cached_dataset.logger.addHandler(handler)
    try:
        for _ in range(2):
            assert len(list(DataLoader(data, batch_size=1, num_workers=1))) == 3
    finally:
        cached_dataset.logger.removeHandler(handler)
        handler.stream.close()
    assert capfd.readouterr().err.count("No space left on device") == 1


def test_a_cache_that_cannot_be_made_costs_time_alone(items, tmp_path, caplog):
    (tmp_path / "file").write_text("not a folder")
    data = dataset(items, tmp_path / "file" / "cache")
    assert torch.equal(data[0]["image"], dataset(items, None)[0]["image"]) and data[1]["case"] == "c1"
    assert caplog.text.count("cannot be written to") == 1 and str(tmp_path / "file" / "cache") in caplog.text


def test_a_cache_that_goes_away_costs_time_alone(items, tmp_path, monkeypatch, caplog):
    """A network disk of which nothing can be asked any more."""
    data = dataset(items, tmp_path / "cache")
    wanted = data[0]["image"]
    gone = OSError(errno.ESTALE, "Stale file handle")
    real = os.stat

    def stat(path, *args, **kwargs):
        if "cache" in os.fspath(path):
            raise gone
        return real(path, *args, **kwargs)

    def refuse(*args, **kwargs):
        raise gone

    monkeypatch.setattr(os, "stat", stat)
    monkeypatch.setattr(cached_dataset, "atomic_path", refuse)
    monkeypatch.setattr(os, "scandir", refuse)
    assert torch.equal(data[0]["image"], wanted) and torch.equal(data[1]["image"], data[1]["image"])
    assert caplog.text.count("cannot be written to (") == 1
    dataset(items, tmp_path / "cache")


def test_what_a_killed_process_left_is_removed_but_not_what_another_writes(items, tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    names = {name: cache / f".{'0' * 40}.writing-{name}.pt" for name in ("oldstuff", "newstuff")}
    for file in names.values():
        file.write_bytes(b"half")
    os.utime(names["oldstuff"], (1, 1))
    (cache / ".hidden").write_text("of the user")
    os.utime(cache / ".hidden", (1, 1))
    dataset(items, cache)
    assert sorted(p.name for p in cache.iterdir()) == sorted([".hidden", names["newstuff"].name])


def test_two_processes_may_fill_one_cache(items, tmp_path):
    cache = tmp_path / "cache"
    with ThreadPoolExecutor(4) as pool:
        images = list(pool.map(lambda _: dataset(items, cache)[0, 0]["image"], range(8)))
    assert all(torch.equal(image, images[0]) for image in images)
    assert len(list(cache.iterdir())) == 1 and not archive_damage(next(cache.iterdir()))


def test_each_case_names_itself(items):
    nameless = [{"image": item["image"]} for item in items]
    assert dataset(items, None)[2]["case"] == "c2"
    assert dataset(nameless, None)[2]["case"] == nameless[2]["image"]


def test_nothing_is_unpickled_from_a_cache(items, tmp_path):
    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "run"),))

    cache = tmp_path / "cache"
    dataset(items, cache)[0]
    entry = next(cache.glob("*.pt"))
    torch.save({"image": Evil()}, entry, pickle_module=pickle)
    dataset(items, cache)[0]
    assert not (tmp_path / "run").exists()


def test_draws_depend_on_seed_epoch_and_case_alone(items, tmp_path):
    data = dataset(items, None)
    again = dataset(items[::-1], tmp_path / "cache")
    assert torch.equal(data[1, 0]["image"], again[1, 2]["image"])
    assert not torch.equal(data[1, 0]["image"], data[2, 0]["image"])
    assert not torch.equal(data[1, 0]["image"], dataset(items, None, seed=1)[1, 0]["image"])


@pytest.mark.parametrize("workers", [0, 2])
def test_sampler_hands_on_the_epoch_to_any_number_of_workers(items, workers):
    data = dataset(items, None)
    sampler = EpochSampler(data, seed=5)
    for epoch in (1, 2):
        sampler.set_epoch(epoch)
        loaded = {b["case"][0]: b["image"][0] for b in DataLoader(data, sampler=sampler, num_workers=workers)}
        for k in range(3):
            assert torch.equal(loaded[f"c{k}"], data[epoch, k]["image"])


@pytest.mark.parametrize("length", [1, 2, 3, 7])
def test_epochs_of_a_fixed_length_are_stretches_of_one_sequence(length):
    """However it is cut, and on however many processes, the sequence is the same: pass after pass, each case once."""
    whole = EpochSampler(range(3), seed=5, length=42)
    sequence = list(whole)
    for turn in range(14):
        assert {index for _, index in sequence[3 * turn : 3 * turn + 3]} == {0, 1, 2}
        assert {t for t, _ in sequence[3 * turn : 3 * turn + 3]} == {turn}
    assert len({tuple(index for _, index in sequence[k : k + 3]) for k in range(0, 42, 3)}) > 1, "shuffled anew"
    cut = EpochSampler(range(3), seed=5, length=length)
    assert len(cut) == length
    found = []
    for epoch in range(42 // length):
        cut.set_epoch(epoch)
        found += list(cut)
    assert found == sequence[: len(found)]
    assert [i for _, i in EpochSampler(range(3), shuffle=False, length=5)] == [0, 1, 2, 0, 1]
    with pytest.raises(ConfigError, match="at least one"):
        EpochSampler(range(3), length=0)


def test_a_broken_case_is_named_with_the_first_reason(items, tmp_path):
    items[1]["image"] = str(tmp_path / "nothing.npy")
    with pytest.raises(DataError, match="case c1: .*nothing.npy"):
        dataset(items, tmp_path / "cache")[1]
    assert not list((tmp_path / "cache").iterdir())
    with pytest.raises(DataError, match="empty"):
        dataset([], None)


def test_inference_goes_on_without_a_broken_case(items, tmp_path, caplog):
    items[1]["image"] = str(tmp_path / "nothing.npy")
    cases = ReadableCases(items, pipeline())
    assert [c["case"] for c in cases] == ["c0", "c2"]
    assert "case c1" in caplog.text and "skipped 1 of 3" in caplog.text
    with pytest.raises(DataError, match="none of 1"):
        list(ReadableCases(items[1:2], pipeline()))


def test_fingerprint_is_stable_and_sees_settings():
    assert fingerprint(pipeline().transforms) == fingerprint(pipeline().transforms)
    assert fingerprint(pipeline().transforms) != fingerprint(pipeline(a_max=9.0).transforms)
    assert fingerprint({"a": 1, "b": [1, 2]}) == fingerprint({"b": [1, 2], "a": 1})
    assert fingerprint([1, 2]) != fingerprint([2, 1])
    ring: list = []
    ring.append(ring)
    assert fingerprint(ring) == fingerprint(ring)


def test_meta_tensors_survive_packing():
    tensor = MetaTensor(torch.rand(1, 2, 2), affine=torch.eye(4) * 2, meta={"present": [True, False], "x": np.ones(2)})
    packed = pack_meta({"image": tensor, "case": "c", "n": np.float32(2)})
    back = unpack_meta(packed)
    assert torch.equal(back["image"], tensor) and torch.equal(back["image"].affine, tensor.affine)
    assert back["image"].meta["present"] == [True, False] and back["n"] == 2.0
