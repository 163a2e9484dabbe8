"""A broken set for each kind of defect."""

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from datasets.layouts import LAYOUTS
from datasets.pair_lists import pairs_within, read_annotations, read_pairs, write_annotations, write_pairs
from datasets.verification import verify
from tests.encodings import stored, turned_by
from utils.errors import InputError

TRAIN, TEST = [f"{i:04d}_c1s1_{j:06d}_00.jpg" for i in (1, 3) for j in (1, 2)], ["0002_a.jpg", "0002_b.jpg"]


def write_set(root, dataset="market", names=(TRAIN, TEST), size=(64, 128), frame=(128, 64)):
    """A sound dataset of noise."""
    rng = np.random.default_rng(0)
    layout = LAYOUTS[dataset]
    for split, images in zip(("train", "test"), names):
        folder = layout.images_folder(root, split)
        folder.mkdir(parents=True)
        for name in images:
            noise = Image.fromarray(rng.integers(0, 256, (8, 4, 3), dtype=np.uint8))
            noise.resize(size).save(folder / name)
        points = {name: rng.integers((0, 0), frame, (18, 2)) for name in images}
        for keypoints in points.values():
            keypoints[0] = np.array(frame) - 1
        files = {kind: root / layout.lists[0].format(kind=kind, split=split) for kind in ("pairs", "annotation")}
        write_annotations(files["annotation"], points)
        write_pairs(files["pairs"], pairs_within([images[i : i + 2] for i in range(0, len(images), 2)]))
    return root


def findings(root, dataset="market", frame=(128, 64), batch_size=1):
    found = verify(root, dataset, frame, batch_size, workers=2).findings
    return [str(finding) for finding in found if "published benchmark" not in str(finding)]


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("sound"))


@pytest.fixture
def root(sound, tmp_path):
    return shutil.copytree(sound, tmp_path / "market")


def test_a_sound_set_has_no_findings_but_its_counts(sound):
    report = verify(sound, "market", (128, 64), 1, workers=2)
    splits, found = report.splits, report.findings
    assert [finding.level for finding in found] == ["warning", "warning"]
    assert "4 pairs, the published benchmark has 263632" in found[0].what
    assert splits["train"].counts() == {"pairs": 4, "images": 4, "people": 2}
    assert splits["test"].counts() == {"pairs": 2, "images": 2, "people": 1}


def append(name, line):
    def damage(root):
        with open(root / name, "a") as file:
            file.write(f"{line}\n")

    return damage


def move_keypoints(split, change):
    def damage(root):
        path = root / f"market-annotation-{split}.csv"
        annotations = read_annotations(path)
        keypoints = annotations.keypoints.copy()
        change(keypoints)
        write_annotations(path, {name: keypoints[row] for name, row in annotations.rows.items()})

    return damage


def one_outside(keypoints):
    keypoints[:] = np.clip(keypoints, 0, None)
    keypoints[0, 4] = (128, 3)


def none_found(keypoints):
    keypoints[1] = -1


def swap(keypoints):
    keypoints[:] = keypoints[..., ::-1].copy()


def halve(keypoints):
    keypoints[:] = keypoints // 2


def shrink(keypoints):
    keypoints[0] = 50 + keypoints[0] // 50


def truncate(root):
    path = root / "train" / TRAIN[0]
    path.write_bytes(path.read_bytes()[:-40])


def link_to_nothing(root):
    path = root / "train" / TRAIN[0]
    path.unlink()
    path.symlink_to(root.parent / "elsewhere.jpg")


def unlisted_and_damaged(split):
    return lambda root: (root / split / "0009_extra.jpg").write_bytes(b"x")


def unlisted(split, name):
    return lambda root: (root / split / name).touch()


def lie(name):
    """Store an image as a turned camera does."""

    def damage(root):
        with Image.open(root / "train" / name) as image:
            stored(image, 6).save(root / "train" / name, exif=turned_by(6))

    return damage


