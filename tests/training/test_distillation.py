"""The student: what it takes over, what it trains, what its checkpoints hold."""

import pytest
import torch

from diffusion.guidance import EVERYTHING, Scales, guidance_branches
from inference.generation import guided_denoiser
from models import build_model, load_checkpoint, save_checkpoint
from models.checkpoints import trained_parameters
from tests.models.test_cfld import batch_of, build
from tests.models.variants import variant_config
from training.distillation import ConsistencyStudent, build_student
from utils.errors import InputError

STUDENT = {
    "MODEL": {"UNET_CONFIG": {"TRAIN_ALL": True}, "COND_STAGE_CONFIG": {"DROP_PATH_RATE": 0.5}},
    "TEST": {"GUIDANCE_TYPE": "uc_full", "FULL_GUIDANCE_SCALE": 1.0},
}
GUIDED = guidance_branches("uc_down_full", Scales())


def student_of(tmp_path, name: str = "default", guidance=GUIDED) -> tuple[ConsistencyStudent, dict]:
    cfg = variant_config(name, tmp_path, STUDENT)
    return ConsistencyStudent(build(cfg), guidance, 10).train(), batch_of(cfg)


@pytest.mark.parametrize("name", ["default", "pose_query", "clip_model"])
@torch.no_grad()
def test_a_student_begins_as_its_teacher(name, tmp_path):
    student, batch = student_of(tmp_path, name)
    conditions = student.encode(batch["img_cond"], batch["pose_img_tgt"])
    latents, timesteps = torch.randn(2, 4, 8, 8), torch.tensor([300, 700])
    alone = guided_denoiser(student, student.teacher, conditions, [(EVERYTHING, 1.0)])(latents, timesteps)
    torch.testing.assert_close(student.denoise(latents, timesteps, conditions), alone, rtol=0, atol=1e-5)
    both = guided_denoiser(student, student.teacher, conditions, GUIDED)
    assert (both(latents, timesteps) - alone).abs().max() > 1e-4
    torch.testing.assert_close(both(latents, timesteps)[1:], both(latents, timesteps[1])[1:])  # a row, its timestep


def test_a_student_takes_every_part_of_the_conditioner(tmp_path):
    model = build(variant_config("pose_query", tmp_path, STUDENT))
    student = ConsistencyStudent(model, GUIDED, 10)
    parts = model.components
    assert parts["pose_query"] and student.components == parts
    assert student.state_dict().keys() - {f"teacher.{name}" for name in model.unet.state_dict()} == set(
        model.state_dict()
    )


def test_training_changes_the_unet_alone_and_lowers_the_loss(tmp_path):
    student, batch = student_of(tmp_path)
    assert student.unet.training and not any(
        module.training for name, part in student.named_children() if name != "unet" for module in part.modules()
    )
    before = {name: p.clone() for name, p in student.named_parameters()}
    optimizer = torch.optim.Adam(trained_parameters(student).values(), lr=1e-4)
    losses = []
    for _ in range(5):
        loss = student(batch)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.8 * losses[0]
    changed = {name for name, p in student.named_parameters() if not torch.equal(p, before[name])}
    assert (
        changed == trained_parameters(student).keys() == {f"unet.{name}" for name, _ in student.unet.named_parameters()}
    )


def test_every_weight_gets_a_gradient_under_autocast(tmp_path):
    student, batch = student_of(tmp_path)
    with torch.autocast("cpu", torch.bfloat16):
        loss = student(batch)
    loss.backward()
    assert [name for name, p in trained_parameters(student).items() if p.grad is None] == []


def test_the_guidance_is_the_teachers(tmp_path):
    losses = []
    for scale in (1.0, 4.0):
        student, batch = student_of(tmp_path, guidance=guidance_branches("uc_full", Scales(full=scale)))
        losses.append(student(batch).item())
    assert abs(losses[0] - losses[1]) > 1e-4


@pytest.mark.parametrize("blocks", [[11], [11, 3]])
def test_a_checkpoint_is_the_student_whole(blocks, tmp_path):
    changes = {**STUDENT, "MODEL": {"UNET_CONFIG": {"TRAINABLE_BLOCK_IDX": blocks}}}
    teacher_cfg, cfg = variant_config("default", tmp_path), variant_config("default", tmp_path, changes)
    cfg.defrost()
    cfg.MODEL.PRETRAINED_PATH = str(tmp_path / "teacher")
    (tmp_path / "teacher").mkdir()
    save_checkpoint(tmp_path / "teacher", build(teacher_cfg), teacher_cfg, {}, {})
    student = build_student(cfg)
    assert len(trained_parameters(student)) == 2 * len(blocks)
    held = {**student.inherited, **trained_parameters(student)}
    parts = {name for name, _ in build_model(cfg).named_parameters() if not name.startswith("vae.")}
    assert held.keys() == parts
    taught, own = {}, dict(student.named_parameters())
    load_checkpoint(student, tmp_path / "teacher")
    for name, value in student.inherited.items():
        taught[name] = torch.equal(value, own[name])
    assert all(taught.values())


def test_a_student_of_the_clip_ablation_does_not_hold_clip(tmp_path):
    cfg = variant_config("clip_model", tmp_path, STUDENT)
    cfg.defrost()
    cfg.MODEL.PRETRAINED_PATH = str(tmp_path / "teacher")
    (tmp_path / "teacher").mkdir()
    save_checkpoint(tmp_path / "teacher", build(cfg), cfg, {}, {})
    held = build_student(cfg).inherited
    assert any(name.startswith("prompt_decoder.") for name in held)
    assert not any(name.startswith("prompt_decoder.clip.") for name in held)


def test_what_cannot_be_distilled(tmp_path):
    with pytest.raises(InputError, match="TEST.GUIDANCE_TYPE uc_down_full and its scales sample with guidance"):
        build_student(variant_config("default", tmp_path))
    with pytest.raises(InputError, match="no checkpoint"):
        build_student(variant_config("default", tmp_path, STUDENT))
