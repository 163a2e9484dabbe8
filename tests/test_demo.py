"""The shipped demo weights: small, complete, and better than copying the source photo."""

from pathlib import Path

import pytest

import pose_transfer_test
from datasets.fashion_preparation import generate
from demo.drawn_people import draw_dataset
from evaluation.tables import BASELINE, read_scores
from tests.tiny import run_main

DEMO = Path("pretrained_models/demo")
LIMIT = 32_000_000  # bytes


def test_the_parts_are_complete_and_small():
    files = [path for path in DEMO.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= LIMIT
    for part in ("unet", "vae", "clip", "swin", "checkpoint"):
        assert list((DEMO / part).glob("*.safetensors")), part
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".yaml", ".md"}


@pytest.fixture(scope="module")
def people(tmp_path_factory) -> Path:
    """Drawn people of a seed that no training has used, prepared."""
    root = tmp_path_factory.mktemp("people") / "fashion"
    draw_dataset(root, train_people=1, test_people=8, photos_per_person=3, seed=77, workers=1)
    generate(root, workers=1, link=True)
    return root


def test_the_finished_checkpoint_beats_copying_by_4_db(people: Path, tmp_path: Path):
    status = run_main(
        pose_transfer_test, "MODEL.PRETRAINED_PATH", DEMO / "checkpoint", "INPUT.ROOT_DIR", people,
        "ACCELERATE.OUTPUT_DIR", tmp_path, "ACCELERATE.PROJECT_NAME", "demo", "ACCELERATE.RUN_NAME", "finished",
    )  # fmt: skip
    assert status == 0
    scores, references, _ = read_scores(tmp_path / "demo/finished/generated/128x128/metrics.json")
    copied = references[BASELINE]
    assert scores["PSNR"] >= copied["PSNR"] + 4
    assert scores["SSIM"] > copied["SSIM"]
