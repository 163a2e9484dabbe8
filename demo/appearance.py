"""What drawn people look like: garments, hair, colors, and the prior that a person is sampled from."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import ImageColor

from demo.painting import MOTIFS, PATTERNS, Cloth, Color


class TopCut(NamedTuple):
    """The cut of a top."""

    sleeve: float  # covered arm segments, 0 to 2
    neckline: float  # at the front, in torso lengths
    hem: float = 1.06  # in torso lengths
    ease: float = 1.0  # factor on the width of the body
    strap: float = 9.0  # above the chest, cloth within this many radians of front or back
    opening: float = 0.0  # half width of an open front, radians
    buttons: bool = False


class BottomCut(NamedTuple):
    """The cut of trousers or a skirt."""

    length: float  # covered leg segments, 0 to 2
    flare: float  # half width added at the hem, in heights
    skirt: bool = False


class HairStyle(NamedTuple):
    """Hairlines as latitudes of the head (-1 crown, 1 chin), and the hair below them."""

    fringe: float = -0.50  # at the front
    side: float = 0.05  # at the ears
    nape: float = 0.62  # at the back
    volume: float = 1.07  # relative to the skull
    fall: float = 0.0  # length of loose hair below the ears, in heights
    fall_width: float = 0.0  # half width of the loose hair, in heights
    bun: tuple[float, float] | None = None  # (y, z) of a bun from the center of the head, in heights


class Outfit(NamedTuple):
    """Garments that are worn together, and their DeepFashion category."""

    gender: str
    category: str
    tops: tuple[str, ...]
    bottoms: tuple[str, ...]
    one_piece: bool = False  # the bottom has the cloth of the top


TOPS = {
    "tee": TopCut(sleeve=0.55, neckline=0.05, ease=1.06),
    "long_sleeve": TopCut(sleeve=1.93, neckline=0.07, ease=1.05),
    "shirt": TopCut(sleeve=1.93, neckline=0.12, hem=1.12, ease=1.08, buttons=True),
    "tank": TopCut(sleeve=0.0, neckline=0.17, ease=1.02, strap=0.62),
    "jacket": TopCut(sleeve=1.95, neckline=0.03, hem=1.12, ease=1.14, opening=0.34),
}
BOTTOMS = {
    "trousers": BottomCut(length=1.95, flare=0.006),
    "wide_trousers": BottomCut(length=1.97, flare=0.022),
    "shorts": BottomCut(length=0.78, flare=0.012),
    "mini": BottomCut(length=0.70, flare=0.018, skirt=True),
    "midi": BottomCut(length=1.12, flare=0.034, skirt=True),
    "maxi": BottomCut(length=1.78, flare=0.050, skirt=True),
}
HAIR_STYLES = {
    "crop": HairStyle(),
    "shaved": HairStyle(fringe=-0.58, side=-0.10, nape=0.50, volume=1.02),
    "quiff": HairStyle(fringe=-0.42, side=-0.05, volume=1.15),
    "afro": HairStyle(fringe=-0.46, side=0.25, nape=0.75, volume=1.42),
    "bob": HairStyle(fringe=-0.28, side=0.80, nape=0.80, volume=1.13, fall=0.085, fall_width=0.062),
    "long": HairStyle(fringe=-0.52, side=0.55, nape=0.80, volume=1.10, fall=0.235, fall_width=0.062),
    "ponytail": HairStyle(fringe=-0.56, nape=0.66, volume=1.05, fall=0.20, fall_width=0.026),
    "bun": HairStyle(fringe=-0.56, nape=0.66, volume=1.05, bun=(-0.058, -0.040)),
}
HAIR_OF = {"MEN": ("crop", "shaved", "quiff", "afro"), "WOMEN": ("bob", "long", "ponytail", "bun", "afro", "crop")}
SKIRTS = ("mini", "midi", "maxi")
OUTFITS = (
    Outfit("WOMEN", "Dresses", ("tee", "tank", "long_sleeve"), SKIRTS, one_piece=True),
    Outfit("WOMEN", "Skirts", ("tee", "tank", "long_sleeve"), SKIRTS),
    Outfit("WOMEN", "Blouses_Shirts", ("shirt", "long_sleeve"), ("trousers", "mini", "midi")),
    Outfit("WOMEN", "Tees_Tanks", ("tee", "tank"), ("trousers", "shorts", "mini")),
    Outfit("WOMEN", "Pants", ("tee", "tank", "long_sleeve"), ("trousers", "wide_trousers")),
    Outfit("WOMEN", "Shorts", ("tee", "tank", "shirt"), ("shorts",)),
    Outfit("WOMEN", "Jackets_Coats", ("jacket",), ("trousers", "mini", "midi")),
    Outfit("MEN", "Tees_Tanks", ("tee", "tank"), ("trousers", "shorts")),
    Outfit("MEN", "Pants", ("tee", "long_sleeve"), ("trousers", "wide_trousers")),
    Outfit("MEN", "Shorts", ("tee", "tank"), ("shorts",)),
    Outfit("MEN", "Shirts_Polos", ("shirt",), ("trousers", "shorts")),
    Outfit("MEN", "Jackets_Vests", ("jacket",), ("trousers",)),
)


def _palette(colors: str) -> tuple[Color, ...]:
    return tuple(ImageColor.getrgb(color) for color in colors.split())


SKIN_TONES = _palette("#f7d6be #eec4a5 #deac89 #c48e68 #9b6848 #704832")
HAIR_COLORS = _palette("#1c1818 #3a261c #684226 #9e6232 #d6ac62 #a83e22 #969492")
CLOTH_COLORS = _palette(
    "#ce262e #ec7a24 #f4c830 #3e9646 #187070 #2c84cc #243c92 #70409c "
    "#e25c96 #802034 #f6f4ee #222228 #8c8e94 #c4a47a #7a5436 #a4d4e2"
)
BACKDROPS = _palette("#e8e8e8 #f0ece4 #d6dee4 #ded6de #ced8ce #c4c8ce #f8f8f8 #e0d2c4")


@dataclass(frozen=True)
class Person:
    """What all images of a person share. Lengths are in units of the person's height, colors are RGB in 0 to 255."""

    gender: str  # MEN or WOMEN
    category: str  # a DeepFashion category
    height: float  # pixels, standing
    girth: float  # factor on all widths
    shoulder: float  # half distance of the shoulder joints
    hip: float  # half distance of the hip joints
    waist: float  # factor on the waist's width
    arm: tuple[float, float]  # upper arm, forearm
    leg: tuple[float, float]  # thigh, shin
    skin: Color
    hair_style: str
    hair: Color
    iris: Color
    top: str
    top_cloth: Cloth
    inner: Color  # of the shirt under an open jacket
    bottom: str
    bottom_cloth: Cloth
    shoes: Color
    backdrop: tuple[Color, Color, Color]  # top, bottom, floor


