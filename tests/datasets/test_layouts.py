import json

import numpy as np
import pytest
import torch
from PIL import Image

from configs import load_config
from datasets.deepfashion import flat_name
from datasets.keypoints import FRAME
from datasets.layouts import fid_real_images, keypoint_frame, load_pairs
from datasets.pair_lists import file_name, read_annotations, write_annotations
from datasets.pairs import PairSizes, TrainPairs
from tests.shared import SHARED, needs_shared
from utils.errors import InputError

PAIRS, ANNOTATION = "fasion-resize-pairs-test.csv", "fasion-resize-annotation-test.csv"
KEYPOINTS = json.dumps(list(range(18)))
HEADER = "name:keypoints_y:keypoints_x"


def write_tree(root, names, pairs, split="test", spelling="fasion", pixels=True):
    """A prepared dataset with tiny images."""
    folder = root / f"{split}_highres"
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        if pixels:
            Image.new("RGB", (15, 22), (number % 256, 0, 0)).save(folder / name)
        else:
            (folder / name).touch()
    rows = [HEADER, *(f"{name}:{KEYPOINTS}:{KEYPOINTS}" for name in names)]
    (root / f"{spelling}-resize-annotation-{split}.csv").write_text("\n".join(rows) + "\n")
    lines = ["from,to", *(",".join(pair) for pair in pairs)]
    (root / f"{spelling}-resize-pairs-{split}.csv").write_text("\n".join(lines) + "\n")
    return root


@needs_shared
def test_published_test_pairs(tmp_path):
    names = (SHARED / "deepfashion_lists" / "test.lst").read_text().split()
    write_tree(tmp_path, names, [], pixels=False)
    published = SHARED / "deepfashion_lists" / "fasion-resize-pairs-test.csv"
    (tmp_path / published.name).write_bytes(published.read_bytes())
    pairs = load_pairs(tmp_path, "test")
    assert len(pairs) == 8570
    assert pairs[0].source == "fashionWOMENBlouses_Shirtsid0000337203_3back.jpg"
    assert pairs[0].target == "fashionWOMENBlouses_Shirtsid0000337203_2side.jpg"
    assert pairs[0].target_path == tmp_path / "test_highres" / pairs[0].target
    assert pairs[0].source_keypoints.tolist() == [[i, i] for i in range(18)]


@pytest.mark.parametrize("spelling", ["fasion", "fashion"])
def test_both_spellings(tmp_path, spelling):
    write_tree(tmp_path, ["a.jpg", "b.jpg"], [("a.jpg", "b.jpg")], "train", spelling)
    (pair,) = load_pairs(tmp_path, "train")
    assert (pair.source, pair.target) == ("a.jpg", "b.jpg")
    assert [path.name for path in fid_real_images(tmp_path)] == ["a.jpg", "b.jpg"]


def test_what_the_real_set_leaves_out(tmp_path):
    write_tree(tmp_path, ["a.jpg", "b.tif"], [("a.jpg", "b.tif")], "train")
    (tmp_path / "train_highres" / "c.heic").touch()
    notes = []
    assert [path.name for path in fid_real_images(tmp_path, say=notes.append)] == ["a.jpg", "b.tif"]
    assert notes == [f"note: {tmp_path}/train_highres: 1 skipped (c.heic), expected JPEG, PNG, WEBP, BMP, TIFF, AVIF"]


def test_name_of_a_generated_image():
    assert file_name(("a_1_front.jpg", "b.x_2_side.jpeg")) == "a_1_front_2_b.x_2_side_vis.png"


