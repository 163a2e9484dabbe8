"""Making the demo weights, for seconds instead of minutes: every command leaves parts that load."""

import math
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.utils.data import default_collate

from configs.relations import BRANCH_LISTS
from datasets.loaders import training_pairs
from datasets.pairs import unpack
from datasets.pose_maps import FAR
from demo import weight_making
from demo.demo_weights import main
from demo.vae_training import (
    CROP,
    FACE_WEIGHT,
    HEAD,
    HEAD_WEIGHT,
    SIZE,
    crops_with_heads,
    error_weights,
    face_dissimilarity,
    feature_distance,
    head_centers,
    masks_around,
    sampled_pairs,
)
from demo.weight_making import TRAIN_ALL, load_images
from evaluation.batch_sampling import sample_batch
from inference.generation import sampling_scheduler
from models import build_model, load_checkpoint, save_checkpoint
from models.checkpoints import other_parts, trained_parameters
from models.pretrained_parts import part_digests
from tests.tiny import write_dataset
from utils.image_tensors import signed_range


@pytest.fixture(scope="module")
def parts(tmp_path_factory) -> Path:
    """Parts made by the commands `vae`, `init` and `clip`, from noise."""
    folder = tmp_path_factory.mktemp("demo")
    for name in ("unet", "vae", "clip", "scheduler"):
        (folder / "parts" / name).mkdir(parents=True)
        for file in Path("pretrained_models/demo", name).glob("*.json"):
            (folder / "parts" / name / file.name).write_text(file.read_text())
    for person in range(4):
        (folder / "images" / f"id_{person}").mkdir(parents=True)
        for photo in range(2):
            pixels = torch.randint(0, 256, (8, 8, 3), dtype=torch.uint8).numpy()
            Image.fromarray(pixels).resize((75, 110)).save(folder / "images" / f"id_{person}" / f"{photo}.jpg")
    for command in ("vae", "init", "clip"):
        options = ["--parts", folder / "parts", "--images", folder / "images", "--people", 1, "--minutes", "0.01"]
        main([command, *map(str, options)])
    return folder / "parts"


def demo_config(parts: Path, *opts: str):
    return weight_making.demo_config(parts, "MODEL.DECODER_CONFIG.CLIP_PRETRAINED_PATH", str(parts / "clip"), *opts)


def test_images_are_read_with_their_people(parts: Path):
    images, people = load_images(parts.parent / "images")
    assert images.shape == (8, 3, 128, 128) and images.dtype == torch.uint8
    assert people == [f"id_{i // 2}" for i in range(8)]


def test_heads_are_in_most_crops_and_weigh_more():
    heads = torch.tensor([[20.0, 60.0], [30.0, 64.0]]).repeat(150, 1)
    top, left = crops_with_heads(heads)
    assert min(top.min(), left.min()) >= 0 and max(top.max(), left.max()) <= SIZE - CROP
    inside = (torch.stack((top, left), 1) <= heads).all(1) & (heads < torch.stack((top, left), 1) + CROP).all(1)
    assert inside[:200].all() and not inside[200:].all()
    masks = masks_around(heads[:2], HEAD)
    assert masks.shape == (2, 1, SIZE, SIZE) and masks[0, 0, 20, 60] == masks[1, 0, 30, 64] == masks.max() == 1
    beside = (0, 0, 20, 60 + round(HEAD * SIZE))
    assert masks[beside] == pytest.approx(1 / math.e, rel=0.1) and masks[0, 0, 70:].max() < 1e-6
    weights = error_weights(heads[:2])
    assert weights[0, 0, 20, 60] == 1 + HEAD_WEIGHT + FACE_WEIGHT and weights[0, 0, 70:].max() == 1
    assert weights[beside] == pytest.approx(1 + HEAD_WEIGHT / math.e, rel=0.1)


