# SPDX-License-Identifier: Apache-2.0
"""The part of this package that travels in a packed bundle, under a name of its own."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath

from ctan_networks.errors import ConfigError
from ctan_networks.tools.packing.closure import ROOT, SOURCE, exported, module_file
from ctan_networks.tools.packing.requirements import declared_requirements

__all__ = ["modules_in", "package_files", "without_extras"]

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
# The module that every package of the copy needs.
LAZY = f"{SOURCE}._lazy"
EXTRA = re.compile(r'"ctan-networks\[(\w+(?:,\w+)*)\]"')


def package_files(name: str, modules: Collection[str]) -> dict[str, bytes]:
    """What goes into the folder ``package`` of a packed bundle.

    Modules are copied with another package name. Each ``__init__.py`` imports a public name when it is asked for, and
    knows those of the modules that are copied; files of other kinds, such as templates, go with their package.

    Args:
        name: of the copy.
        modules: absolute names, as :py:func:`ctan_networks.tools.packing.closure.module_closure` gives them.

    Returns:
        Path below ``package`` to content.

    """
    wanted = {*modules, LAZY}
    packages = {parent for module in wanted for parent in _parents(module)}
    content = {"load.py": LOADER.format(name=name).encode()}
    for package in packages:
        path = "/".join((name, *package.split(".")[1:], "__init__.py"))
        content[path] = _package_init(package, name, wanted).encode()
    for module in wanted:
        file = module_file(module)
        if file is None:
            raise ConfigError(f"{module} does not exist.")
        text = re.sub(rf"\b{SOURCE}\b", name, file.read_text(encoding="utf-8"))
        content[f"{name}/{file.relative_to(ROOT).as_posix()}"] = without_extras(text).encode()
    for file in _data_files(packages):
        content[f"{name}/{file.relative_to(ROOT).as_posix()}"] = file.read_bytes()
    license_file = ROOT.parent / "LICENSE"
    if license_file.is_file():
        content["LICENSE"] = license_file.read_bytes()
    return content


def modules_in(copy: Path) -> set[str]:
    """The modules of this package that a copy holds, by the names of its files."""
    files = (PurePosixPath(file.relative_to(copy).as_posix()) for file in copy.rglob("*.py"))
    names = {".".join((SOURCE, *file.with_suffix("").parts)) for file in files if file.name != "__init__.py"}
    return {name for name in names if module_file(name) is not None}


def without_extras(text: str) -> str:
    """Text that names the packages of an extra where it advised to install the extra of ``ctan-networks``."""
    _, extras = declared_requirements()

    def packages(match: re.Match[str]) -> str:
        return " ".join(f'"{requirement}"' for extra in match[1].split(",") for requirement in extras[extra])

    return EXTRA.sub(packages, text)


def _package_init(package: str, name: str, modules: Collection[str]) -> str:
    file = module_file(package)
    source = file.read_text(encoding="utf-8") if file else ""
    tree = ast.parse(source)
    constants = [
        ast.get_source_segment(source, node) or ""
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) != "__all__"
    ]
    names = {
        public: name + module.removeprefix(SOURCE)
        for public, module in sorted(exported(package).items())
        if module in modules
    }
    table = "".join(f'    "{public}": "{module}",\n' for public, module in names.items())
    parts = [
        f'# SPDX-License-Identifier: Apache-2.0\n"""{ast.get_docstring(tree) or ""}"""',
        f"from {name}._lazy import lazy_package",
        *constants,
        f"lazy_package(__name__, {{\n{table}}})" if table else "lazy_package(__name__, {})",
    ]
    return "\n\n".join(parts) + "\n"


def _data_files(packages: Collection[str]) -> Iterator[Path]:
    for file in sorted(ROOT.rglob("*")):
        if not file.is_file() or file.suffix in (".py", ".pyc"):
            continue
        folder = file.parent
        while not (folder / "__init__.py").is_file():
            folder = folder.parent
        if ".".join((SOURCE, *folder.relative_to(ROOT).parts)) in packages:
            yield file


def _parents(module: str) -> Iterator[str]:
    """The packages that a module is in, from the outermost."""
    parts = module.split(".")
    for count in range(1, len(parts)):
        yield ".".join(parts[:count])