def one_stem(root):
    """Test pairs that differ in the extension of their source alone."""
    name = f"{TEST[0][:-4]}.png"
    Image.effect_noise((64, 128), 50).save(root / "test" / name)
    append("market-annotation-test.csv", f"{name}:{list(range(18))}:{list(range(18))}")(root)
    append("market-pairs-test.csv", f"{name},{TEST[1]}")(root)


def resize(*names):
    def damage(root):
        for name in names:
            Image.new("RGB", (32, 64)).save(root / "train" / name)

    return damage


def cross(root):
    """The test person's images among the training images."""
    for name in TEST:
        shutil.copy(root / "test" / name, root / "train" / name)
    rows = (root / "market-annotation-test.csv").read_text().splitlines()[1:]
    for row in rows:
        append("market-annotation-train.csv", row)(root)
    append("market-pairs-train.csv", ",".join(TEST))(root)


def cross_person(root):
    """Another image of a training person in the test split."""
    name = "0001_c2s1_000009_00.jpg"
    Image.new("RGB", (64, 128)).save(root / "test" / name)
    append("market-annotation-test.csv", f"{name}:{list(range(18))}:{list(range(18))}")(root)
    append("market-pairs-test.csv", f"{name},{TEST[0]}")(root)


def copy_to_test(root):
    shutil.copy(root / "train" / TRAIN[0], root / "test" / TEST[0])


PAIRS, ANNOTATIONS = "market-pairs-train.csv", "market-annotation-train.csv"


@pytest.mark.parametrize(
    "damage, expected",
    [
        (lambda r: (r / PAIRS).unlink(), ["error: train: .*expected market-pairs-train.csv"]),
        (lambda r: (r / PAIRS).write_text("a,b\n"), ["error: train: .*row 1: expected the header"]),
        (append(PAIRS, "one"), ["error: train: 1 bad rows of the pairs file .*row 6: expected two image names"]),
        (
            append(ANNOTATIONS, "x.jpg:[1]:[2]"),
            ["error: train: 1 bad rows of the annotation file .*row 6: keypoints_y"],
        ),
        (append(ANNOTATIONS, f"{TRAIN[0]}:{[1] * 18}:{[1] * 18}"), ["error: .*row 6: .*is already in row 2"]),
        (
            append(PAIRS, f"{TRAIN[0]},0001_new.jpg"),
            [
                "error: train: 1 of 5 images are not files in .*generate_market_datasets.*0001_new",
                "error: train: 1 images .* have no row in the annotation file.*0001_new",
            ],
        ),
        (lambda r: shutil.rmtree(r / "test"), ["error: test: 2 of 2 images are not files in"]),
        (link_to_nothing, [f"error: train: 1 of 4 images are not files in .*{TRAIN[0]}"]),
        (truncate, [f"error: train: 1 of 4 images cannot be read; replace them .{TRAIN[0]}"]),
        (unlisted_and_damaged("train"), ["error: train: 1 of 5 images cannot be read.*0009_extra"]),
        (unlisted_and_damaged("test"), ["error: test: 1 of 3 images cannot be read.*0009_extra"]),
        (
            unlisted("train", "0009.heic"),
            ["warning: train: 1 files in .*train are skipped, expected JPEG.* .0009.heic"],
        ),
        (lie(TRAIN[0]), []),
        (resize(TRAIN[0]), [f"warning: train: 1 of 4 images are not about 64 x 128 .{TRAIN[0]} 32 x 64"]),
        (resize(*TRAIN[:3]), ["error: train: 3 of 4 images .* another release than the published one"]),
        (move_keypoints("train", one_outside), [f"warning: train: 1 of .* outside the frame of 128 x 64.*{TRAIN[0]}"]),
        (move_keypoints("test", swap), ["error: test: .* outside the frame .* y and x are swapped"]),
        (move_keypoints("train", halve), ["error: train: all keypoints lie in one quarter of the frame"]),
        (move_keypoints("train", shrink), [f"warning: train: 1 images have a skeleton smaller than 5% .* .{TRAIN[0]}"]),
        (move_keypoints("test", none_found), [f"warning: test: 1 images have no keypoints .{TEST[1]}"]),
        (append(PAIRS, ",".join(TRAIN[:2])), ["warning: train: 1 pairs are repeated .*: 2 times"]),
        (append(PAIRS, f"{TRAIN[0]},{TRAIN[0]}"), [f"warning: train: 1 pairs join an image with itself .{TRAIN[0]}"]),
        (
            one_stem,
            ["error: test: 1 pairs have the same file name .*0002_a.jpg,0002_b.jpg and 0002_a.png,0002_b"],
        ),
        (cross, ["error: both: 2 images are in train and test", "error: both: 1 people are in train and test .*0002"]),
        (cross_person, ["error: both: 1 people are in train and test pairs .0001"]),
        (copy_to_test, [f"warning: both: 1 test images are copies of training images .{TRAIN[0]} = {TEST[0]}"]),
    ],
)
def test_every_defect_is_found(root, damage, expected):
    damage(root)
    found = findings(root)
    assert len(found) == len(expected), found
    for finding, pattern in zip(found, expected):
        assert re.match(pattern, finding) and "\n" not in finding, finding


