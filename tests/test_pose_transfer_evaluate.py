"""Scoring folders of images from the command line."""

import csv
import json
import shutil

import pytest
from PIL import Image

import pose_transfer_evaluate
import pose_transfer_test
import pose_transfer_train
from evaluation.metrics import pose_accuracy
from inference.pose_library import library
from tests import forked
from tests.evaluation.metrics.networks import save_alexnet, save_inception
from tests.inference.estimators import Counted
from tests.small import write_small
from tests.tiny import run_main
from training.run_folder import RunFolder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A dataset of six test pairs, images of them, and the scores that went with them."""
    folder = tmp_path_factory.mktemp("tiny")
    config = write_small(folder)
    opts = ["OPTIMIZER.EPOCHS", "1", "TEST.NUM_PAIRS", "1", "TEST.NUM_INFERENCE_STEPS", "1"]
    assert run_main(pose_transfer_train, "--config_file", config, *opts) == 0
    run = RunFolder(folder / "outputs" / "tiny" / "run")
    assert run_main(pose_transfer_test, "MODEL.PRETRAINED_PATH", run.newest(), "TEST.NUM_PAIRS", "0") == 0
    return folder, run.generated([64, 56])


@pytest.fixture
def images(tiny, tmp_path):
    return shutil.copytree(tiny[1], tmp_path / "images")


def evaluate(tiny, tmp_path, *folders, opts=()):
    where = ["--dataset", tiny[0] / "data", "--output", tmp_path / "out", "--num-workers", "0"]
    return run_main(pose_transfer_evaluate, "--generated", *folders, *where, *opts)


def scores(folder):
    return json.loads((folder / "metrics.json").read_text())["scores"]


def test_images_of_the_test_command_have_the_same_scores_again(tiny, images, tmp_path, capsys):
    tested = scores(images)
    assert evaluate(tiny, tmp_path, f"ours={images}") == 0
    text = capsys.readouterr().out
    out = tmp_path / "out" / "cfld_64x56"
    assert scores(out / "ours") == tested and "6 of 6 pairs have an image; 1 images match no pair (grid.png)" in text
    assert (
        "copy of the source" in text and "95% intervals of ours: SSIM" in text and "FID, KID left out: no file" in text
    )
    assert (out / "ours" / "metrics_per_image.csv").read_text() == (images / "metrics_per_image.csv").read_text()
    meta = json.loads((out / "ours" / "metrics.json").read_text())["meta"]
    low, high = meta["PSNR_95"]
    assert low < tested["PSNR"] < high and meta["protocol"] == "cfld" and meta["baseline_PSNR"] > 0
    with Image.open(out / "ours" / "best_median_worst.png") as picture:
        assert picture.height > 9 * 64


def test_the_size_is_that_of_the_images_whatever_the_dataset_folder_is_called(tiny, images, tmp_path, monkeypatch):
    (tmp_path / "market").symlink_to(tiny[0] / "data")
    monkeypatch.chdir(tmp_path)
    assert evaluate(tiny, tmp_path, images, opts=["--dataset", "market"]) == 0
    assert [folder.name for folder in (tmp_path / "out").iterdir()] == ["cfld_64x56"]


def test_images_of_another_shape_need_a_size(tiny, images, tmp_path, capsys):
    for path in images.glob("*_vis.png"):
        with Image.open(path) as image:
            image.resize((2 * image.width, image.height)).save(path)
    assert evaluate(tiny, tmp_path, images) == 1
    assert "the images are 64x112, keypoints refer to 256x176, another shape; crop" in capsys.readouterr().err
    assert evaluate(tiny, tmp_path, images, opts=["--size", "64x56"]) == 0


def test_the_keypoint_frame_of_a_published_dataset_is_known(tiny, images, tmp_path, capsys):
    assert evaluate(tiny, tmp_path, images, opts=["--frame", "128x64"]) == 1
    assert "--frame 128x64: applies to custom datasets; omit it with fashion" in capsys.readouterr().err


def test_folders_with_different_pairs_are_not_compared_silently(tiny, images, tmp_path, capsys):
    next(images.glob("*_vis.png")).unlink()
    assert evaluate(tiny, tmp_path, f"a={images}", f"b={tiny[1]}", opts=["--allow-partial"]) == 0
    assert "warning: the folders have images of different pairs" in capsys.readouterr().out


def test_pose_accuracy_of_folders(tiny, images, tmp_path, capsys, monkeypatch):
    estimator = Counted(library()["standing_front"] * 2.0)
    monkeypatch.setattr(pose_accuracy, "create_estimator", lambda: estimator)
    assert evaluate(tiny, tmp_path, f"a={images}", f"b={tiny[1]}", opts=["--protocol", "pidm"]) == 0
    assert estimator.count == 4 * 6  # both folders; source and target images once
    text = capsys.readouterr().out
    assert "estimator: the same keypoints" in text and "ground truth" in text and "PCKh left out" not in text
    for label in "ab":
        report = json.loads((tmp_path / "out" / "pidm_64x56" / label / "metrics.json").read_text())
        share, meta = report["scores"]["PCKh"], report["meta"]
        assert meta["PCKh_95"][0] < share < meta["PCKh_95"][1] and meta["truth_PCKh"] == share
        assert meta["estimator"] == "the same keypoints"
    with open(tmp_path / "out" / "pidm_64x56" / "comparison.csv", newline="") as file:
        assert [row["method"] for row in csv.DictReader(file)] == ["a", "b", "copy of the source", "ground truth"]


def test_several_folders_in_one_table(tiny, images, tmp_path):
    (images / "grid.png").unlink()
    for path in images.glob("*_vis.png"):
        with Image.open(path) as image:
            image.save(images / path.name.replace("_2_", "_to_").replace("_vis.png", ".JPG"), quality=20)
        path.unlink()
    label = r"a~^\x|first"
    assert evaluate(tiny, tmp_path, f"{label}={tiny[1]}", f"poor_jpg={images}", opts=["--protocol", "standard"]) == 0
    out = tmp_path / "out" / "standard_64x56"
    with open(out / "comparison.csv", newline="") as file:
        first, poor, copy = csv.DictReader(file)
    assert [row["method"] for row in (first, poor, copy)] == [label, "poor_jpg", "copy of the source"]
    assert float(first["PSNR"]) != float(poor["PSNR"]) == pytest.approx(float(first["PSNR"]), abs=2)
    table = (out / "comparison.tex").read_text()
    assert r"{poor\_jpg} & " in table and r"{a\textasciitilde \textasciicircum \textbackslash x|first} & " in table
    assert (out / "comparison.txt").read_text().count("\n") == 4


def test_files_that_are_not_read_are_named(tiny, images, tmp_path, capsys):
    (images / "first.heic").touch()
    assert evaluate(tiny, tmp_path, f"a={images}") == 0
    assert "1 images match no pair (grid.png); 1 files are not images (first.heic)" in capsys.readouterr().out


def test_a_missing_a_truncated_and_an_odd_image(tiny, images, tmp_path, capsys):
    missing, truncated, odd, *good = sorted(images.glob("*_vis.png"))
    missing.unlink()
    truncated.write_bytes(truncated.read_bytes()[:200])
    with Image.open(odd) as image:
        image.resize((20, 30)).save(odd)
    assert evaluate(tiny, tmp_path, images) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and not (tmp_path / "out").exists()
    assert f"1 missing ({missing.stem})" in error and f"1 unreadable ({truncated.name})" in error
    assert f"1 not 64x56 like most ({odd.name})" in error and "--allow-partial" in error
    assert evaluate(tiny, tmp_path, f"a={images}", opts=["--allow-partial"]) == 0
    meta = json.loads((tmp_path / "out" / "cfld_64x56" / "a" / "metrics.json").read_text())["meta"]
    assert meta["left_out"] == [path.name for path in (missing, truncated, odd)] and meta["images"] == len(good)
    with open(tmp_path / "out" / "cfld_64x56" / "a" / "metrics_per_image.csv", newline="") as file:
        assert [row["file"] for row in csv.DictReader(file)] == [path.name for path in good]


def test_the_first_image_is_no_measure_of_the_others(tiny, images, tmp_path, capsys):
    first, *_ = sorted(images.glob("*_vis.png"))
    first.write_bytes(b"")
    assert evaluate(tiny, tmp_path, images) == 1
    assert f"1 unreadable ({first.name})" in capsys.readouterr().err
    Image.new("RGB", (20, 30)).save(first)
    assert evaluate(tiny, tmp_path, f"a={images}", opts=["--allow-partial"]) == 0
    assert scores(tmp_path / "out" / "cfld_64x56" / "a")


def test_folders_that_are_judged_at_no_size_of_their_own(tiny, images, tmp_path, capsys):
    """Some methods write DeepFashion's images as squares; else two folders need a size in common."""
    other, square = (shutil.copytree(images, tmp_path / name) for name in ("other", "lr=1"))
    for folder, size in ((other, (30, 40)), (square, (256, 256))):
        for path in folder.glob("*_vis.png"):
            with Image.open(path) as image:
                image.resize(size).save(path)
    assert evaluate(tiny, tmp_path, square, opts=["--protocol", "pidm"]) == 0
    assert "protocol pidm at 256x176" in capsys.readouterr().out
    assert evaluate(tiny, tmp_path, f"a={images}", f"b={other}") == 1
    assert "contain images of 40x30 and 64x56; choose the size of the scores with --size" in capsys.readouterr().err
    assert evaluate(tiny, tmp_path, f"a={images}", f"b={other}", opts=["--size", "40x30"]) == 0


