"""One image in the encodings of cameras, phones and programs."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image

from tests.color_profiles import DISPLAY_P3, encoded, grey_profile, in_inks, ink_profile, rgb_profile

STORED = {  # transposition by which a camera stores an image, by EXIF orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
LOSSLESS = {"png": {}, "webp": {"lossless": True, "exact": True}, "tif": {}}
LOSSY = {"jpg": {"quality": 95, "subsampling": 0}, "avif": {"quality": 95, "subsampling": "4:4:4"}}
TURNS = {**dict.fromkeys(("jpg", "png", "webp"), range(1, 9)), **dict.fromkeys(("tif", "avif"), (1, 4, 6))}
EXACT, CLOSE, NEAR, INK = 0, 0.2, 1.5, 2  # mean difference of a file's pixels from its original, levels of 255


class Encoding(NamedTuple):
    """A file, the plain file of the same image, and the tolerance of the mean difference of their pixels."""

    path: Path
    plain: Path
    tolerance: float


def turned_by(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return exif


def stored(image: Image.Image, orientation: int) -> Image.Image:
    """Return the pixels of a file with this EXIF orientation."""
    return image.transpose(STORED[orientation]) if orientation in STORED else image


def write_encodings(folder: Path, original: Image.Image) -> list[Encoding]:
    """Write an sRGB image in many encodings."""
    folder.mkdir(parents=True, exist_ok=True)
    grey, palette = original.convert("L"), original.quantize(64)
    see_through = original.convert("RGBA")
    see_through.putalpha(Image.linear_gradient("L").resize(original.size).point(lambda value: 255 * (value > 128)))
    on_paper = Image.new("RGB", original.size, "white")
    on_paper.paste(original, mask=see_through.getchannel("A"))
    originals = {"color": original, "grey": grey, "palette": palette, "paper": on_paper}
    plain = {name: folder / f"plain_{name}.png" for name in originals}
    for name, image in originals.items():
        image.convert("RGB").save(plain[name])
    encodings = []

    def write(name: str, image: Image.Image, of: str = "color", tolerance: float = EXACT, **options) -> None:
        path = folder / name
        options = {**LOSSLESS, **LOSSY}.get(path.suffix[1:], {}) | options
        image.save(path, icc_profile=image.info.get("icc_profile"), **options)
        encodings.append(Encoding(path, plain[of], tolerance))

    for kind, turns in TURNS.items():
        for turn in turns:
            tolerance = NEAR if kind in LOSSY else EXACT
            write(f"{kind}_{turn}.{kind}", stored(original, turn), tolerance=tolerance, exif=turned_by(turn))
    phone = {"format": "MPO", "save_all": True, "append_images": [original.resize((40, 30))], "quality": 95}
    write("phone.jpg", stored(original, 6), tolerance=NEAR, exif=turned_by(6), **phone)
    write("camera.mpo", original, tolerance=NEAR, **phone)
    p3 = encoded(original, rgb_profile(DISPLAY_P3))
    write("p3.png", p3, tolerance=CLOSE)
    lying = stored(p3, 8)
    write("p3_8.jpg", lying, tolerance=NEAR, exif=turned_by(8))
    damaged = original.copy()
    damaged.info["icc_profile"] = rgb_profile(DISPLAY_P3)[:200]
    write("damaged_profile.png", damaged)
    write("cmyk.jpg", original.convert("CMYK"), tolerance=NEAR)
    inks = in_inks(original)
    inks.info["icc_profile"] = ink_profile()
    write("inks.jpg", inks, tolerance=INK)
    write("grey.png", grey, "grey")
    write("grey_jpeg.jpg", grey, "grey", NEAR)
    write("grey_profile.png", encoded(grey.convert("RGB"), grey_profile(1.4), "L"), "grey", CLOSE)
    write("grey_16_bits.png", Image.fromarray(np.asarray(grey, np.uint16) * 257), "grey")
    write("palette.png", palette, "palette")
    write("see_through.png", see_through, "paper")
    write("see_through_5.webp", stored(see_through, 5), "paper", exif=turned_by(5))
    return encodings


def pixels(path: Path) -> np.ndarray:
    """Return the pixels of a file without applying its EXIF data and ICC profile."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), float)


def distance(first: Path | np.ndarray, second: Path | np.ndarray) -> float:
    """Return the mean absolute difference of two images in levels of 255; inf if their sizes differ."""
    first, second = (
        pixels(image) if isinstance(image, Path) else np.asarray(image, float) for image in (first, second)
    )
    return float(np.abs(first - second).mean()) if first.shape == second.shape else np.inf
