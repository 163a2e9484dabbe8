import json
import math
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from PIL import Image

from configs import load_config
from datasets import TestPairs, fid_real_images
from datasets.loaders import evaluation_pairs
from evaluation.batch_sampling import sample_batch
from evaluation.checkpoint_evaluation import claim_folder
from evaluation.generated_images import read_png
from evaluation.metrics import pose_accuracy
from evaluation.protocols import PROTOCOLS, Network
from evaluation.tables import BASELINE, TRUTH
from evaluation.test_set import Evaluation, Evaluator, spread
from inference.pose_library import library
from models import build_model
from tests.evaluation.metrics.networks import Colours
from tests.inference.estimators import Counted
from tests.tiny import write_tiny
from utils.errors import InputError

SIZE = (64, 56)


@pytest.mark.parametrize("total, count", [(1200, 240), (1200, 48), (7, 3), (5, 5), (7, 1)])
def test_a_part_of_the_pairs_is_spread_over_the_list(total, count):
    places = spread(total, count)
    assert places == sorted(set(places)) and len(places) == count and places == spread(total, count)
    assert all(part * total // count <= place < (part + 1) * total // count for part, place in enumerate(places))


def test_a_part_of_the_pairs_shows_all_views():
    """In a list of all ordered pairs of six views of each person, even distances would show two views as targets."""
    targets = [target for _ in range(40) for _, target in permutations(range(6), 2)]
    shown = np.bincount([targets[place] for place in spread(1200, 240)], minlength=6)
    assert shown.min() >= 25


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    return write_tiny(folder)


@pytest.fixture(scope="module")
def model(tiny):
    torch.manual_seed(0)
    model = build_model(load_config(tiny))
    with torch.no_grad():  # zero-initialised layers would hide mistakes
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.05)
    return model


def evaluator(tiny, *opts, rank=0, world=1):
    AcceleratorState._reset_state(reset_partial_state=True)
    cfg = load_config(tiny, opts)
    result = Evaluator(cfg, Accelerator(cpu=True), evaluation_pairs(cfg))
    result.own = result.own[rank::world]
    return result


def images(folder):
    return {path.name: read_png(path, SIZE) for path in folder.glob("*.png")}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("scheduler", ["ddpm", pytest.param("euler", marks=pytest.mark.long)])
def test_images_do_not_depend_on_batches_threads_or_processes(tiny, model, tmp_path, scheduler):
    opts = ["MODEL.SCHEDULER_CONFIG.NAME", scheduler]
    threads, found, scores = torch.get_num_threads(), [], []
    for batch in (1, 3, 4):
        (tmp_path / str(batch)).mkdir()
        torch.set_num_threads(1 + batch % 2)
        test = evaluator(tiny, *opts, "TEST.MICRO_BATCH_SIZE", str(batch))
        scores.append(test.run(model, tmp_path / str(batch)).scores)
        found.append(images(tmp_path / str(batch)))
        assert torch.get_num_threads() == 1 + batch % 2
    torch.set_num_threads(threads)
    (tmp_path / "split").mkdir()
    for rank in (1, 0):
        evaluator(tiny, *opts, rank=rank, world=2).run(model, tmp_path / "split")
    found.append(images(tmp_path / "split"))
    assert len(found[0]) == 6 and None not in found[0].values()
    assert all(same(found[0], other) for other in found[1:])
    assert scores[0] == scores[1] == scores[2]


def test_a_row_that_comes_twice_is_one_image(tiny, model, tmp_path):
    scores = []
    for batch in (1, 4):
        test = evaluator(tiny, "TEST.MICRO_BATCH_SIZE", str(batch))
        pairs = [test.dataset.pairs[index] for index in (0, 1, 0)]
        repeated = TestPairs(pairs, test.dataset.sizes, test.size)
        test = Evaluator(test.cfg, test.accelerator, repeated)
        (tmp_path / str(batch)).mkdir()
        scores.append(test.run(model, tmp_path / str(batch)).scores)
    assert scores[0] == scores[1] and same(images(tmp_path / "1"), images(tmp_path / "4"))
    assert len(images(tmp_path / "1")) == 2


