# SPDX-License-Identifier: Apache-2.0
"""Tables in CSV, read strictly: pandas alone shifts columns, renames doubles and fills what is missing, silently."""

from __future__ import annotations

import codecs
import csv
import io
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from ctan_networks.errors import DataError
from ctan_networks.reading import require_file

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["delimiter_of", "read_header", "read_table"]

# A table of a million cases has some 100 MB.
MAX_BYTES = 1 << 28
SHOWN = 8
# More than any header has.
HEADER_BYTES = 1 << 16


def read_table(file: str | os.PathLike, advice: str, errors: str = "strict") -> pd.DataFrame:
    """Read a CSV as text: UTF-8 or UTF-16, a header, and in each row as many fields at most.

    Fields are separated by what the header has most of: commas, tabs or semicolons.

    Args:
        file: the file.
        advice: what to do when it cannot be read, for the message.
        errors: see :py:meth:`bytes.decode`; "surrogateescape" for a table of files' names, which may be any bytes.

    Returns:
        Columns of text; a field that is missing at the end of a row is empty.

    Raises:
        DataError: names the file, the line where one is wrong, and what to do.

    """
    import pandas as pd

    size = require_file(file, advice)
    if size > MAX_BYTES:
        raise DataError(f"{file} has {size} bytes; tables of at most {MAX_BYTES} are read. {advice}")
    try:
        text = _decoded(Path(file).read_bytes(), errors)
        if "\0" in text:
            raise ValueError("it holds zero bytes: it is no text")
        lines = csv.reader(
            io.StringIO(text, newline=""), delimiter=delimiter_of(text), skipinitialspace=True, strict=True
        )
        header = [name.strip() for name in next((line for line in lines if line), [])]
        if not header:
            raise ValueError("it is empty")
        # Columns are called in UTF-8, whatever is in them.
        "".join(header).encode()
        doubles = [name for name, count in Counter(header).items() if count > 1]
        if doubles:
            raise ValueError(f"several columns are called {', '.join(map(repr, doubles[:SHOWN]))}")
        rows = []
        for line in lines:
            if len(line) > len(header):
                raise ValueError(f"line {lines.line_num} has {len(line)} fields, the header {len(header)}")
            if line:
                rows.append(line + [""] * (len(header) - len(line)))
    except (ValueError, OSError, csv.Error) as error:
        raise DataError(f"{file} cannot be read as CSV ({' '.join(str(error).split())[:300]}). {advice}") from error
    return pd.DataFrame(rows, columns=header, dtype=object)


def read_header(file: str | os.PathLike) -> list[str]:
    """The columns of a table, in small letters; empty when the file is none, whatever else it is."""
    try:
        with open(file, "rb") as stream:
            text = _decoded(stream.read(HEADER_BYTES), "replace").lstrip()
        line = next(csv.reader([text.partition("\n")[0]], delimiter=delimiter_of(text), skipinitialspace=True), [])
    except (OSError, ValueError, csv.Error):
        return []
    return [name.strip().lower() for name in line]


def delimiter_of(text: str) -> str:
    """What separates the fields of a table: the one of comma, semicolon and tab that its header has most of."""
    return max(",;\t", key=text.lstrip().partition("\n")[0].count)


def _decoded(content: bytes, errors: str) -> str:
    # Excel saves "Unicode text" in UTF-16.
    encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    return content.decode(encoding, errors)