def test_fewer_pairs_than_a_batch(root):
    assert findings(root, batch_size=4) == []
    (finding,) = findings(root, batch_size=5)
    assert finding.startswith("error: train: 4 pairs are fewer than INPUT.BATCH_SIZE 5")


def test_the_low_resolution_release_of_deepfashion(tmp_path):
    names = [
        [f"fashion{kind}Dressesid0000000{i}0{i}_{view}.jpg" for view in ("1front", "3back")]
        for kind, i in (("WOMEN", 1), ("MEN", 1))  # of another category: another person
    ]
    write_set(tmp_path, "fashion", names, size=(256, 256), frame=(256, 176))
    found = findings(tmp_path, "fashion", (256, 176))
    assert len(found) == 2 and all("not about 750 x 1101: another release" in finding for finding in found)


def test_images_in_no_pair_count_in_both_splits(tmp_path):
    names = [
        [f"fashion{kind}Dressesid0000000101_{view}.jpg" for view in ("1front", "3back", "7additional")]
        for kind in ("WOMEN", "MEN")
    ]
    write_set(tmp_path, "fashion", names, size=(75, 110), frame=(256, 176))
    report = verify(tmp_path, "fashion", (256, 176), 1, workers=2)
    splits, found = report.splits, report.findings
    assert {name: split.counts()["images"] for name, split in splits.items()} == {"train": 2, "test": 2}
    counts = {finding.where: finding.what for finding in found if " images, the published" in finding.what}
    assert counts["train"].startswith("3 images, the published benchmark has 48674")
    assert counts["test"].startswith("3 images, the published benchmark has 4038")


def test_own_photos_of_another_shape_are_a_warning(tmp_path):
    names = [["anna__1.png", "anna__2.png"], ["ben__1.png", "ben__2.png"]]
    write_set(tmp_path, "custom", names, size=(88, 128), frame=(256, 176))
    assert findings(tmp_path, "custom", (256, 176)) == []
    (first, second) = findings(tmp_path, "custom", (256, 256))
    assert first.startswith("warning: train: 2 of 2 images have another shape than INPUT.FRAME")


def test_examples_are_few_and_counts_whole(root):
    path = root / PAIRS
    write_pairs(path, read_pairs(path) * 3)
    found = verify(root, "market", (128, 64), 1, workers=1).findings
    (repeated,) = [finding for finding in found if "repeated" in finding.what]
    assert repeated.what.startswith("4 pairs") and len(repeated.examples) == 4
    (root / ANNOTATIONS).write_text("name:keypoints_y:keypoints_x\n" + "x\n" * 20)
    found = verify(root, "market", (128, 64), 1, workers=1).findings
    assert [len(f.examples) for f in found if f.what.startswith("20 bad rows")] == [5]
    json.dumps([finding.examples for finding in found])


def test_no_such_folder(tmp_path):
    with pytest.raises(InputError, match="nowhere: no such folder"):
        verify(tmp_path / "nowhere", "market", (128, 64), 1, workers=1)
