# SPDX-License-Identifier: Apache-2.0
"""The folder that MONAI Label calls an app: its stock ``monaibundle`` app, with bundles in it."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from ctan_networks.errors import ConfigError

__all__ = ["make_app"]

STOCK = "monaibundle"


def make_app(folder: str | os.PathLike, bundles: Iterable[str | os.PathLike]) -> list[str]:
    """Make, or complete, a copy of the stock app that serves some bundles.

    Each bundle is linked into the app's ``model`` folder (copied where links cannot be made), so that what the server
    writes (results, trained weights) lands in the bundle.

    Args:
        folder: where the app is made.
        bundles: folders of bundles.

    Returns:
        Names of the bundles, which are those of their folders.

    Raises:
        ConfigError: when MONAI Label is not installed, a folder is no bundle with weights, two have one name, or the
            app has another model of that name.

    """
    roots = [Path(bundle).resolve() for bundle in bundles]
    for root in roots:
        for file in ("configs/inference.json", "configs/metadata.json", "models/model.pt"):
            if not (root / file).is_file():
                raise ConfigError(f"{root} is no bundle with weights: it has no {file}.")
    names = [root.name for root in roots]
    if len(set(names)) < len(names) or not names:
        raise ConfigError(f"give one or more bundles with different names, got {names}.")
    app = Path(folder)
    if not (app / "main.py").is_file():
        shutil.copytree(_stock_app(), app, dirs_exist_ok=True)
    models = app / "model"
    models.mkdir(exist_ok=True)
    for root in roots:
        link = models / root.name
        if link.is_symlink():
            link.unlink()
        elif link.exists():
            raise ConfigError(f"{link} is there already and is no link. Take it away, or give another app folder.")
        try:
            link.symlink_to(root, target_is_directory=True)
        except OSError:
            shutil.copytree(root, link)
    return names


def _stock_app() -> Path:
    try:
        files = importlib.metadata.files("monailabel") or []
    except importlib.metadata.PackageNotFoundError:
        raise ConfigError("MONAI Label is not installed here. docs/MONAI_LABEL.md says how.") from None
    for file in files:
        if file.parts[-3:] == ("sample-apps", STOCK, "main.py"):
            return Path(str(file.locate())).resolve().parent
    raise ConfigError("this MONAI Label has no sample app 'monaibundle'. Install 0.8.5; see docs/MONAI_LABEL.md.")
