# SPDX-License-Identifier: Apache-2.0
"""Broken photographs and masks."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from harness import Wrong
from hypothesis import strategies as st
from PIL import Image

from ctan_networks.data import MaskReader, PhotoReader

FILES = ("a.jpg", "b.png", "palette.png", "mask.png")


def chunks(content: bytes) -> list[tuple[bytes, bytes, bool]]:
    """Kind, data and "the checksum is right" of each chunk of a PNG, up to its end."""
    found, at = [], 8
    while at + 8 <= len(content):
        length = struct.unpack(">I", content[at : at + 4])[0]
        kind, data = content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        checksum = content[at + 8 + length : at + 12 + length]
        right = len(data) == length and checksum == struct.pack(">I", zlib.crc32(kind + data))
        found.append((kind, data, right))
        at += 12 + length
        if kind == b"IEND":
            break
    return found


def read(folder: Path) -> str:
    for name in FILES:
        mask = name == "mask.png"
        array, _ = (MaskReader() if mask else PhotoReader()).get_data(folder / name)
        if array.ndim != (2 if mask else 3) or min(array.shape[:2]) < 16:
            raise Wrong(f"{name}: shape {array.shape}")
        content = (folder / name).read_bytes()
        if content.startswith(b"\x89PNG"):
            found = chunks(content)
            # Ancillary chunks (a comment) and the end's own checksum may be wrong: they are not the picture.
            if not all(right for kind, _, right in found if kind[:1].isupper() and kind != b"IEND"):
                raise Wrong(f"{name}: a checksum is wrong")
            header = next(data for kind, data, _ in found if kind == b"IHDR")
            if (mask or name == "b.png") and header[8:13] == (b"\x08\x00" if mask else b"\x08\x02") + b"\0\0\0":
                wanted = unfiltered(found, 1 if mask else 3, *struct.unpack(">2I", header[:8]))
                if wanted is not None and not np.array_equal(np.swapaxes(array, 0, 1), wanted):
                    raise Wrong(f"{name}: other pixels than its bytes")
    return "read"


def unfiltered(found: list, samples: int, width: int, height: int) -> np.ndarray | None:
    """Pixels of an 8-bit PNG of which no line is filtered; None for others."""
    if any(kind in (b"tRNS", b"eXIf", b"acTL", b"PLTE") for kind, _, _ in found):
        return None
    data = zlib.decompressobj().decompress(b"".join(data for kind, data, _ in found if kind == b"IDAT"))
    lines = np.frombuffer(data, np.uint8)[: height * (1 + width * samples)]
    if lines.size < height * (1 + width * samples):
        raise Wrong(f"{lines.size} bytes for {width} x {height} pixels")
    lines = lines.reshape(height, 1 + width * samples)
    return None if lines[:, 0].any() else lines[:, 1:].reshape(*((height, width, samples)[: 2 + (samples > 1)]))


def png(array: np.ndarray, idat: bytes | None = None, **header: int) -> bytes:
    fields = {"width": array.shape[1], "height": array.shape[0], "depth": 8, "color": 2 if array.ndim == 3 else 0}
    fields |= {"compression": 0, "filter": 0, "interlace": 0} | header
    lines = b"".join(b"\0" + line.tobytes() for line in array)
    data = zlib.compress(lines) if idat is None else idat
    parts = [(b"IHDR", struct.pack(">2I5B", *fields.values())), (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts
    )


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "template"
    folder.mkdir()
    picture = np.random.default_rng(0).integers(0, 255, (24, 20, 3)).astype(np.uint8)
    Image.fromarray(picture).save(folder / "a.jpg", quality=90)
    (folder / "b.png").write_bytes(png(picture))
    Image.fromarray(picture).quantize(16).save(folder / "palette.png")
    (folder / "mask.png").write_bytes(png(((picture[..., 0] > 128) * 255).astype(np.uint8)))
    return folder


SIDES = st.sampled_from([0, 1, 15, 16, 20, 24, 65535, 60000, 2**31 - 1, 2**31, 2**32 - 1])
CHANGES = st.one_of(
    st.tuples(
        st.just("png"),
        st.sampled_from(["b.png", "mask.png", "a.jpg"]),
        st.fixed_dictionaries(
            {},
            optional={
                "width": SIDES,
                "height": SIDES,
                "depth": st.sampled_from([0, 1, 2, 4, 16, 255]),
                "color": st.sampled_from([0, 2, 3, 4, 6, 5]),
                "compression": st.sampled_from([0, 1]),
                "filter": st.sampled_from([0, 9]),
                "interlace": st.sampled_from([0, 1, 2]),
            },
        ),
        st.sampled_from(["", "", "empty", "short", "zeros", "many zeros", "noise"]),
    ),
    st.tuples(st.just("jpg"), SIDES.filter(lambda n: n < 65536), SIDES.filter(lambda n: n < 65536), st.integers(0, 4)),
    st.tuples(
        st.just("kind"),
        st.sampled_from(["I;16", "I", "F", "1", "LA", "RGBA", "CMYK", "P"]),
        st.sampled_from(["PNG", "TIFF", "GIF", "BMP", "WEBP", "EPS", "PDF", "ICO", "PPM", "SGI", "TGA", "PCX", "DDS"]),
        st.integers(0, 2**30),
    ),
)


def change(folder: Path, drawn: tuple) -> str:
    """A PNG or JPEG whose header says something else, or an image of another kind under the same name."""
    picture = np.random.default_rng(0).integers(0, 255, (24, 20, 3)).astype(np.uint8)
    if drawn[0] == "png":
        _, name, header, data = drawn
        array = picture[..., 0] if name == "mask.png" else picture
        streams = {"empty": b"", "short": zlib.compress(array.tobytes()[:300]), "zeros": zlib.compress(bytes(10**6))}
        streams |= {"many zeros": zlib.compress(bytes(2 * 10**8), 1)} if data == "many zeros" else {}
        streams["noise"] = bytes(range(256))
        (folder / name).write_bytes(png(array, streams.get(data), **header))
    elif drawn[0] == "jpg":
        content = bytearray((folder / "a.jpg").read_bytes())
        at = content.index(b"\xff\xc0")
        content[at + 5 : at + 9] = struct.pack(">2H", drawn[1], drawn[2])
        content[at + 9] = drawn[3]
        (folder / "a.jpg").write_bytes(bytes(content))
    else:
        image = Image.fromarray(picture)
        image = (
            Image.fromarray(np.full((24, 20), drawn[3] % 65536, np.uint16))
            if drawn[1] == "I;16"
            else image.convert(drawn[1])
        )
        try:
            image.save(folder / "b.png", drawn[2])
        except (OSError, KeyError, ValueError):
            (folder / "b.png").write_bytes(repr(drawn).encode())
    return repr(drawn)


def test_photos(fuzz, photos):
    fuzz("photos", photos, read, change, CHANGES)
