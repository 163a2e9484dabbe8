"""Distilling a checkpoint, and what samples from its student."""

import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import LCMScheduler
from PIL import Image
from safetensors.torch import load_file

import pose_transfer_generate
import pose_transfer_test
import pose_transfer_train
from configs import load_config
from diffusion.guidance import EVERYTHING, Branch, guidance_branches
from inference.export import load_pipeline
from inference.sampling_settings import scales_of
from inference.synthesis import Choices, scheduler_of, steps_of
from tests.shared import REPOSITORY
from tests.test_pose_transfer_train import stop_at
from tests.tiny import SHORT, folder_of_run, run_main, short_run, write_tiny
from training.distillation import training_config
from utils.errors import InputError

MOMENTS = "training_state.safetensors"
DISTILL = REPOSITORY / "configs" / "distill.yaml"


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """A config, and a checkpoint trained with it."""
    config = write_tiny(tmp_path_factory.mktemp("taught"))
    assert run_main(pose_transfer_train, *short_run(config, "teacher", "OPTIMIZER.EPOCHS", "1")) == 0
    return config, folder_of_run(config, "teacher").newest()


def distil(taught, name, *more) -> int:
    """Exit status of a run of 5 steps."""
    _, teacher = taught
    settings = [*SHORT, "TEST.NUM_INFERENCE_STEPS", "4", "OPTIMIZER.EPOCHS", "1", "OPTIMIZER.LR", "1e-3"]
    settings += ["OPTIMIZER.WARMUP_STEPS", "0", "OPTIMIZER.EMA_DECAY", "0.5", "ACCELERATE.RUN_NAME", name]
    arguments = ["--config_file", DISTILL, *settings, "MODEL.PRETRAINED_PATH", teacher, *more]
    return run_main(pose_transfer_train, *arguments)


@pytest.fixture(scope="module")
def student(taught) -> Path:
    """A student's checkpoint."""
    assert distil(taught, "student") == 0
    return folder_of_run(taught[0], "student").newest()


def test_a_checkpoint_holds_the_student_whole_and_no_teacher(taught, student):
    before, after = (load_file(folder / "model.safetensors") for folder in (taught[1], student))
    conditioner = {name for name in before if not name.startswith("unet.")}
    assert all(torch.equal(before[name], after[name]) for name in conditioner)
    assert not all(torch.equal(before[name], after[name]) for name in before.keys() - conditioner)
    assert {name.partition(".")[0] for name in after.keys() - conditioner} == {"unet"}


def test_a_student_trains_layers_that_its_teacher_did_not(taught, student):
    layers = ("MODEL.UNET_CONFIG.TRAIN_ALL", "False", "MODEL.UNET_CONFIG.TRAIN_SELF_ATTN_Q", "True")
    assert distil(taught, "attention", *layers) == 0
    attention = folder_of_run(taught[0], "attention").newest()
    teacher, own, moments = (
        {name for name in load_file(path) if "unet." in name}
        for path in (taught[1] / "model.safetensors", attention / "model.safetensors", attention / MOMENTS)
    )
    assert own == {name for name in load_file(student / "model.safetensors") if "unet." in name}
    assert [any("attn1.to_q" in name for name in names) for names in (teacher, moments)] == [False, True]
    assert not any("resnets" in name for name in moments)


def test_going_on_is_the_same_to_the_last_bit(taught, student, monkeypatch, on_cpu):
    with monkeypatch.context() as patch:
        stop_at(patch, 3)
        assert distil(taught, "parts") == 128 + signal.SIGTERM
    run = folder_of_run(taught[0], "parts")
    assert run.newest() == run.checkpoint(0, 3)
    assert distil(taught, "parts") == 0
    for name in ("model.safetensors", "training_state.safetensors"):
        whole, parts = load_file(student / name), load_file(run.newest() / name)
        assert whole.keys() == parts.keys()
        assert [key for key in whole if not torch.equal(whole[key], parts[key])] == []