def test_a_protocol_none_of_whose_scores_can_be_computed(tiny, images, tmp_path, capsys):
    assert evaluate(tiny, tmp_path, f"a={images}", opts=["--protocol", "pcdms", "--size", "40x30"]) == 0
    assert "left out" in capsys.readouterr().out
    written = {path.name for path in (tmp_path / "out" / "pcdms_40x30" / "a").iterdir()}
    assert written == {"metrics.json", "metrics.csv", "metrics_per_image.csv"}


@pytest.mark.long
def test_scores_do_not_depend_on_batches_and_processes(tiny, images, tmp_path):
    weights = tmp_path / "weights"
    weights.mkdir()
    save_alexnet(weights)
    save_inception(weights)
    opts = ["--weights", weights, "--batch-size"]
    assert evaluate(tiny, tmp_path, f"a={images}", opts=[*opts, "4"]) == 0
    first = scores(tmp_path / "out" / "cfld_64x56" / "a")
    assert first.keys() == {"FID", "KID", "LPIPS", "SSIM", "SSIM_256", "PSNR"}
    (kept,) = (weights / "real_sets").iterdir()
    time = kept.stat().st_mtime_ns
    where = ["--dataset", tiny[0] / "data", "--output", tmp_path / "two", "--num-workers", "0"]
    arguments = ["--generated", f"a={images}", *where, *opts, "1"]
    statuses, output = forked.run("evaluate", arguments, tmp_path, 2)
    assert statuses == [0, 0] and output.count("copy of the source") == 1, output
    assert scores(tmp_path / "two" / "cfld_64x56" / "a") == first
    assert kept.stat().st_mtime_ns == time  # the real set's features were taken from there