def test_images_that_are_there_are_scored_and_not_made_again(tiny, model, tmp_path):
    test = evaluator(tiny)
    first = test.run(model, tmp_path)
    names = sorted(images(tmp_path))
    assert first.made == len(first.per_image) == 6
    again = test.run(model, tmp_path)
    assert again.made == 0 and again.scores == first.scores and again.references == first.references
    (tmp_path / names[0]).unlink()
    (tmp_path / names[1]).write_bytes((tmp_path / names[1]).read_bytes()[:100])
    partly = test.run(model, tmp_path)
    assert partly.made == 2 and partly.scores == first.scores
    assert evaluator(tiny, "TEST.OVERWRITE", "True").run(model, tmp_path).made == 6
    without_files = test.run(model)
    assert without_files.scores == first.scores and without_files.grid.tobytes() == first.grid.tobytes()


def test_pose_accuracy_of_sources_and_targets_is_computed_once(tiny, model, monkeypatch):
    estimator = Counted(library()["standing_front"] * 2.0)
    monkeypatch.setattr(pose_accuracy, "create_estimator", lambda: estimator)
    test = evaluator(tiny, "TEST.NUM_INFERENCE_STEPS", "1", "TEST.MICRO_BATCH_SIZE", "4")
    first = test.run(model)
    assert estimator.count == 3 * 6
    again = test.run(model)
    assert estimator.count == 4 * 6
    shares = [row["PCKh"] for row in first.per_image]
    assert again.scores == first.scores and again.references == first.references
    # the answer does not depend on the image
    assert first.references[TRUTH] == {"PCKh": first.scores["PCKh"]} == {"PCKh": pytest.approx(sum(shares) / 6)}
    assert first.references[BASELINE]["PCKh"] == first.scores["PCKh"] and len(set(shares)) > 1
    assert "estimator: the same keypoints" in first.table() and "ground truth" in first.table()


def test_report(tiny, model, tmp_path):
    evaluation = evaluator(tiny, "TEST.NUM_PAIRS", "2").run(model)
    evaluation.write(tmp_path, {"checkpoint": "x"})
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "grid.png",
        "metrics.csv",
        "metrics.json",
        "metrics_per_image.csv",
    ]
    table = evaluation.table()
    assert "ground truth" not in table and "PCKh, FaceSim" not in table and "95% intervals of generated: SSIM " in table
    assert "copy of the source" in table and "FID, KID left out: no file" in table and "PSNR" in table
    assert evaluation.grid.size == (4 * 60 - 4, 24 + 2 * 68 - 4)


def test_a_score_that_is_not_finite_is_null(tmp_path):
    numbers = {"PSNR": math.inf, "SSIM": 1.0}
    Evaluation(
        numbers, {BASELINE: numbers}, {}, {}, Image.new("RGB", (4, 4)), [{"file": "a.png", "PSNR": 1.0}], made=1
    ).write(tmp_path, {})
    assert (tmp_path / "metrics_per_image.csv").read_text() == "file,PSNR\na.png,1\n"
    report = json.loads((tmp_path / "metrics.json").read_text())
    assert report["scores"]["PSNR"] is report["meta"]["baseline_PSNR"] is None
    assert report["scores"]["SSIM"] == report["meta"]["baseline_SSIM"] == 1.0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_samples_that_are_not_finite(tiny, model, monkeypatch, value):
    monkeypatch.setattr(
        "inference.generation.decode_latents", lambda vae, latents: torch.full((len(latents), 3, 64, 64), value)
    )
    with pytest.raises(InputError, match=r"the samples of pairs \[0\] are not finite"):
        evaluator(tiny, "TEST.NUM_PAIRS", "1", "TEST.NUM_INFERENCE_STEPS", "1").run(model)


@pytest.mark.parametrize("name", ["NUM_INFERENCE_STEPS", "DDIM_INVERSION_STEPS"])
def test_more_steps_than_the_scheduler_has(tiny, name):
    with pytest.raises(InputError, match=f"TEST.{name} is 1001; the scheduler has 1000 timesteps"):
        evaluator(tiny, f"TEST.{name}", "1001")


@pytest.mark.parametrize("name", ["NUM_INFERENCE_STEPS", "DDIM_INVERSION_STEPS"])
@pytest.mark.parametrize("steps", [501, 999, 1000])
def test_more_steps_than_leading_spacing_places(tiny, name, steps):
    with pytest.raises(InputError, match=f"{steps} steps of timestep_spacing leading begin at timestep {steps} of"):
        evaluator(tiny, f"TEST.{name}", str(steps))
    evaluator(tiny, f"TEST.{name}", "499")


def test_training_mode_and_interruption(tiny, model):
    test = evaluator(tiny)
    model.train()
    with pytest.raises(KeyboardInterrupt):
        test.run(model, stop=lambda: True)
    assert model.training and not model.vae.training


