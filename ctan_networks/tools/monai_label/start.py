# SPDX-License-Identifier: Apache-2.0
"""Start MONAI Label's server on bundles, offline and for this machine alone unless told otherwise."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ctan_networks.errors import ConfigError
from ctan_networks.tools.monai_label.app import make_app

__all__ = ["serve", "server_command", "server_environment"]

# With these the datastore finds every kind of image that a bundle takes; MONAI Label's own list has no .mha.
EXTENSIONS = '["*.nii.gz", "*.nii", "*.nrrd", "*.mha", "*.mhd", "*.jpg", "*.jpeg", "*.png", "*.tif"]'


def server_command(app: str | os.PathLike, names: Sequence[str], studies: str, host: str, port: int) -> list[str]:
    """The command line of MONAI Label's server.

    ``zoo_source`` with any word but its own keeps the server from asking the network for bundles that are here, and
    ``sam2`` off keeps it from downloading weights.
    """
    return [
        *(sys.executable, "-m", "monailabel.main", "start_server", "--app", str(app), "--studies", studies),
        *("--host", host, "--port", str(port), "--conf", "models", ",".join(names)),
        *("--conf", "zoo_source", "local", "--conf", "sam2", "false"),
    ]


def server_environment() -> dict[str, str]:
    """This process' environment, with what lets MONAI Label 0.8.5 start beside pydicom 3 and torch for the CPU.

    Training runs in a Python of its own that the server starts, so that it is the environment that has to carry it:
    see ``compat/sitecustomize.py``.
    """
    compat = str(Path(__file__).parent / "compat")
    paths = [compat, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        "MONAI_LABEL_DATASTORE_FILE_EXT": EXTENSIONS,
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
    }


def serve(
    bundles: Sequence[str | os.PathLike],
    studies: str | os.PathLike,
    app_dir: str | os.PathLike = "monailabel_app",
    host: str = "127.0.0.1",
    port: int = 8000,
) -> int:
    """Serve bundles until interrupted.

    Args:
        bundles: folders of bundles.
        studies: folder of the images. MONAI Label writes its datastore and the labels there.
        app_dir: folder of the app, made on first use.
        host: address to listen on. MONAI Label asks nobody for a password and reads any path of its machine that a
            client names: leave it at this machine unless the network is trusted.
        port: its port.

    Returns:
        The server's exit code.

    Raises:
        ConfigError: see :py:func:`ctan_networks.tools.monai_label.make_app`; and when there is no such folder of
        images.

    """
    if not Path(studies).is_dir():
        raise ConfigError(f"{studies} is no folder: give the folder of the images (--studies).")
    names = make_app(app_dir, bundles)
    command = server_command(app_dir, names, str(studies), host, port)
    try:
        return subprocess.run(command, env=server_environment(), check=False).returncode
    except KeyboardInterrupt:
        return 0
