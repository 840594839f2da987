# SPDX-License-Identifier: Apache-2.0
"""A bundle as one zip file that needs MONAI and not this package: what it uses of that travels inside.

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

from ctan_networks.errors import ConfigError, DataError
from ctan_networks.tools.packing.closure import SOURCE, module_closure
from ctan_networks.tools.packing.package_copy import package_files
from ctan_networks.tools.packing.readme import packed_readme
from ctan_networks.tools.packing.requirements import Requirements
from ctan_networks.utils import atomic_path

__all__ = ["SUMS", "pack_bundle"]

logger = logging.getLogger(__name__)

SUMS = "SHA256SUMS"
# What a bundle's folder holds besides what its runs wrote.
PARTS = ("LICENSE", "large_files.yml", "configs", "docs", "models")
NOT_PACKED = (".ts", ".pt2", ".onnx", ".engine")
METADATA = "configs/metadata.json"
README = "docs/README.md"
# What a packed configuration uses of the package.
USED = re.compile(r"@ctan((?:\.\w+)+)")
# The zip format's first day: the same content gives the same bytes.
DATE = (1980, 1, 1, 0, 0, 0)

# The bundle's folder without the package's help: the workflow further up the call stack knows its configuration.
# Without a workflow (verify_net_in_out, ckpt_export) it is the working directory, or --bundle_root.
BUNDLE_ROOT = (
    "$next((str(s.config_root_path.resolve().parent) for s in"
    " [f.frame.f_locals.get('self') for f in __import__('inspect').stack(0)]"
    " if 'config_root_path' in getattr(s, '__dict__', {})), '.')"
)


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
    content = {relative: file.read_bytes() for relative, file in _files(folder)}
    if not plain:
        for relative, data in content.items():
            if re.fullmatch(r"configs/.*\.json", relative) and relative != METADATA:
                content[relative] = _rewrite(relative, data.decode("utf-8"), names).encode("utf-8")
        modules = _add_requirements(content, metadata)
        package = package_files(re.sub(r"\W", "_", f"{SOURCE}_{name}_v{version}"), modules)
        content |= {f"package/{path}": data for path, data in package.items()}
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


def _add_requirements(content: dict[str, bytes], metadata: dict[str, Any]) -> set[str]:
    """Write into README and metadata what must be installed, and log it.

    Returns:
        The modules of the package that the configurations need.

    """
    listed = metadata["required_packages_version"]
    configs = {
        path: json.loads(data)
        for path, data in content.items()
        if re.fullmatch(r"configs/.*\.json", path) and path != METADATA
    }
    needs, modules = {}, {}
    for run, ending in (("inference", "inference.json"), ("training and evaluation", ".json")):
        texts = [text for path, config in configs.items() if path.endswith(ending) for text in _texts(config)]
        modules[run] = module_closure(SOURCE + name for text in texts for name in USED.findall(text))
        needs[run] = Requirements(modules[run], texts, listed)
        logger.info("%s: %s", run, needs[run].command())
    inference, training = needs.values()
    if README in content:
        text = content[README].decode("utf-8")
        content[README] = packed_readme(text, inference, training, content).encode("utf-8")
    needed = {name: version for name, version in listed.items() if name in inference.needed | training.needed}
    content[METADATA] = _written({**metadata, "required_packages_version": needed}).encode("utf-8")
    return set().union(*modules.values())


def _texts(value: Any) -> Iterator[str]:
    """All strings of a configuration."""
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)
    elif isinstance(value, str):
        yield value


def _written(config: dict[str, Any]) -> str:
    return json.dumps(config, indent=4, ensure_ascii=False) + "\n"


IMPORT = re.compile(rf"\$from {SOURCE}((?:\.\w+)*) import (\w+)(?: as (\w+))?")


def _imported(config: dict[str, Any]) -> dict[str, str]:
    """Names that a configuration imports from the package, and what they stand for, such as ``datasets.openkbp``."""
    found = filter(None, (IMPORT.fullmatch(statement) for statement in config.get("imports", [])))
    return {match[3] or match[2]: f"{match[1]}.{match[2]}".lstrip(".") for match in found}


def _rewrite(file: str, text: str, names: dict[str, str]) -> str:
    """The configuration with ``@ctan`` in place of imports and module names; formatting stays."""
    config = json.loads(text)
    if "imports" in config:
        others = [statement for statement in config["imports"] if IMPORT.fullmatch(statement) is None]
        for statement in others:
            if SOURCE in statement:
                raise ConfigError(f"{file}: {statement!r} cannot be packed; write '$from {SOURCE} import NAME'.")
        config["imports"] = others
    config = _replace(config, names)
    for text in _texts(config):
        if text.startswith("$") and re.search(rf"\b{SOURCE}\b", text):
            raise ConfigError(f"{file}: {text!r} cannot be packed; import what it uses in 'imports'.")
    if "bundle_root" in config:
        added = {
            "bundle_root": BUNDLE_ROOT,
            "package": {"_target_": "runpy.run_path", "path_name": "$@bundle_root + '/package/load.py'"},
            "ctan": "$@package['package']",
        }
        position = list(config).index("bundle_root")
        entries = [(key, value) for key, value in config.items() if key != "bundle_root"]
        config = dict([*entries[:position], *added.items(), *entries[position:]])
    return _written(config)


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
