"""The pipeline of diffusers: the same images as the test program, from a folder, from anywhere."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.utils import set_seed
from PIL import Image
from safetensors.torch import load_file

import pose_transfer_test
from configs import load_config
from datasets import load_pairs
from datasets.keypoints import FRAME
from datasets.pair_lists import file_name
from diffusion.randomness import pair_generators, pair_seed
from diffusion.schedulers import scheduler_like
from inference.export import FILES, export, load_pipeline
from models import build_model
from models.checkpoints import __main__ as command
from tests.models.test_vae import small_decoder
from tests.parity import published_parameters
from tests.shared import REPOSITORY
from tests.tiny import run_main, write_dataset, write_tiny
from utils.errors import InputError

CHECKPOINT = REPOSITORY / "pretrained_models" / "demo" / "checkpoint"
PHOTO = Image.new("RGB", (88, 128))
STEPS = 2


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    root = tmp_path_factory.mktemp("pairs")
    write_dataset(root, test_images=2)
    return root, load_pairs(root, "test")


@pytest.fixture(scope="module")
def pipe():
    pipe = load_pipeline(CHECKPOINT)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture
def one_thread():
    """What a test image is computed with."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def generators(count: int) -> list[torch.Generator]:
    return pair_generators([pair_seed(3407, index) for index in range(count)])


def test_images_are_those_of_the_test_program(pairs, pipe, tmp_path, one_thread, on_cpu):
    root, pairs = pairs
    opts = ["INPUT.ROOT_DIR", root, "ACCELERATE.OUTPUT_DIR", tmp_path, "TEST.NUM_INFERENCE_STEPS", STEPS]
    assert run_main(pose_transfer_test, "MODEL.PRETRAINED_PATH", CHECKPOINT, *opts) == 0
    photos = [Image.open(pair.source_path) for pair in pairs]
    poses = [pair.target_keypoints for pair in pairs]
    images = pipe(photos, poses, num_inference_steps=STEPS, generator=generators(len(pairs))).images
    for pair, image in zip(pairs, images):
        [path] = tmp_path.rglob(file_name(pair))
        assert np.array_equal(np.array(Image.open(path)), np.array(image))


def test_an_exported_folder_gives_the_same_images_from_elsewhere(pairs, pipe, tmp_path):
    pair = pairs[1][0]
    arguments = ["export", "--checkpoint", CHECKPOINT, "--output", tmp_path / "exported"]
    assert run_main(command, *arguments) == 0
    card = (tmp_path / "exported" / "README.md").read_text()
    assert str(CHECKPOINT) in card and "uc_down_full" in card and "{" not in card.replace("{folder}", "")
    script = f"""
import numpy as np, torch
from PIL import Image
from inference.pipeline import CFLDPipeline
pipe = CFLDPipeline.from_pretrained("exported")
pose = np.array({pair.target_keypoints.tolist()})
result = pipe(Image.open({str(pair.source_path)!r}), pose, {STEPS}, generator=torch.Generator().manual_seed(5))
result.images[0].save("image.png")
"""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, check=True)
    written, loaded = np.array(Image.open(tmp_path / "image.png")), load_pipeline(tmp_path / "exported")

    def image_of(own) -> np.ndarray:
        photo, seed = Image.open(pair.source_path), torch.Generator().manual_seed(5)
        return np.array(own(photo, pair.target_keypoints, STEPS, generator=seed).images[0])

    assert np.array_equal(written, image_of(loaded))
    # the checkpoint's weights lie elsewhere in memory, where sums are rounded differently
    assert np.abs(written - image_of(pipe).astype(float)).max() <= 1
    assert all(torch.equal(a, b) for a, b in zip(loaded.unet.parameters(), pipe.unet.parameters()))


