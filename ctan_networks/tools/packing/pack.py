# SPDX-License-Identifier: Apache-2.0
"""A bundle as one zip file that needs MONAI and its usual extras, and not this package: it travels inside.

The copy of the package has a name of its own, made of bundle and version, so that two packed bundles, or two versions
of one, work in one process. MONAI resolves ``imports`` and ``_target_`` by module names, before a bundle's folder can
be put on the path; so in a packed configuration both become expressions on ``@ctan``, the package, which
``package/load.py`` loads.
"""

from __future__ import annotations

import json
import logging
import os
import re
import zipfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import ctan_networks
from ctan_networks.errors import ConfigError, DataError
from ctan_networks.utils import atomic_path

__all__ = ["SUMS", "pack_bundle"]

logger = logging.getLogger(__name__)

SUMS = "SHA256SUMS"
SOURCE = "ctan_networks"
# Rooms that no configuration of a bundle uses.
LEFT_OUT = ("tools/commands", "tools/comparison", "__main__.py")
# What a bundle's folder holds besides what its runs wrote.
PARTS = ("LICENSE", "large_files.yml", "configs", "docs", "models")
NOT_PACKED = (".ts", ".pt2", ".onnx", ".engine")
# The zip format's first day: the same content gives the same bytes.
DATE = (1980, 1, 1, 0, 0, 0)

# The bundle's folder without the package's help: the workflow further up the call stack knows its configuration.
# Without a workflow (verify_net_in_out, ckpt_export) it is the working directory, or --bundle_root.
BUNDLE_ROOT = (
    "$next((str(s.config_root_path.resolve().parent) for s in"
    " [f.frame.f_locals.get('self') for f in __import__('inspect').stack(0)]"
    " if 'config_root_path' in getattr(s, '__dict__', {})), '.')"
)
LOADER = '''# SPDX-License-Identifier: Apache-2.0
"""Makes the package that travels with this bundle importable, and hands it to the configuration as ``package``."""

import importlib
import sys
from pathlib import Path

FOLDER = str(Path(__file__).resolve().parent)
# At the end: nothing that is installed is hidden. Processes that load data get the path too.
if FOLDER not in sys.path:
    sys.path.append(FOLDER)
package = importlib.import_module("{name}")
if str(Path(package.__file__).resolve().parents[1]) != FOLDER:
    raise ImportError(
        f"{{package.__name__}} was loaded from {{package.__file__}} before: two copies of one packed bundle in one"
        " process. Use one of them, or pack one under another version."
    )
'''


def pack_bundle(bundle: str | os.PathLike, output_dir: str | os.PathLike = ".", plain: bool = False) -> Path:
    """Write ``<name>_v<version>.zip``, with the folder ``<name>`` inside, as Model Zoo's archives have it.

    The same bundle gives the same bytes. ``SHA256SUMS`` in the folder lists every file;
    :py:func:`ctan_networks.tools.packing.unpack.unpack_bundle` checks it.

    Args:
        bundle: the bundle's folder.
        output_dir: folder of the zip.
        plain: leave the package out; the bundle then requires ``ctan-networks`` to be installed.

    Returns:
        The zip.

    Raises:
        DataError: when the folder is no bundle, or holds a symbolic link.
        ConfigError: when its configuration cannot be rewritten.

    """
    folder = Path(bundle).resolve()
    metadata_file = folder / "configs" / "metadata.json"
    if not metadata_file.is_file():
        raise DataError(f"{folder} is no bundle: configs/metadata.json is not there.")
    metadata = json.loads(metadata_file.read_text(encoding="utf-8"))
    name, version = folder.name, str(metadata["version"])
    # An overlay, such as evaluate.json, uses the names that train.json imports.
    configs = [json.loads(f.read_text(encoding="utf-8")) for f in sorted((folder / "configs").glob("*.json"))]
    names = {k: v for config in configs for k, v in _imported(config).items()}
    package = re.sub(r"\W", "_", f"{SOURCE}_{name}_v{version}")
    content: dict[str, bytes] = {}
    for relative, file in _files(folder):
        data = file.read_bytes()
        if not plain and relative.startswith("configs/") and relative.endswith(".json"):
            data = _rewrite(relative, data.decode("utf-8"), names).encode("utf-8")
        content[relative] = data
    if not plain:
        content |= _package(package)
    sums = "".join(f"{sha256(data).hexdigest()}  {path}\n" for path, data in sorted(content.items()))
    content[SUMS] = sums.encode()
    target = Path(output_dir) / f"{name}_v{version}.zip"
    with (
        atomic_path(target) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as zip_file,
    ):
        for path, data in sorted(content.items()):
            entry = zipfile.ZipInfo(f"{name}/{path}", DATE)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            zip_file.writestr(entry, data)
    logger.info("%s: %d files, sha256 %s", target, len(content), sha256(target.read_bytes()).hexdigest())
    return target


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    for part in PARTS:
        start = folder / part
        for file in sorted([start] if start.is_file() else start.rglob("*")):
            if file.is_symlink():
                raise DataError(f"{file} is a symbolic link; a pack holds files alone. Put the file in its place.")
            if file.is_file() and file.suffix not in NOT_PACKED and not file.name.startswith("."):
                yield file.relative_to(folder).as_posix(), file