def images(taught, student, name: str, *more) -> dict[str, np.ndarray]:
    """What the test program makes, by file name."""
    settings = ["ACCELERATE.RUN_NAME", name, "MODEL.PRETRAINED_PATH", student, "TEST.NUM_PAIRS", "3", *more]
    assert run_main(pose_transfer_test, *settings) == 0
    folder = folder_of_run(taught[0], name).generated([64, 56])
    return {path.name: np.array(Image.open(path)) for path in folder.glob("*_vis.png")}


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_the_same_program_samples_in_few_steps_with_one_branch(taught, student, steps, monkeypatch, on_cpu):
    rows, denoise = [], torch.nn.Module.__call__

    def counted(module, *args, **kwargs):
        if type(module).__name__ == "UNet2DConditionModel":
            rows.append(len(args[0]))
        return denoise(module, *args, **kwargs)

    monkeypatch.setattr(torch.nn.Module, "__call__", counted)
    few = images(taught, student, f"steps{steps}", "TEST.NUM_INFERENCE_STEPS", steps)
    assert len(few) == 3 and sum(rows) == 3 * steps


def test_images_do_not_depend_on_the_batch(taught, student):
    together = images(taught, student, "together", "TEST.NUM_INFERENCE_STEPS", "4")
    alone = images(taught, student, "alone", "TEST.NUM_INFERENCE_STEPS", "4", "TEST.MICRO_BATCH_SIZE", "1")
    assert all(np.array_equal(together[name], alone[name]) for name in together | alone)


def test_a_pipeline_of_it_keeps_its_scheduler_at_every_care(student):
    pipe = load_pipeline(student)
    assert isinstance(pipe.scheduler, LCMScheduler) and pipe.sampling.guidance_type == "uc_full"
    assert [steps_of(pipe, Choices(preset=name)) for name in ("fast", "standard", "fine")] == [2, 4, 10]
    assert scheduler_of(pipe, Choices(preset="fast")) is None
    demo = load_pipeline(REPOSITORY / "pretrained_models" / "demo" / "checkpoint")
    assert scheduler_of(demo, Choices(preset="fast")) == "unipc"


def test_the_fast_preset_uses_the_student_in_the_folder_of_its_teacher(taught, student, tmp_path):
    both = tmp_path / "both"
    shutil.copytree(taught[1], both)
    shutil.copytree(student, both / "student")
    Image.new("RGB", (88, 128), "gray").save(tmp_path / "me.png")

    def generated(checkpoint: Path, *more: str) -> np.ndarray:
        torch.manual_seed(0)  # the tiny VAE is random
        options = ("--source", tmp_path / "me.png", "--pose", "standing_front", "--output", tmp_path / "out", *more)
        assert run_main(pose_transfer_generate, *options, "--checkpoint", checkpoint) == 0
        return np.asarray(Image.open(tmp_path / "out" / "me_to_standing_front.png"))

    fast = generated(both, "--preset", "fast")
    assert np.array_equal(fast, generated(student, "--preset", "fast"))
    few = ("--preset", "fast", "--steps", "2")  # a chosen number of steps is that of the teacher
    assert np.array_equal(generated(both, *few), generated(taught[1], *few))
    assert not np.array_equal(fast, generated(taught[1], *few))


@pytest.mark.parametrize(
    "settings, message",
    [
        (["MODEL.PRETRAINED_PATH", ""], "MODEL.PRETRAINED_PATH is empty, expected a checkpoint folder"),
        (
            ["MODEL.UNET_CONFIG.TRAIN_ALL", "False", "MODEL.UNET_CONFIG.TRAINABLE_BLOCK_IDX", "[]"],
            "the student has no trained layer",
        ),
        (["TEST.FULL_GUIDANCE_SCALE", "2"], "sample with guidance, but a student is sampled without"),
        (["TEST.NUM_INFERENCE_STEPS", "51"], "TEST.NUM_INFERENCE_STEPS is 51; the scheduler has 50 timesteps"),
        (
            ["MODEL.SCHEDULER_CONFIG.ORIGINAL_INFERENCE_STEPS", "2000"],
            "ORIGINAL_INFERENCE_STEPS is 2000; the scheduler has 1000 timesteps",
        ),
        (["DISTILL.GUIDANCE_TYPE", "much"], "DISTILL.GUIDANCE_TYPE is 'much', expected one of uc_full"),
    ],
)
def test_mistakes_are_one_line(taught, settings, message, capsys):
    capsys.readouterr()
    assert distil(taught, "mistake", *settings) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not folder_of_run(taught[0], "mistake").root.exists()