@pytest.mark.parametrize(
    "opts",
    [
        [],
        ["TEST.DDIM_INVERSION_DOWN_BLOCK_GUIDANCE", "True", "TEST.DDIM_INVERSION_UP_BLOCK_GUIDANCE", "True"],
        ["TEST.DDIM_INVERSION_UNCONDITIONAL", "False"],
    ],
)
def test_inversion_starts_from_the_source_and_not_from_noise(tiny, model, opts):
    test = evaluator(tiny, "TEST.DDIM_INVERSION_STEPS", "3", *opts)
    batch = next(iter(test._batches()))
    model.eval()
    plain = evaluator(tiny)
    results = [sample_batch(model, batch, test.scheduler, test.cfg, [seed] * 4) for seed in (1, 2)]
    assert torch.equal(*results) and results[0].shape == (4, 3, 64, 64)
    noisy = [sample_batch(model, batch, plain.scheduler, plain.cfg, [seed] * 4) for seed in (1, 2)]
    assert not torch.equal(*noisy)


def test_a_score_that_cannot_be_computed_is_no_best_score(tiny):
    evaluator(tiny).check_best_score()
    for opts, message in (
        (["ACCELERATE.BEST_SCORE", "FID"], "BEST_SCORE is FID.*no file"),
        (["ACCELERATE.BEST_SCORE", "LPIPS_VGG"], "BEST_SCORE is LPIPS_VGG.*the protocol cfld does not have it"),
        (["TEST.IMG_SIZE", "[32, 32]"], "BEST_SCORE is SSIM.*window"),
    ):
        with pytest.raises(InputError, match=message):
            evaluator(tiny, *opts).check_best_score()


@pytest.fixture
def fid_weights(tmp_path, monkeypatch):
    """Settings with which FID can be computed."""
    (tmp_path / "colours.pth").touch()
    protocol = replace(PROTOCOLS["cfld"], inception=Network(Colours, "colours.pth"))
    monkeypatch.setitem(PROTOCOLS, "cfld", protocol)
    return ["TEST.METRICS_PATH", str(tmp_path), "TEST.NUM_INFERENCE_STEPS", "1"]


def test_distance_to_the_training_images(tiny, model, fid_weights):
    test = evaluator(tiny, *fid_weights, "ACCELERATE.BEST_SCORE", "FID")
    calls = []
    test.real_images = lambda: calls.append(None) or fid_real_images(test.cfg.INPUT.ROOT_DIR)
    test.check_best_score()
    first, again = test.run(model), test.run(model)
    assert first.scores["FID"] == again.scores["FID"] > 0 and first.references[BASELINE]["FID"] > 0
    assert len(calls) == 1 and "FID left out" not in first.table()


def test_a_test_set_without_training_images_has_no_distance_to_them(tiny, model, fid_weights, tmp_path):
    test = evaluator(tiny, *fid_weights)
    test.real_images = lambda: fid_real_images(tmp_path / "nowhere")
    for evaluation in (test.run(model), test.run(model)):
        assert (
            "FID" not in evaluation.scores
            and "FID" not in evaluation.references[BASELINE]
            and "PSNR" in evaluation.scores
        )
        assert "FID, KID left out: " in evaluation.table() and "no train images" in evaluation.table()


def test_loading_the_training_images_can_be_interrupted(tiny, model, fid_weights):
    test = evaluator(tiny, *fid_weights)
    test.real_images = lambda: fid_real_images(test.cfg.INPUT.ROOT_DIR)
    test._sample = None  # is not reached
    with pytest.raises(KeyboardInterrupt):
        test.run(model, stop=lambda: True)


def test_images_of_other_weights_are_not_taken(tmp_path):
    folder = tmp_path / "generated"
    claim_folder(folder, {"weights": "a", "seed": 1}, overwrite=False)
    claim_folder(folder, {"weights": "a", "seed": 1}, overwrite=False)
    with pytest.raises(InputError, match="made with other weights .*TEST.OVERWRITE True"):
        claim_folder(folder, {"weights": "b", "seed": 1}, overwrite=False)
    (folder / "a_2_b_vis.png").touch()
    claim_folder(folder, {"weights": "b", "seed": 1}, overwrite=True)
    assert not (folder / "a_2_b_vis.png").exists()


def test_what_an_interrupted_test_was_writing_is_removed(tmp_path):
    (tmp_path / ".a_2_b_vis.png.17.partial").touch()
    claim_folder(tmp_path, {"seed": 1}, overwrite=False)
    assert {path.name for path in tmp_path.iterdir()} == {"made_with.json", ".lock"}
