# SPDX-License-Identifier: Apache-2.0
"""Serve bundles with MONAI Label."""

from __future__ import annotations

from collections.abc import Sequence

from ctan_networks.tools.monai_label.start import serve

__all__ = ["label_server"]


def label_server(
    bundles: str | Sequence[str],
    studies: str,
    app_dir: str = "monailabel_app",
    host: str = "127.0.0.1",
    port: int = 8000,
) -> int:
    """Start MONAI Label's stock bundle app on one or more bundles, until Ctrl-C.

    Args:
        bundles: folders of bundles, separated by commas.
        studies: folder of the images; the server writes its datastore and the labels there.
        app_dir: folder of the app, made on first use.
        host: address to listen on; there is no password.
        port: its port.

    """
    folders = bundles.split(",") if isinstance(bundles, str) else list(bundles)
    return serve(folders, studies, app_dir, host, port)
