"""The real lists of Market-1501 and DeepFashion, whole: names and joints, with one blank image under every name."""

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import generate_market_datasets
from datasets.fashion_preparation import read_list
from datasets.keypoints import FRAME, MISSING, skeleton_image
from datasets.layouts import LAYOUTS, load_pairs
from datasets.market1501 import benchmark_pairs, is_person
from datasets.pair_lists import read_annotations, read_pairs
from datasets.pose_maps import gaussian_centres, gaussian_maps
from inference.framer import Framer
from inference.placement import Placement
from inference.pose_sources import PoseReader
from tests.shared import SHARED

LISTS, FASHION_LISTS = SHARED / "real_lists", SHARED / "deepfashion_lists"
FASHION = "fasion-resize-annotation-test.csv"
pytestmark = pytest.mark.skipif(not LISTS.is_dir(), reason=f"no real lists at {LISTS}")


def place(folder: Path, names: Iterable[str]) -> None:
    folder.mkdir(parents=True)
    blank = folder.with_suffix(".jpg")
    Image.new("RGB", (64, 128)).save(blank)
    for name in names:
        os.link(blank, folder / name)


@pytest.fixture(scope="module")
def market():
    return {split: read_annotations(LISTS / f"market-annotation-{split}.csv") for split in ("train", "test")}


def test_market_is_prepared_with_the_published_test_pairs(market, tmp_path, capsys):
    for split, annotations in market.items():
        (tmp_path / f"market-annotation-{split}.csv").symlink_to(LISTS / f"market-annotation-{split}.csv")
        place(tmp_path / split, filter(is_person, annotations.rows))
    (tmp_path / "market-pairs-test.csv").symlink_to(LISTS / "market-pairs-test.csv")
    generate_market_datasets.main(["--root_dir", str(tmp_path), "--workers", "1"])
    output = capsys.readouterr().out
    assert "market-pairs-train.csv: 263632 pairs, written\n" in output
    assert "market-pairs-test.csv: 12000 pairs, found\n" in output
    assert load_pairs(tmp_path, "test", "market").names == read_pairs(LISTS / "market-pairs-test.csv")
    assert len(benchmark_pairs(market["test"], "test")) == 12_000  # where that file is not there


@pytest.fixture(scope="module")
def fashion(tmp_path_factory):
    root = tmp_path_factory.mktemp("fashion")
    place(root / "test_highres", read_list(FASHION_LISTS / "test.lst"))
    for file in (LISTS / FASHION, FASHION_LISTS / "fasion-resize-pairs-test.csv"):
        (root / file.name).symlink_to(file)
    return root


def test_paths_in_deepfashions_annotations_are_the_listed_images(fashion):
    assert len(read_list(FASHION_LISTS / "train.lst")) == 48_674
    assert len(read_annotations(LISTS / FASHION).rows) == 4_038
    rows, keypoints = read_annotations(LISTS / FASHION, image_name=LAYOUTS["fashion"].image_name)
    assert {*rows} == {*read_list(FASHION_LISTS / "test.lst")}
    pairs = load_pairs(fashion, "test")
    assert len(pairs) == 8_570 and {name for pair in pairs.names for name in pair} <= rows.keys()
    found = (keypoints != MISSING).all(axis=2)
    outside = (found & ((keypoints < 0) | (keypoints >= FRAME)).any(axis=2)).any(axis=1)
    targets = [rows[target] for _, target in pairs.names]
    assert ((~found.any(axis=1)).sum(), outside.sum(), outside[targets].sum()) == (619, 19, 17)
    assert found[targets].any(axis=1).all()


def test_deepfashions_annotations_as_poses():
    notes = []
    reader = PoseReader(Framer(None, Placement.default(FRAME)), notes.append)
    assert len(reader.read([str(LISTS / FASHION)])) == 4_038 - 619
    assert len(notes) == 1 and "skipped 619 of 4038 without a person, first fashionWOMENShortsid" in notes[0]
    path = "fashion/WOMEN/Tees_Tanks/id_00005085/45_1_front.jpg"
    flat = "fashionWOMENTees_Tanksid0000508545_1front.jpg"
    by_path, by_name = (reader.read([f"{LISTS / FASHION}:{name}"])[0] for name in (path, flat))
    assert np.array_equal(by_path.keypoints, by_name.keypoints) and by_path.name == Path(flat).stem


@pytest.mark.parametrize("split, rows, empty", [("train", 12_936, 419), ("test", 19_732, 3_445)])
def test_every_row_of_market_becomes_a_pose_map(market, split, rows, empty):
    check_pose_maps(market[split].keypoints, LAYOUTS["market"].frame, rows, empty)


def test_every_row_of_deepfashion_becomes_a_pose_map():
    check_pose_maps(read_annotations(LISTS / FASHION).keypoints, FRAME, 4_038, 619)


def check_pose_maps(keypoints: np.ndarray, frame: tuple[int, int], rows: int, empty: int) -> None:
    found = (keypoints != MISSING).all(axis=2)
    assert keypoints.dtype == np.int32 and keypoints.shape == (rows, 18, 2) and (~found.any(axis=1)).sum() == empty
    assert [skeleton_image(pose, (16, 11), frame).any() for pose in keypoints] == found.any(axis=1).tolist()
    for poses, there in zip(np.array_split(keypoints, 10), np.array_split(found, 10)):
        maps = gaussian_maps(torch.stack([gaussian_centres(pose, (16, 11), frame) for pose in poses]), (16, 11))
        assert maps.min() >= 0 and maps.max() <= 1 and not maps[~torch.from_numpy(there)].any()