def test_windows_line_ends_and_byte_order_mark(tmp_path):
    write_tree(tmp_path, ["a.jpg", "b.jpg"], [("a.jpg", "b.jpg")])
    for path in tmp_path.glob("*.csv"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    assert load_pairs(tmp_path, "test")[0].target == "b.jpg"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_lists_as_spreadsheets_save_them(tmp_path, encoding):
    names = ["a, b.jpg", "c.jpg", "d.jpg"]
    write_tree(tmp_path, names, [])
    (tmp_path / PAIRS).write_bytes(
        '\r\n"from", to ,,\r\n"a, b.jpg" , c.jpg ,,\r\n,,\r\n\r\nc.jpg,"d.jpg" \t\r\n \r\n'.encode(encoding)
    )
    rows = [f"{name} : {KEYPOINTS} :{KEYPOINTS}" for name in names]
    text = "\n".join([f"{HEADER},,,,", "", f'"{rows[0]}",,', f"{rows[1].replace(' : ', chr(34) + ':', 1)} \t"])
    text = text.replace("c.jpg", '"c.jpg') + f"\n,,,\n{rows[2]}\n\n"
    (tmp_path / ANNOTATION).write_bytes(text.encode(encoding))
    pairs = load_pairs(tmp_path, "test")
    assert pairs.names == [("a, b.jpg", "c.jpg"), ("c.jpg", "d.jpg")]
    assert all(pair.target_keypoints.tolist() == [[i, i] for i in range(18)] for pair in pairs)


def test_rows_are_counted_as_in_the_file(tmp_path):
    write_tree(tmp_path, ["a.jpg", "b.jpg"], [])
    for name, text, message in (
        (PAIRS, "from,to\n\n,,\na.jpg,c.jpg\n", "row 4: c.jpg has no row"),
        (PAIRS, "from,to\n\na.jpg\n", "row 3: expected two image names"),
        (PAIRS, '"' * 3 + "from,to\na.jpg,b.jpg\n" + '"' * 200_000, "row 3: expected two image names"),
        (ANNOTATION, f"{HEADER}\n\na.jpg:{KEYPOINTS}:[1]\n", "row 3: keypoints_x"),
        (
            ANNOTATION,
            f"\n{HEADER}\na.jpg:{KEYPOINTS}:{KEYPOINTS}\n\n" + f"a.jpg:{KEYPOINTS}:{KEYPOINTS}\n" * 2,
            "row 5: a.jpg is .* in row 3",
        ),
    ):
        write_tree(tmp_path, ["a.jpg", "b.jpg"], [("a.jpg", "b.jpg")])
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError, match=f"{name}, {message}"):
            load_pairs(tmp_path, "test")


@pytest.mark.parametrize("slash", ["/", "\\"])
@pytest.mark.parametrize("root", ["", "fashion/", "data/img_highres/"])
def test_names_as_paths_are_those_of_the_benchmark(tmp_path, slash, root):
    paths = [f"WOMEN/Tees_Tanks/id_0000508{i}/0{i}_7_additional.jpg" for i in range(2)]
    names = [flat_name(path) for path in paths]
    write_tree(tmp_path, names, [])
    listed = [(root + path).replace("/", slash) for path in paths]
    (tmp_path / PAIRS).write_text(f"from,to\n{listed[0]},{names[1]}\n")
    (tmp_path / ANNOTATION).write_text("\n".join([HEADER, *(f"{name}:{KEYPOINTS}:{KEYPOINTS}" for name in listed)]))
    assert load_pairs(tmp_path, "test").names == [tuple(names)]
    (tmp_path / ANNOTATION).open("a").write(f"\n{names[0]}:{KEYPOINTS}:{KEYPOINTS}\n")
    with pytest.raises(InputError, match=f"row 4: {names[0]} is already in row 2"):
        load_pairs(tmp_path, "test")


def test_decimals_give_the_items_of_integers(tmp_path):
    names, sizes = ["a.jpg", "b.jpg"], PairSizes((32, 32), (32, 32), (48, 32), FRAME)
    points = {name: np.random.default_rng(i).integers(-20, 250, (18, 2)) for i, name in enumerate(names)}
    items = []
    for kind in (np.int32, np.float64):
        write_tree(tmp_path, names, [("a.jpg", "b.jpg")], "train")
        write_annotations(
            tmp_path / ANNOTATION.replace("test", "train"), {n: p.astype(kind) for n, p in points.items()}
        )
        pairs = load_pairs(tmp_path, "train")
        assert pairs[0].source_keypoints.dtype == kind
        items.append(TrainPairs(pairs, sizes, seed=0)[0])
    assert all(torch.equal(items[0][name], items[1][name]) for name in items[0])
    points["b.jpg"] = points["b.jpg"] + 0.5
    write_annotations(tmp_path / ANNOTATION.replace("test", "train"), points)
    assert np.array_equal(load_pairs(tmp_path, "train")[0].target_keypoints, points["b.jpg"])