def test_strips_of_patn_in_subfolders_have_the_scores_of_their_last_images(tiny, images, tmp_path):
    strips = tmp_path / "strips"
    for number, path in enumerate(images.glob("*_vis.png")):
        source, target = path.stem.removesuffix("_vis").split("_2_")
        with Image.open(path) as image:
            strip = Image.new("RGB", (5 * image.width, image.height), "red")
            strip.paste(image, (4 * image.width, 0))
        (strips / str(number)).mkdir(parents=True)
        strip.save(strips / str(number) / f"{source}.jpg___{target}.jpg_vis.png")
    assert evaluate(tiny, tmp_path, f"a={strips}") == 0
    assert scores(tmp_path / "out" / "cfld_64x56" / "a") == scores(images)


def test_two_images_of_a_pair_are_one_line(tiny, images, tmp_path, capsys):
    path = next(images.glob("*_vis.png"))
    shutil.copy(path, path.with_suffix(".JPG"))
    assert evaluate(tiny, tmp_path, images, opts=["--allow-partial"]) == 1
    error = capsys.readouterr().err
    assert str(path) in error and str(path.with_suffix(".JPG")) in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["nowhere"], "nowhere: no such folder"),
        (["{data}"], "none of the 8 images is named after a pair"),
        (["{images}", "--protocol", "ours"], "unknown evaluation protocol 'ours'"),
        (["{images}", "--size", "256"], "expected HEIGHTxWIDTH"),
        (["{images}", "--dataset", "nothing"], "nothing: no prepared dataset"),
        (["a={images}", "a={images}"], "names a twice"),
        (["a/b={images}", "a_b={images}"], "names a_b twice"),
        (["..={images}"], "'..' cannot be a label"),
        (["copy of the source={images}"], "'copy of the source' cannot be a label"),
        (["ground truth={images}"], "'ground truth' cannot be a label"),
        (["{images}", "--batch-size", "0"], "expected --batch-size of at least 1"),
        (["{images}", "--num-workers", "-1"], "--num-workers of at least 0"),
        (["{images}", "--what"], "unrecognized arguments"),
    ],
)
def test_wrong_arguments_are_one_line(tiny, images, tmp_path, arguments, message, capsys):
    texts = [text.format(data=tiny[0] / "data", images=images) for text in arguments]
    where = [] if "--dataset" in texts else ["--dataset", tiny[0] / "data"]
    assert run_main(pose_transfer_evaluate, "--output", tmp_path / "out", *where, "--generated", *texts) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()