def pick(rng: np.random.Generator, options):
    """Return a random element of a sequence."""
    return options[int(rng.integers(len(options)))]


def _sample_cloth(rng: np.random.Generator, patterns: tuple[str, ...]) -> Cloth:
    """Sample a pattern, and two colors that can be told apart at 128 x 128."""
    ground = pick(rng, CLOTH_COLORS)
    contrasts = [c for c in CLOTH_COLORS if np.abs(np.subtract(c, ground) * (0.5, 1.0, 0.4)).sum() > 120]
    return Cloth(pick(rng, patterns), ground, pick(rng, contrasts), pick(rng, MOTIFS))


def sample_person(rng: np.random.Generator) -> Person:
    """Sample a person from the prior: body, hair, outfit and studio."""
    outfit = pick(rng, OUTFITS)
    man = outfit.gender == "MEN"
    top = pick(rng, outfit.tops)
    # A print needs a closed front. Nearly half of the trousers and skirts are plain.
    top_patterns = tuple(p for p in PATTERNS if p != "print" or not (TOPS[top].opening or TOPS[top].buttons))
    top_cloth = _sample_cloth(rng, top_patterns)
    bottom_cloth = _sample_cloth(rng, ("plain",) * 3 + tuple(p for p in PATTERNS if p not in ("plain", "print")))
    while np.abs(np.subtract(bottom_cloth.ground, top_cloth.ground)).sum() < 90:
        bottom_cloth = _sample_cloth(rng, ("plain",))
    leg = 0.238 * rng.uniform(0.97, 1.03)
    base = np.array(pick(rng, BACKDROPS))
    fade = float(pick(rng, (1.0, 0.94, 0.88)))
    return Person(
        gender=outfit.gender,
        category=outfit.category,
        height=float(rng.uniform(905, 965) if man else rng.uniform(880, 945)),
        girth=float(rng.uniform(0.90, 1.16)),
        shoulder=float((0.112 if man else 0.098) * rng.uniform(0.96, 1.05)),
        hip=float((0.050 if man else 0.055) * rng.uniform(0.96, 1.05)),
        waist=float((1.04 if man else 0.90) * rng.uniform(0.95, 1.06)),
        arm=(float(0.166 * rng.uniform(0.97, 1.04)), float(0.142 * rng.uniform(0.97, 1.04))),
        leg=(leg, 0.472 - leg),
        skin=pick(rng, SKIN_TONES),
        hair_style=pick(rng, HAIR_OF[outfit.gender]),
        hair=pick(rng, HAIR_COLORS),
        iris=pick(rng, ((70, 44, 28), (54, 92, 140), (74, 104, 62), (40, 30, 26))),
        top=top,
        top_cloth=top_cloth,
        inner=top_cloth.figure,
        bottom=pick(rng, outfit.bottoms),
        bottom_cloth=top_cloth if outfit.one_piece else bottom_cloth,
        shoes=pick(rng, CLOTH_COLORS),
        backdrop=tuple(tuple(int(v) for v in base * f) for f in (1.0, fade, fade * 0.90)),
    )