def test_a_small_decoder_reaches_every_program(pairs, pipe, tmp_path, one_thread):
    root, pairs = pairs
    small = ["MODEL.FIRST_STAGE_CONFIG.SMALL_DECODER_PATH", small_decoder(tmp_path / "small", pipe.vae)]
    approximate = [*small, "TEST.NUM_INFERENCE_STEPS", STEPS]
    opts = ["INPUT.ROOT_DIR", root, "ACCELERATE.OUTPUT_DIR", tmp_path, "TEST.NUM_PAIRS", 1, *approximate]
    assert run_main(pose_transfer_test, "MODEL.PRETRAINED_PATH", CHECKPOINT, *opts) == 0
    config = tmp_path / "small.yaml"
    config.write_text(load_config(CHECKPOINT / "config.yaml", list(map(str, approximate))).dump())
    own = load_pipeline(CHECKPOINT, str(config))
    own.save_pretrained(tmp_path / "exported")
    loaded = load_pipeline(tmp_path / "exported")
    assert loaded.vae.config._class_name == "AutoencoderTiny"
    photo, pose = Image.open(pairs[0].source_path), pairs[0].target_keypoints
    image = np.array(loaded(photo, pose, generator=generators(1)).images[0])
    (written,) = tmp_path.rglob("*_vis.png")
    assert np.abs(image - np.array(Image.open(written), float)).max() <= 1  # a random decoder, values between two bytes


def test_a_pipeline_knows_the_frame_of_its_training(pairs, pipe, tmp_path):
    config = tmp_path / "narrow.yaml"
    opts = ["INPUT.DATASET", "custom", "INPUT.FRAME", "[128, 64]"]
    config.write_text(load_config(CHECKPOINT / "config.yaml", opts).dump())
    export(str(CHECKPOINT), tmp_path / "exported", str(config))
    assert "in the 128 x 64 frame" in (tmp_path / "exported" / "README.md").read_text()
    own = load_pipeline(tmp_path / "exported")
    assert own.pose_frame == (128, 64) and pipe.pose_frame == (256, 176)
    photo, pose = Image.open(pairs[1][0].source_path), np.array(pairs[1][0].target_keypoints) // 4

    def image(pipe, **frame) -> np.ndarray:
        return pipe(photo, pose, 1, generator=generators(1), output_type="np", **frame).images

    assert np.array_equal(image(own), image(own, pose_frame=(128, 64)))
    assert not np.array_equal(image(own), image(own, pose_frame=(256, 176)))
    sampling = dict(own.config.sampling)
    del sampling["pose_frame"]
    own.register_to_config(sampling=sampling)  # as of an older version
    assert own.pose_frame == (256, 176)


def test_one_photo_in_several_poses_is_encoded_once(pairs, pipe, monkeypatch):
    photo, poses = Image.open(pairs[1][0].source_path), np.stack([pair.target_keypoints for pair in pairs[1]])
    encoded, whole = [], type(pipe.conditioner).encode_appearance
    monkeypatch.setattr(
        type(pipe.conditioner), "encode_appearance", lambda self, image: encoded.append(1) or whole(self, image)
    )
    images = pipe(photo, poses, STEPS, generator=generators(2), output_type="pt", output_size=(64, 44)).images
    assert images.shape == (2, 3, 64, 44) and images.dtype == torch.float32 and len(encoded) == 1
    assert not torch.equal(images[0], images[1])
    alone = pipe(photo, poses[1], STEPS, generator=generators(2)[1:], output_type="np", output_size=(64, 44)).images
    assert np.array_equal(alone[0], images[1].permute(1, 2, 0).numpy())


def test_photos_are_turned_upright(pairs, pipe, tmp_path):
    photo, pose = Image.open(pairs[1][0].source_path), pairs[1][0].target_keypoints
    exif = Image.Exif()
    exif[0x0112] = 8  # to be turned 90 degrees anticlockwise
    photo.transpose(Image.Transpose.ROTATE_270).convert("RGBA").save(tmp_path / "lying.png", exif=exif)
    photos = [photo, Image.open(tmp_path / "lying.png")]
    upright, lying = pipe(photos, pose, 1, generator=generators(1) + generators(1), output_type="np").images
    assert np.array_equal(upright, lying)