def test_the_config_is_the_teachers_with_differences(taught):
    config, teacher = taught
    opts = ["MODEL.PRETRAINED_PATH", str(teacher)]
    own, given, ordinary = (training_config(files, opts) for files in ([DISTILL], [config, DISTILL], [config]))
    assert own.MODEL.DECODER_CONFIG == given.MODEL.DECODER_CONFIG == load_config(config).MODEL.DECODER_CONFIG
    assert (own.TEST.NUM_PAIRS, given.TEST.NUM_PAIRS, ordinary.TEST.NUM_PAIRS) == (1, 0, 0)  # 1 in the teacher's own
    names = [cfg.ACCELERATE.RUN_NAME for cfg in (own, given, ordinary, training_config([DISTILL, config], opts))]
    assert names == ["distilled", "distilled", "run", "run"]
    assert training_config([DISTILL, config], opts).TEST.NUM_PAIRS == 1
    assert training_config([config], [*opts, "DISTILL.ENABLED", "True"]).TEST.NUM_PAIRS == 0
    assert training_config([DISTILL], [*opts, "DISTILL.ENABLED", "False"]).TEST.NUM_PAIRS == 0


def test_nothing_of_the_teachers_schedule_is_left(tmp_path):
    (tmp_path / "config.yaml").write_text(
        "{ACCELERATE: {RESUME: False}, MODEL: {LAST_EPOCH: 9}, OPTIMIZER: {SCALE_LR: True, OVERRIDE_LR: 0.1, "
        "MAX_MINUTES: 2.5, MAX_STEPS: 77, MUON_RATE: 1.0, EMA_WIDTH: 0.1, EMA_DECAY: 0.0, DECAY_EPOCHS: [1]}, "
        "INPUT: {BATCH_SIZE: 7}}"
    )
    cfg, alone = (training_config([DISTILL], ["MODEL.PRETRAINED_PATH", path]) for path in (str(tmp_path), "nowhere"))
    assert cfg.OPTIMIZER == alone.OPTIMIZER and cfg.ACCELERATE == alone.ACCELERATE and cfg.MODEL.LAST_EPOCH == 0
    assert cfg.INPUT.BATCH_SIZE == 7


def test_a_config_from_a_pipe_is_read_once(taught):
    read, write = os.pipe()
    os.write(write, DISTILL.read_bytes())
    os.close(write)
    cfg = training_config([f"/dev/fd/{read}"], ["MODEL.PRETRAINED_PATH", str(taught[1])])
    os.close(read)
    assert cfg.DISTILL.ENABLED and cfg.ACCELERATE.RUN_NAME == "distilled" and cfg.TEST.NUM_PAIRS == 1


def test_a_published_teacher_is_described_by_a_file(taught, tmp_path):
    (tmp_path / "config.yaml").write_text("half")  # of something else
    cfg = training_config([taught[0], DISTILL], ["MODEL.PRETRAINED_PATH", str(tmp_path)])
    assert cfg.MODEL.DECODER_CONFIG.CTX_DIM == 16 and cfg.MODEL.UNET_CONFIG.TRAIN_ALL
    with pytest.raises(InputError, match="config.yaml: expected a mapping"):
        training_config([DISTILL], ["MODEL.PRETRAINED_PATH", str(tmp_path)])


def test_a_student_does_not_inherit_its_teachers_weak_model(taught, tmp_path):
    (tmp_path / "weak.yaml").write_text("TEST:\n  AUTOGUIDANCE_PATH: weak\n  AUTOGUIDANCE_SCALE: 1.5\n")
    cfg = training_config([taught[0], tmp_path / "weak.yaml", DISTILL], ["MODEL.PRETRAINED_PATH", str(taught[1])])
    test = cfg.TEST
    assert (test.AUTOGUIDANCE_PATH, test.AUTOGUIDANCE_SCALE) == ("", 1.0)


def test_the_demo_config_folds_in_weak_guidance(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    cfg = training_config(["configs/distill.yaml", "configs/demo_distill.yaml"], [])
    teacher = load_config("pretrained_models/demo/checkpoint/config.yaml")
    assert cfg.MODEL.COND_STAGE_CONFIG == teacher.MODEL.COND_STAGE_CONFIG and cfg.OPTIMIZER.MAX_MINUTES == 10
    folded, own = (guidance_branches(group.GUIDANCE_TYPE, scales_of(group)) for group in (cfg.DISTILL, teacher.TEST))
    assert own == [(EVERYTHING, 1.0)]
    assert [branch for branch, _ in folded] == [Branch({"pose"}), EVERYTHING]
    assert [coefficient for _, coefficient in folded] == pytest.approx([-0.2, 1.2])
