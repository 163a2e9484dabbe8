import numpy as np

from datasets import market1501
from datasets.layouts import LAYOUTS
from datasets.market1501 import benchmark_pairs, group_people, is_person
from datasets.pair_lists import Annotations


def annotations(*names):
    return Annotations({name: row for row, name in enumerate(names)}, np.full((len(names), 18, 2), 9, dtype=np.int32))


def test_names():
    assert is_person("0002_c1s1_000451_03.jpg")
    assert not is_person("-1_c1s1_000401_03.jpg") and not is_person("0000_c1s1_000151_01.jpg")
    assert group_people(["0002_a.jpg", "0007_b.jpg", "0002_c.jpg"]) == {
        "0002": ["0002_a.jpg", "0002_c.jpg"],
        "0007": ["0007_b.jpg"],
    }


def test_pairs_are_of_people_with_shoulders_and_hips():
    images = annotations("0002_a.jpg", "0002_b.jpg", "0002_c.jpg", "0007_a.jpg", "0000_a.jpg", "0000_b.jpg", "-1_a.jpg")
    images.keypoints[1, 10] = -1  # the right ankle may be missing
    images.keypoints[2, 11] = -1  # the left hip may not
    pairs = [("0002_a.jpg", "0002_b.jpg"), ("0002_b.jpg", "0002_a.jpg")]
    assert benchmark_pairs(images, "train") == benchmark_pairs(images, "test") == pairs


def test_test_pairs_are_drawn_and_always_the_same(monkeypatch):
    images = annotations(*(f"{person:04d}_{photo}.jpg" for person in range(1, 9) for photo in range(3)))
    everything = benchmark_pairs(images, "train")
    assert len(everything) == 8 * 6
    monkeypatch.setitem(LAYOUTS["market"].pairs_published, "test", 20)
    drawn = benchmark_pairs(images, "test")
    assert len(set(drawn)) == 20 and drawn == [pair for pair in everything if pair in drawn]
    assert drawn == benchmark_pairs(images, "test")
    monkeypatch.setattr(market1501, "SEED", 1)
    assert drawn != benchmark_pairs(images, "test")
    assert len(benchmark_pairs(images, "train")) == 48