def test_a_callback_sees_and_changes_every_step(pairs, pipe):
    photo, pose, seen = Image.open(pairs[1][0].source_path), pairs[1][0].target_keypoints, []

    def callback(pipeline, step, timestep, tensors):
        assert pipeline is pipe
        seen.append((step, timestep, tuple(tensors["latents"].shape)))
        return {"latents": tensors["latents"] * 0}

    call = dict(num_inference_steps=STEPS, callback_on_step_end=callback, output_type="np", batch_size=1)
    first, second = pipe(photo, [pose] * 2, generator=generators(2), **call).images
    assert [step for step, _, _ in seen] == [0, 1, 2, 3]
    assert seen[0][1] > seen[1][1] and seen[0][1] == seen[2][1]
    assert seen[0][2] == (1, pipe.unet.config.in_channels, 16, 16)
    assert np.array_equal(first, second)  # both decoded from zeros

    def cancel(*_):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        pipe(photo, pose, callback_on_step_end=cancel)


def test_scales_of_one_call(pairs, pipe):
    photo, pose = Image.open(pairs[1][0].source_path), pairs[1][0].target_keypoints

    def image(**options):
        return pipe(photo, pose, 1, generator=generators(1), output_type="np", **options).images

    own = pipe.sampling.guidance_scales.full
    assert np.array_equal(image(), image(guidance_scales={"full": own}))
    assert not np.array_equal(image(), image(guidance_scales={"full": 3.0}))
    guided = {"guidance_scales": {"full": 3.0}}
    assert not np.array_equal(image(**guided), image(**guided, guidance_type="uc_full"))
    assert not np.array_equal(image(**guided), image(**guided, guidance_interval=(0, 0)))
    assert np.array_equal(image(), image(scheduler="ddim")) and not np.array_equal(image(), image(scheduler="euler"))


def test_bfloat16(pairs):
    pipe = load_pipeline(CHECKPOINT).to(torch.bfloat16)
    photo, pose = Image.open(pairs[1][0].source_path), pairs[1][0].target_keypoints
    half = pipe(photo, pose, STEPS, generator=generators(1), output_type="np").images
    assert pipe.unet.dtype == pipe.conditioner.dtype == torch.bfloat16
    whole = pipe.to(torch.float32)(photo, pose, STEPS, generator=generators(1), output_type="np").images
    assert 0 < np.abs(half - whole).mean() < 0.05


def test_parts_go_back_to_the_cpu_also_after_a_call_that_was_cancelled(pairs, pipe, monkeypatch):
    freed = []
    monkeypatch.setattr(pipe, "maybe_free_model_hooks", lambda: freed.append(True))

    def cancel(*_):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        pipe(Image.open(pairs[1][0].source_path), pairs[1][0].target_keypoints, callback_on_step_end=cancel)
    assert freed == [True]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_parts_wait_on_the_cpu(pairs):
    pipe = load_pipeline(CHECKPOINT)
    photo, pose = Image.open(pairs[1][0].source_path), pairs[1][0].target_keypoints
    expected = pipe.to("cuda")(photo, [pose] * 3, STEPS, generator=generators(3), output_type="np").images
    pipe.enable_model_cpu_offload()
    images = pipe(photo, [pose] * 3, STEPS, generator=generators(3), output_type="np").images
    assert pipe.unet.device.type == pipe.conditioner.device.type == "cpu"
    assert np.abs(images - expected).max() < 0.02


