"""What the login site's /browse pages are made of: bytes that are a function of their names."""

from __future__ import annotations

import hashlib
import struct

# What one visit of /browse leaves: how many of each, and how many bytes each has.
BROWSE: dict[str, int] = {
    "seed": 1,
    "n": 4,  # images, kept by the HTTP cache
    "image": 20_000,
    "scripts": 1,  # kept by the HTTP cache and, from the second run on, by the code cache
    "script": 20_000,
    "local": 2,  # localStorage entries (about 5 MB in all per origin)
    "local_bytes": 2_000,
    "idb": 2,  # IndexedDB records, half of whose bytes lie in a Blob
    "idb_bytes": 10_000,
    "cache": 2,  # Cache Storage entries, put there by the page and served by the service worker
    "cache_bytes": 20_000,
    "cookies": 2,
}


def random_bytes(name: str, size: int) -> bytes:
    """`size` incompressible bytes that are a function of `name`."""
    return hashlib.shake_256(name.encode()).digest(size)


def bitmap(name: str, size: int) -> bytes:
    """A valid BMP of about `size` bytes with random pixels, so that a browser decodes and keeps it as any image."""
    width = 64
    height = max(1, size // (width * 3))
    pixels = random_bytes(name, width * 3 * height)
    file_header = struct.pack("<2sIHHI", b"BM", 54 + len(pixels), 0, 0, 54)
    info_header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, len(pixels), 2835, 2835, 0, 0)
    return file_header + info_header + pixels


def script(name: str, size: int) -> bytes:
    """A script of about `size` bytes whose functions all run, as the code cache wants it."""
    parts = ["(() => { let sum = 0;\n"]
    for i in range(max(1, size // 120)):
        word = hashlib.sha256(f"{name}/{i}".encode()).hexdigest()[:40]
        parts.append(f"function f{i}(x) {{ const s = '{word}'; return x + s.length + s.charCodeAt(x % s.length); }}\n")
        parts.append(f"sum += f{i}({i});\n")
    parts.append(f"window.scripts = (window.scripts || 0) + 1; window.lastSum = sum; }})(); // {name}\n")
    return "".join(parts).encode()