def test_faces_of_low_contrast_count_nearly_as_much():
    eyes, blurred = torch.zeros(2, 1, 3, 32, 32)
    eyes[..., 15:17, 12:15] = 1
    blurred[..., 13:19, 10:17] = 6 / 42
    centers = torch.tensor([[16.0, 16.0]])
    faces = masks_around(centers, 0.03)[..., :32, :32]
    light = face_dissimilarity(eyes, blurred, faces)
    dark = face_dissimilarity(eyes / 4 - 0.6, blurred / 4 - 0.6, faces)
    assert light > 0.1 and dark > light / 3  # a sixteenth by squared errors
    assert face_dissimilarity(eyes, eyes, faces) == pytest.approx(0, abs=1e-4)
    assert face_dissimilarity(eyes, blurred, masks_around(centers + 12, 0.03)[..., :32, :32]) < 0.01


def test_configs_do_not_say_where_parts_came_from(parts: Path):
    for part in ("unet", "vae", "clip"):
        assert "_name_or_path" not in (parts / part / "config.json").read_text()


def test_split_keeps_the_model(parts: Path):
    whole_config = demo_config(parts, *TRAIN_ALL)
    torch.manual_seed(5)
    whole = build_model(whole_config).eval()
    with torch.no_grad():
        for parameter in whole.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    checkpoint = parts.parent / "whole"
    checkpoint.mkdir()
    save_checkpoint(checkpoint, whole, whole_config, {"epoch": 0, "step": 9}, {})
    vae = {name: value.clone() for name, value in whole.vae.state_dict().items()}
    main(["split", "--parts", str(parts), "--checkpoint", str(checkpoint)])

    small = build_model(demo_config(parts)).eval()
    progress = load_checkpoint(small, parts / "checkpoint")
    assert progress["step"] == 9 and other_parts(progress, demo_config(parts)) == []
    for (name, a), (_, b) in zip(whole.named_parameters(), small.named_parameters()):
        if not name.startswith("vae."):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4, msg=name)
    assert vae.keys() == small.vae.state_dict().keys()


