# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import signal
import sys
import threading
import time

import pytest

from ctan_networks import last_words
from ctan_networks.tools.comparison import runner
from ctan_networks.tools.comparison.plan import plan_runs


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("parallel", [1, 2])
def test_what_is_stopped_ends_the_runs_that_it_started(tmp_path, monkeypatch, parallel):
    """Or they would keep their folders locked against the next call, which is to go on with them."""
    wait = [sys.executable, "-c", "import time; time.sleep(60)"]
    monkeypatch.setattr(runner.Job, "commands", lambda job: [wait, wait])
    runs = plan_runs(["dose"], ["hps", "mtan", "ctan"], ["equal"], seeds=1)
    jobs = [runner.Job(run, tmp_path, tmp_path, {}, {}) for run in runs]
    before = signal.signal(signal.SIGTERM, last_words._interrupt)
    started: list = []

    def stop() -> None:
        while len(runner.RUNNING) < parallel:
            time.sleep(0.02)
        started.extend(runner.RUNNING)
        os.kill(os.getpid(), signal.SIGTERM)

    watcher = threading.Thread(target=stop)
    watcher.start()
    begun = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt, match="SIGTERM"):
            runner.execute(jobs, parallel)
    finally:
        signal.signal(signal.SIGTERM, before)
        watcher.join()
    assert time.monotonic() - begun < 30
    assert len(started) == parallel and all(process.poll() == -signal.SIGTERM for process in started)
    assert not runner.RUNNING and len(list(tmp_path.glob("*/log.txt"))) == parallel