def _package(name: str) -> dict[str, bytes]:
    root = Path(ctan_networks.__file__).resolve().parent
    content = {"package/load.py": LOADER.format(name=name).encode()}
    for file in sorted(root.rglob("*")):
        parts = file.relative_to(root).parts
        relative = "/".join(parts)
        if not file.is_file() or relative.startswith(LEFT_OUT) or "__pycache__" in parts:
            continue
        data = file.read_bytes()
        if file.suffix == ".py":
            # Import statements and module names, not the word in a text.
            data = re.sub(rb"\bctan_networks\b", name.encode(), data)
        content["/".join(("package", name, *parts))] = data
    license_file = root.parent / "LICENSE"
    if license_file.is_file():
        content["package/LICENSE"] = license_file.read_bytes()
    return content


IMPORT = re.compile(rf"\$from {SOURCE}((?:\.\w+)*) import (\w+)(?: as (\w+))?")


def _imported(config: dict[str, Any]) -> dict[str, str]:
    """Names that a configuration imports from the package, and what they stand for, such as ``datasets.openkbp``."""
    found = filter(None, (IMPORT.fullmatch(statement) for statement in config.get("imports", [])))
    return {match[3] or match[2]: f"{match[1]}.{match[2]}".lstrip(".") for match in found}


def _rewrite(file: str, text: str, names: dict[str, str]) -> str:
    """The configuration with ``@ctan`` in place of imports and module names; formatting stays."""
    config = json.loads(text)
    if file.endswith("metadata.json"):
        config["required_packages_version"].pop("ctan-networks", None)
        return json.dumps(config, indent=4, ensure_ascii=False) + "\n"
    if "imports" in config:
        others = [statement for statement in config["imports"] if IMPORT.fullmatch(statement) is None]
        for statement in others:
            if SOURCE in statement:
                raise ConfigError(f"{file}: {statement!r} cannot be packed; write '$from {SOURCE} import NAME'.")
        config["imports"] = others
    config = _replace(config, names)
    if "bundle_root" in config:
        added = {
            "bundle_root": BUNDLE_ROOT,
            "package": {"_target_": "runpy.run_path", "path_name": "$@bundle_root + '/package/load.py'"},
            "ctan": "$@package['package']",
        }
        position = list(config).index("bundle_root")
        entries = [(key, value) for key, value in config.items() if key != "bundle_root"]
        config = dict([*entries[:position], *added.items(), *entries[position:]])
    return json.dumps(config, indent=4, ensure_ascii=False) + "\n"


def _replace(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _replace(v, names) for key, v in value.items()}
    if isinstance(value, list):
        return [_replace(v, names) for v in value]
    if not isinstance(value, str):
        return value
    if value.startswith(f"{SOURCE}."):
        return "$@ctan." + value.removeprefix(f"{SOURCE}.")
    if value.startswith("$"):
        pattern = rf"(?<![\w.@#'\"])({'|'.join(names)})\."
        return re.sub(pattern, lambda m: f"@ctan.{names[m[1]]}.", value)
    return value