def test_the_decoder_learns_to_show_sampled_latents(parts: Path, tmp_path: Path):
    parts, dataset, checkpoint = shutil.copytree(parts, tmp_path / "parts"), tmp_path / "data", tmp_path / "whole"
    checkpoint.mkdir()
    cfg = demo_config(parts, *TRAIN_ALL, "INPUT.ROOT_DIR", str(write_dataset(dataset)))
    model = build_model(cfg).eval()
    save_checkpoint(checkpoint, model, cfg, {"epoch": 0, "step": 9}, {})
    [latents], [image], [head] = sampled_pairs(cfg, model, 1)
    pairs = training_pairs(cfg)
    [row] = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0))[:1].tolist()
    batch = unpack(default_collate([pairs[row]]))
    with torch.no_grad():
        decoded = model.vae.decode(latents[None]).sample / 2 + 0.5
    torch.testing.assert_close(
        sample_batch(model, batch, sampling_scheduler(cfg), cfg, [row])[0], decoded[0].clamp(0, 1)
    )
    torch.testing.assert_close(signed_range(image), batch["img_tgt"][0])
    assert (head > 0).all() and (head < SIZE).all()

    before = load_file(parts / "vae" / "diffusion_pytorch_model.safetensors")
    options = ["--parts", parts, "--checkpoint", checkpoint, "--dataset", dataset, "--minutes", "0.01"]
    main(["decoder", *map(str, options)])
    after = load_file(parts / "vae" / "diffusion_pytorch_model.safetensors")
    changed = {name.split(".")[0] for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed == {"decoder", "post_quant_conv"}


def test_features_are_compared_by_direction():
    def encoder(images):  # one stage each for: the first two channels, all of them, the same, and one that is not read
        return [images[:, :2], images, images, 1 / images], None

    first, second = torch.tensor([[3.0, 4.0, 0.0], [6.0, 8.0, 0.0]])[:, :, None, None], torch.zeros(2, 3, 1, 1)
    assert feature_distance(encoder, first[:1], first[1:]) == pytest.approx(0, abs=1e-6)
    second[:, 0] = 5.0  # (1, 0, 0) against (.6, .8, 0): .16 + .64 at every stage
    assert feature_distance(encoder, first, second) == pytest.approx(3 * 0.8)


def test_heads_lie_at_their_visible_points_or_at_the_neck():
    keypoints = torch.full((3, 18, 2), FAR)
    keypoints[:, 1] = torch.tensor([40, 60])
    keypoints[0, [0, 14]] = torch.tensor([[20, 60], [10, 64]])
    keypoints[1, 16] = torch.tensor([5, 6])
    assert head_centers(keypoints).tolist() == [[15, 62], [5, 6], [40, 60]]


def test_a_student_is_stored_with_its_teacher(parts: Path):
    cfg = weight_making.demo_config(parts, files=weight_making.STUDENT_CONFIGS)
    student, folder = build_model(cfg), parts.parent / "distilled"
    folder.mkdir()
    save_checkpoint(folder, student, cfg, {"epoch": 0, "step": 3, "parts": part_digests(cfg)}, {})
    main(["student", "--parts", str(parts), "--checkpoint", str(folder)])

    stored = parts / "checkpoint" / "student"
    again = build_model(cfg)
    assert load_checkpoint(again, stored)["step"] == 3
    for (name, a), (_, b) in zip(trained_parameters(student).items(), trained_parameters(again).items(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4, msg=name)
    assert {value.dtype for value in load_file(stored / "model.safetensors").values()} == {torch.float16}
    assert str(parts) not in (stored / "config.yaml").read_text()


def test_the_clip_part_serves_the_clip_variant(parts: Path):
    branches = [f"MODEL.APPEARANCE_GUIDANCE_CONFIG.{name}" for name in BRANCH_LISTS]
    empty = [text for key in ["MODEL.COND_STAGE_CONFIG.DEPTHS", *branches] for text in (key, "[]")]
    depth = ["MODEL.DECODER_CONFIG.DEPTH", "0", "MODEL.DECODER_CONFIG.N_CTX", "1"]
    model = build_model(demo_config(parts, *empty, *depth)).eval()
    with torch.no_grad():
        conditions = model.encode(torch.rand(1, 3, 128, 128), torch.rand(1, 21, 128, 128))
    assert conditions["prompt"]["prompt"].shape == (1, 1, 128)


@pytest.mark.long
def test_the_encoder_is_pretrained_before_the_rest(parts: Path):
    before = weight_making.demo_config(parts)
    main(["encoder", "--parts", str(parts), "--people", "4", "--minutes", "0.01"])
    main(["branches", "--parts", str(parts), "--checkpoint", str(parts / "start")])
    start, model = build_model(demo_config(parts, *TRAIN_ALL)), build_model(before)
    load_checkpoint(start, parts / "start_with_branches")
    changed = {
        name.split(".")[0]
        for (name, a), (_, b) in zip(start.named_parameters(), model.named_parameters())
        if name.startswith(("appearance_encoder.", "unet.", "vae.")) and not torch.equal(a, b)
    }
    assert changed == {"appearance_encoder"}
    with torch.no_grad():
        biases = start.encode(torch.rand(1, 3, 128, 128), torch.rand(1, 21, 128, 128))["appearance"]
    assert len(biases) == 9 and not any(bias.any() for bias in biases.values())


def test_no_images_is_one_line(tmp_path: Path, capsys):
    with pytest.raises(SystemExit) as status:
        main(["clip", "--images", str(tmp_path)])
    assert status.value.code == 1
    assert capsys.readouterr().err.startswith(f"error: {tmp_path}: no .jpg")


@pytest.mark.parametrize(
    ("part", "option"), [("clip", "--images"), ("branches", "--checkpoint"), ("split", "--checkpoint")]
)
def test_a_missing_option_is_one_line(part: str, option: str, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([part])
    error = capsys.readouterr().err
    assert stopped.value.code == 1 and error.count("\n") == 1 and option in error