SHARES = np.linspace((0, 0), (1, 1), 18)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"pose": []}, "expected at least one image and one pose, got 1 and 0"),
        ({"image": [PHOTO] * 4, "pose": np.full((3, 18, 2), 50)}, "expected 1 or 4 poses for 4 images, got 3"),
        ({"pose": np.zeros((17, 2))}, "expected \\(18, 2\\)"),
        ({"generator": generators(2)}, "expected 1 generators for 1 images, got 2"),
        ({"generator": 3}, "generator has 3, expected torch.Generator"),
        ({"callback_on_step_end": 5}, "callback_on_step_end is 5, expected a function"),
        ({"guidance_scale": 2.0}, "unknown setting 'guidance_scale', expected num_inference_steps, .*guidance_scales"),
        ({"scheduler": "heun"}, "unknown scheduler 'heun', expected one of ddpm"),
        (
            {"guidance_scales": {"up": 1.0}},
            "guidance_scales is {'up': 1.0}, expected scales by name: down, all, plain, full",
        ),
        ({"guidance_scales": {"full": float("nan")}}, "expected finite numbers"),
        ({"guidance_type": "full"}, "guidance_type is 'full'"),
        ({"num_inference_steps": 0}, "num_inference_steps is 0, expected a positive integer"),
        ({"num_inference_steps": 1001}, "num_inference_steps is 1001, expected 1 to 1000"),
        ({"batch_size": 0}, "batch_size is 0, expected 1 or more"),
        ({"num_inference_steps": 51, "scheduler": "lcm"}, "num_inference_steps is 51, expected 1 to 50"),
        ({"guidance_interval": (0.5, 0.2)}, "guidance_interval is \\(0.5, 0.2\\)"),
        ({"output_type": "jpg"}, "output_type is 'jpg'"),
        ({"pose": np.full((18, 2), -1)}, "pose 1: no person found"),
        ({"pose": [SHARES * FRAME, SHARES]}, "pose 2: the skeleton is smaller than 5% .* x 0 to 1, y 0 to 1 in pixels"),
        ({"pose": SHARES * FRAME + FRAME}, "pose 1: the skeleton lies entirely outside the frame of 256 x 176"),
        ({"pose": SHARES * (1e12, 100)}, "pose 1: a keypoint lies far outside the frame"),
    ],
)
def test_bad_calls(pipe, change, message):
    call = {"image": PHOTO, "pose": np.full((18, 2), 50), **change}
    with pytest.raises(InputError, match=message):
        pipe(**call)


def test_steps_that_do_not_begin_at_pure_noise(pipe, monkeypatch):
    leading = scheduler_like("ddim", {**pipe.scheduler.config, "timestep_spacing": "leading"})
    monkeypatch.setattr(pipe, "scheduler", leading)
    with pytest.raises(InputError, match="600 steps of timestep_spacing leading begin at timestep 600 of 1000"):
        pipe(PHOTO, SHARES * FRAME, 600)


def test_a_published_checkpoint(tmp_path):
    config = write_tiny(tmp_path)
    set_seed(1)
    model = build_model(load_config(config))
    weights = published_parameters(model)
    unet = {name: weights.pop(name) for name in list(weights) if name.startswith("model.")}
    torch.save({name: value.detach() for name, value in weights.items()}, tmp_path / "pytorch_model.bin")
    torch.save({name: value.detach() for name, value in unet.items()}, tmp_path / "pytorch_model_1.bin")
    with pytest.raises(InputError, match="--config_file"):
        load_pipeline(tmp_path)
    export(str(tmp_path), tmp_path / "exported", str(config))
    pipe = load_pipeline(tmp_path / "exported")
    own = dict(model.named_parameters())
    assert all(torch.equal(value, own[name]) for name, value in pipe.conditioner.named_parameters())
    assert all(torch.equal(value, own[f"unet.{name}"]) for name, value in pipe.unet.named_parameters())
    with pytest.raises(InputError, match="already exists"):
        export(str(tmp_path), tmp_path / "exported", str(config))
    (tmp_path / "exported" / FILES).unlink()  # as of an older version
    weights = tmp_path / "exported" / "vae" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(weights), weights.with_suffix(".bin"))
    content = weights.read_bytes()
    weights.unlink()
    with pytest.raises(InputError, match="cannot be read as a pipeline"):  # pickles are not
        load_pipeline(tmp_path / "exported")
    weights.write_bytes(content)
    Path(tmp_path / "exported" / "unet" / "config.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read as a pipeline"):
        load_pipeline(tmp_path / "exported")