def test_rows_that_no_pair_uses_may_be_empty_and_shares_are_refused(tmp_path):
    write_tree(tmp_path, ["a.jpg", "b.jpg", "c.jpg"], [("a.jpg", "b.jpg")])
    points = {name: np.arange(36).reshape(18, 2) * 3 for name in ("a.jpg", "b.jpg")} | {"c.jpg": np.full((18, 2), -1)}
    write_annotations(tmp_path / ANNOTATION, points)
    assert len(load_pairs(tmp_path, "test")) == 1
    points |= {"b.jpg": np.full((18, 2), -1)}
    write_annotations(tmp_path / ANNOTATION, points)
    assert len(load_pairs(tmp_path, "test")) == 1
    write_annotations(tmp_path / ANNOTATION, {name: np.where(p < 0, -1, p / 100) for name, p in points.items()})
    with pytest.raises(
        InputError, match="annotation-test.csv: all keypoints .* expected pixels of the frame, not fractions"
    ):
        load_pairs(tmp_path, "test")


def edit(name, old, new):
    def apply(root):
        path = root / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return apply


@pytest.mark.parametrize(
    "damage, message",
    [
        (
            lambda root: (root / PAIRS).unlink(),
            "expected fasion-resize-pairs-test.csv or fashion-resize-pairs-",
        ),
        (lambda root: (root / ANNOTATION).unlink(), "expected fasion-resize-annotation-test.csv or fashion-"),
        (lambda root: (root / PAIRS).write_text(""), "pairs-test.csv, row 1: expected the header from,to"),
        (lambda root: (root / PAIRS).write_text("from,to\n"), "no pairs"),
        (lambda root: (root / PAIRS).write_bytes(b"\xff\xfe\x00"), "not UTF-8"),
        (edit(PAIRS, "a.jpg,b.jpg", "a.jpg"), "pairs-test.csv, row 2: expected two image names"),
        (edit(PAIRS, "b.jpg,a.jpg", "b.jpg,"), "pairs-test.csv, row 3: expected two image names"),
        (edit(PAIRS, "b.jpg,a.jpg", "b.jpg,c.jpg"), "row 3: c.jpg has no row in .*annotation-test.csv"),
        (edit(ANNOTATION, HEADER, "name,y,x"), "annotation-test.csv, row 1: expected the header name:"),
        (edit(ANNOTATION, "b.jpg", "a.jpg"), "annotation-test.csv, row 3: a.jpg is already in row 2"),
        (edit(ANNOTATION, "b.jpg:", "b.jpg"), "annotation-test.csv, row 3: "),
        (edit(ANNOTATION, "[0, 1", "[0"), "annotation-test.csv, row 2: keypoints_y is .*18 numbers"),
        (edit(ANNOTATION, "a.jpg:[", "a.jpg:"), "annotation-test.csv, row 2: keypoints_y"),
        (
            lambda root: (root / "test_highres" / "b.jpg").unlink(),
            "1 of the 2 images .*b.jpg.*python generate_",
        ),
        (lambda root: (root / "test_highres").rename(root / "other"), "no such folder.*python generate_"),
    ],
)
def test_damaged_datasets_are_one_line_errors(tmp_path, damage, message):
    write_tree(tmp_path, ["a.jpg", "b.jpg"], [("a.jpg", "b.jpg"), ("b.jpg", "a.jpg")])
    damage(tmp_path)
    with pytest.raises(InputError, match=message) as error:
        load_pairs(tmp_path, "test")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("dataset, frame", [("fashion", (256, 176)), ("market", (128, 64)), ("custom", (300, 200))])
def test_keypoints_lie_in_the_frame_of_the_dataset_or_the_configs_own(dataset, frame):
    cfg = load_config(opts=["INPUT.DATASET", dataset, "INPUT.FRAME", "[300, 200]"])
    assert keypoint_frame(cfg) == frame


def test_no_dataset(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        load_pairs(tmp_path / "nowhere", "train")
    with pytest.raises(InputError, match="unknown split"):
        load_pairs(tmp_path, "validation")
    with pytest.raises(InputError, match="generate_fashion_datasets"):
        fid_real_images(tmp_path)


@needs_shared
def test_a_list_of_full_size_loads(tmp_path):
    names = (SHARED / "deepfashion_lists" / "train.lst").read_text().split()
    pairs = [(names[i % 40_000], names[i * 7 % 40_000]) for i in range(101_966)]
    write_tree(tmp_path, names, pairs, "train", pixels=False)
    assert len(load_pairs(tmp_path, "train")) == 101_966
    assert len(read_annotations(tmp_path / "fasion-resize-annotation-train.csv").rows) == 48_674
