# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch

from ctan_networks.errors import ConfigError, DataError
from ctan_networks.handlers import checkpoint_files
from ctan_networks.handlers.checkpoint_files import load_checkpoint, previous_of, save_checkpoint, save_text
from ctan_networks.handlers.run_lock import LOCK, lock_run
from ctan_networks.utils import archive_damage


def state(value: float) -> dict:
    return {"epoch": int(value), "objects": {"weight": torch.full((100, 100), value)}}


@pytest.fixture
def two(tmp_path) -> Path:
    """last.pt of epoch 2, with its predecessor."""
    file = tmp_path / "last.pt"
    for epoch in (1, 2):
        save_checkpoint(state(epoch), file, keep_previous=True)
    return file


def test_the_newest_whole_one_is_found(two, caplog):
    loaded = load_checkpoint(two)
    assert loaded is not None and loaded[0]["epoch"] == 2 and loaded[1] == two and not caplog.text
    assert torch.load(previous_of(two), weights_only=True)["epoch"] == 1
    assert sorted(p.name for p in two.parent.iterdir()) == ["last.pt", "last_previous.pt"]
    assert load_checkpoint(two.parent / "other.pt") is None


@pytest.mark.parametrize("how", ["cut", "flipped", "empty", "text", "gone"])
def test_a_damaged_one_gives_way_to_its_predecessor(two, how, caplog):
    content = bytearray(two.read_bytes())
    if how == "gone":
        two.unlink()
    elif how == "flipped":
        # One bit of the tensor: torch reads such a file without a word.
        content[len(content) // 2] ^= 1
        two.write_bytes(content)
        assert torch.load(two, weights_only=True)["epoch"] == 2
    else:
        two.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "text": b"not a checkpoint"}[how])
    loaded = load_checkpoint(two)
    assert loaded is not None and loaded[0]["epoch"] == 1
    assert "last.pt is" in caplog.text and "going on from" in caplog.text and "last_previous.pt" in caplog.text
    previous_of(two).write_bytes(b"no")
    with pytest.raises(ConfigError, match=r"cannot resume from .*last.pt is .*last_previous.pt is cut short.*Remove"):
        load_checkpoint(two)


def test_a_pickle_is_not_loaded(tmp_path):
    class Harmful:
        def __reduce__(self):
            return (print, ("executed",))

    torch.save({"objects": Harmful()}, tmp_path / "last.pt")
    with pytest.raises(ConfigError, match="no checkpoint"):
        load_checkpoint(tmp_path / "last.pt")


@pytest.mark.parametrize("after", [0, 1000, 30000])
def test_a_full_disk_leaves_what_was_there(two, after, monkeypatch):
    before = {p.name: p.read_bytes() for p in two.parent.iterdir()}

    class Full:
        """A file on a disk with so many bytes left."""

        def __init__(self, file) -> None:
            self.file, self.left = file, after

        def write(self, data) -> int:
            self.left -= len(data)
            if self.left < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return self.file.write(data)

        def __getattr__(self, name):
            return getattr(self.file, name)

    real = torch.save
    monkeypatch.setattr(checkpoint_files.torch, "save", lambda obj, file: real(obj, Full(file)))
    with pytest.raises(
        DataError, match=r"cannot write .*last.pt .*No space left.*untouched. Free space.*--resume True"
    ):
        save_checkpoint(state(3), two, keep_previous=True)
    assert {p.name: p.read_bytes() for p in two.parent.iterdir()} == before


def test_what_reads_back_wrong_is_not_given_the_name(two, monkeypatch):
    monkeypatch.setattr(checkpoint_files, "archive_damage", lambda file: "damaged in data/0")
    with pytest.raises(DataError, match="reads back damaged"):
        save_checkpoint(state(3), two, keep_previous=True)
    monkeypatch.undo()
    loaded = load_checkpoint(two)
    assert loaded is not None and loaded[0]["epoch"] == 2 and not archive_damage(previous_of(two))


def save_for_ever(file: Path, told: int) -> None:
    """In a child: number after number, each told once it is saved."""
    epoch = 0
    while True:
        epoch += 1
        save_checkpoint(state(epoch), file, keep_previous=True)
        os.write(told, epoch.to_bytes(4, "little"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_any_moment_the_newest_whole_one_is_there(tmp_path, caplog):
    moments = random.Random(0)
    for k in range(40):
        file = tmp_path / str(k) / "last.pt"
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                save_for_ever(file, writing)
            finally:
                os._exit(1)
        os.close(writing)
        assert len(os.read(reading, 4)) == 4
        time.sleep(moments.uniform(0, 0.03))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        rest = os.read(reading, 1 << 16)
        os.close(reading)
        told = int.from_bytes(rest[-4:], "little") if rest else 1
        loaded = load_checkpoint(file)
        # Saved but not told yet is one more.
        assert loaded is not None and loaded[1] == file and loaded[0]["epoch"] in (told, told + 1)
        assert not caplog.text
        if loaded[0]["epoch"] > 1:
            previous = torch.load(previous_of(file), weights_only=True)["epoch"]
            # The second name of the same file, where the kill came before the new one had the first.
            assert previous in (loaded[0]["epoch"] - 1, loaded[0]["epoch"])


def test_without_hard_links_the_predecessor_stays_too(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(checkpoint_files.os, "link", refuse)
    file = tmp_path / "last.pt"
    for epoch in (1, 2, 3):
        save_checkpoint(state(epoch), file, keep_previous=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last.pt", "last_previous.pt"]
    assert [torch.load(f, weights_only=True)["epoch"] for f in (file, previous_of(file))] == [3, 2]


def test_a_text_file_stays_too_and_the_error_names_it(tmp_path, monkeypatch):
    file = tmp_path / "history.csv"
    save_text("epoch,name,value\r\n", file)

    def full(self, *args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(DataError, match=rf"cannot write {file} .*No space left.*--resume True"):
        save_text("more", file)
    assert file.read_bytes() == b"epoch,name,value\r\n" and [p.name for p in tmp_path.iterdir()] == ["history.csv"]


def hold(folder: Path, told: int, worker: bool) -> None:
    """In a child: take the lock, have a child of one's own that lives on with all open files, and wait."""
    lock = lock_run(folder)
    assert lock is not None
    if worker and os.fork() == 0:
        time.sleep(5)
        os._exit(0)
    os.write(told, b"held")
    time.sleep(60)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("worker", [False, True])
def test_a_folder_is_one_trainings_until_its_process_ends(tmp_path, worker):
    """And not until its loader's workers end, which notice the end of a killed process some seconds later."""
    reading, writing = os.pipe()
    other = os.fork()
    if other == 0:
        try:
            hold(tmp_path, writing, worker)
        finally:
            os._exit(1)
    os.close(writing)
    try:
        assert os.read(reading, 4) == b"held"
        with pytest.raises(ConfigError, match=rf"another training writes to {tmp_path}.*--output_dir"):
            lock_run(tmp_path)
    finally:
        os.kill(other, signal.SIGKILL)
        os.waitpid(other, 0)
        os.close(reading)
    lock = lock_run(tmp_path)
    assert lock_run(tmp_path) is lock and lock is not None and (tmp_path / LOCK).exists()
    lock.release(force=True)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ConfigError, match=rf"cannot make the folder {tmp_path}/file/run .*--output_dir"):
        lock_run(tmp_path / "file" / "run")


def test_without_locks_it_is_said(tmp_path, monkeypatch, caplog):
    def refuse(self, *args, **kwargs):
        raise NotImplementedError("no flock here")

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    assert lock_run(tmp_path) is None
    assert "cannot be locked (no flock here)" in caplog.text
