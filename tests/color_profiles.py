"""Small ICC profiles, and images in their color spaces."""

import io
import struct
from itertools import product

import numpy as np
from PIL import Image, ImageCms

D50 = (0.9642, 1.0, 0.8249)
SRGB_CURVE = b"para" + bytes(4) + struct.pack(">HH5i", 3, 0, *(round(v * 65536) for v in
             (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)))  # fmt: skip
DISPLAY_P3 = {"r": (0.51512, 0.2412, -0.00105), "g": (0.29198, 0.69225, 0.04189), "b": (0.1571, 0.06657, 0.78407)}
ADOBE_RGB = {"r": (0.60974, 0.31111, 0.01947), "g": (0.20528, 0.62567, 0.06087), "b": (0.14919, 0.06322, 0.74457)}
SRGB = ImageCms.createProfile("sRGB")
GRID = 9  # points per side of the table of inks


def xyz(values) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(value * 65536) for value in values))


def gamma(exponent: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(exponent * 256)) + bytes(2)


def profile(space: bytes, connection: bytes, kind: bytes, **tags: bytes) -> bytes:
    """Return an ICC profile of version 4.3 with these tags."""
    text = "test".encode("utf-16-be")
    name = b"mluc" + bytes(4) + struct.pack(">II", 1, 12) + b"enUS" + struct.pack(">II", len(text), 28) + text
    tags = {"desc": name, "cprt": name, "wtpt": xyz(D50), **tags}
    table, body = struct.pack(">I", len(tags)), b""
    start = 132 + 12 * len(tags)
    for tag, content in tags.items():
        table += tag.encode() + struct.pack(">II", start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    light = struct.pack(">3i", *(round(value * 65536) for value in D50))
    head = struct.pack(">I4sI4s4s4s12s4s28s12s48s", start + len(body), b"lcms", 0x04300000, kind, space, connection,
                       struct.pack(">6H", 2026, 1, 1, 0, 0, 0), b"acsp", bytes(28), light, bytes(48))  # fmt: skip
    return head + table + body


def rgb_profile(primaries: dict[str, tuple], curve: bytes = SRGB_CURVE) -> bytes:
    colors = {f"{name}XYZ": xyz(values) for name, values in primaries.items()}
    return profile(b"RGB ", b"XYZ ", b"mntr", **colors, **{f"{name}TRC": curve for name in primaries})


def grey_profile(exponent: float) -> bytes:
    return profile(b"GRAY", b"XYZ ", b"mntr", kTRC=gamma(exponent))


def ink_profile() -> bytes:
    """Return a CMYK profile whose cyan, magenta and yellow absorb blue, red and green, unlike those of printers."""
    grid = np.array(list(product(range(GRID), repeat=4))) / (GRID - 1)  # (N, 4) amounts of ink
    colors = 255 * (1 - grid[:, [1, 2, 0]]) * (1 - grid[:, 3:])
    image = Image.fromarray(colors.round().astype(np.uint8)[None])
    lab = np.asarray(ImageCms.profileToProfile(image, SRGB, ImageCms.createProfile("LAB"), outputMode="LAB"), int)[0]
    lab = np.stack([lab[:, 0], (lab[:, 1] + 128) % 256, (lab[:, 2] + 128) % 256], axis=1) * 257
    ends = struct.pack(">2H", 0, 65535)
    unit = struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9)))
    table = lab.astype(">u2").tobytes()
    lut = b"mft2" + bytes(4) + bytes((4, 3, GRID, 0)) + unit + struct.pack(">2H", 2, 2) + ends * 4 + table + ends * 3
    return profile(b"CMYK", b"Lab ", b"prtr", A2B0=lut)


def in_inks(image: Image.Image) -> Image.Image:
    """Return an image in the inks of `ink_profile`."""
    red, green, blue = image.split()
    return Image.merge("RGB", (blue, red, green)).convert("CMYK")


def encoded(image: Image.Image, icc: bytes, mode: str = "RGB") -> Image.Image:
    """Convert an sRGB image to the color space of a profile."""
    result = ImageCms.profileToProfile(image, SRGB, ImageCms.ImageCmsProfile(io.BytesIO(icc)), outputMode=mode)
    result.info["icc_profile"] = icc
    return result
