import re

import pytest

from datasets.deepfashion import flat_name, listed_name
from tests.shared import SHARED, needs_shared
from utils.errors import InputError


def raw_path(name):
    """A raw path that the benchmark's name can have come from."""
    gender, category, item, number, view = re.fullmatch(
        r"fashion(WOMEN|MEN)(\D+)id(\d{8})(\d\d_\d)([a-z]+)\.jpg", name
    ).groups()
    return f"{gender}/{category}/id_{item}/{number}_{view}.jpg"


def test_flat_name():
    assert flat_name("WOMEN/Dresses/id_00002629/02_3_back.jpg") == "fashionWOMENDressesid0000262902_3back.jpg"
    assert (
        flat_name("WOMEN/Blouses_Shirts/id_00003372/03_3_back.JPEG")
        == "fashionWOMENBlouses_Shirtsid0000337203_3back.JPEG"
    )
    for bad in ("02_3_back.jpg", "/WOMEN/Dresses/id_00002629/02_3_back.jpg", ""):
        with pytest.raises(InputError, match="relative to the dataset root"):
            flat_name(bad)


@needs_shared
@pytest.mark.parametrize("split, count", [("train", 48_674), ("test", 4_038)])
def test_flat_name_of_every_published_name(split, count):
    names = (SHARED / "deepfashion_lists" / f"{split}.lst").read_text().split()
    assert len(names) == count
    assert [flat_name(raw_path(name)) for name in names] == names


def test_names_of_a_list():
    flat = "fashionWOMENDressesid0000262902_3back.jpg"
    for path in (
        "WOMEN/Dresses/id_00002629/02_3_back.jpg",
        r".\\fashion\\WOMEN\\Dresses\\id_00002629\\02_3_back.jpg",
        flat,
    ):
        assert listed_name(path) == flat
    for other in ("../../x.jpg", "/tmp/x.jpg", "a/b.jpg", "", "WOMEN"):
        assert listed_name(other) == other
