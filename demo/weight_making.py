"""What the demo weights are made of; `demo.demo_weights` is the program."""

import json
import math
import time
from argparse import Namespace
from collections import defaultdict
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.transforms.functional import normalize as standardize
from tqdm import tqdm
from transformers import CLIPVisionConfig, CLIPVisionModel
from yacs.config import CfgNode

from configs import load_config
from inference.pipeline_options import STUDENT
from models import CFLD, build_model, load_checkpoint, save_checkpoint
from models.perception_refined_decoder import CLIP_MEAN, CLIP_STD
from models.pretrained_parts import part_digests
from utils.errors import InputError
from utils.files import read_record, write_text
from utils.image_files import open_image
from utils.image_tensors import resize_to_bytes, signed_range, unit_range

from .encoder_pretraining import EncoderPretraining, labeled_images
from .vae_training import SIZE, crop_loss, decoder_loss, sampled_pairs

CONFIG = "configs/demo.yaml"
STUDENT_CONFIGS = (CONFIG, "configs/distill.yaml", "configs/demo_distill.yaml")
PROMPT_ONLY = (CONFIG, "configs/ablation_study/no_app.yaml")
SAMPLES = 5_000  # pairs whose sampled latents the VAE's decoder is trained on
SWIN = "swin/model.safetensors"
PARTS = {  # by setting: where the part lies in the folder of the parts
    "MODEL.FIRST_STAGE_CONFIG.PRETRAINED_PATH": "vae",
    "MODEL.UNET_CONFIG.PRETRAINED_PATH": "unet",
    "MODEL.SCHEDULER_CONFIG.PRETRAINED_PATH": "scheduler",
    "MODEL.COND_STAGE_CONFIG.PRETRAINED_PATH": SWIN,
}
START = {"epoch": 0, "step": 0}
TRAIN_ALL = ("MODEL.UNET_CONFIG.TRAIN_ALL", "True")


def demo_config(parts: Path, *opts: str, files: str | tuple[str, ...] = CONFIG) -> CfgNode:
    """Load the config of `files` with the parts in the folder `parts` and KEY VALUE pairs `opts`."""
    return load_config(files, [*(text for key, name in PARTS.items() for text in (key, str(parts / name))), *opts])


def seeded_model(cfg: CfgNode) -> CFLD:
    """Build the model of a config with new parameters that follow from its seed."""
    torch.manual_seed(cfg.ACCELERATE.SEED)
    return build_model(cfg)


def load_images(folder: Path) -> tuple[Tensor, list[str]]:
    """Load every JPEG file below `folder` as (N, 3, SIZE, SIZE) uint8, and the name of each file's folder (the person).

    Raises:
        InputError: there is no JPEG file.
    """
    paths = sorted(folder.rglob("*.jpg"))
    if not paths:
        raise InputError(f"{folder}: no .jpg below it; draw people with `python -m demo.drawn_people`")
    progress = tqdm(paths, desc="reading", unit="image")
    images = torch.stack([resize_to_bytes(open_image(path), (SIZE, SIZE)) for path in progress])
    return images, [path.parent.name for path in paths]


def optimize(modules: nn.Module, minutes: float, lr: float, loss_of: Callable[[int], Tensor], name: str) -> None:
    """Train `modules` on the loss of each step with Adam for `minutes` of wall-clock time.

    The learning rate follows a half cosine from its peak `lr`. The progress bar shows `name`.
    """
    parameters = [p for p in modules.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=lr)
    start, step, seconds = time.monotonic(), 0, minutes * 60
    with tqdm(desc=name, total=round(seconds), unit="s") as bar:
        while (elapsed := time.monotonic() - start) < seconds:
            warmup = min(1.0, (step + 1) / 50)
            optimizer.param_groups[0]["lr"] = lr * warmup * 0.5 * (1 + math.cos(math.pi * elapsed / seconds))
            loss = loss_of(step)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            step += 1
            if step % 20 == 0:
                bar.set_postfix(step=step, loss=f"{loss.item():.4f}")
                bar.update(round(elapsed) - bar.n)


def make_vae(parts: Path, images: Tensor, heads: Tensor, minutes: float) -> None:
    """Train the VAE from random weights; print its reconstruction error."""
    torch.manual_seed(0)
    vae = AutoencoderKL.from_config(AutoencoderKL.load_config(str(parts / "vae")))
    vae = vae.to(memory_format=torch.channels_last).train()
    spread = slice(vae.config.latent_channels, None)  # start with a narrow posterior: standard deviation e^-3
    with torch.no_grad():
        vae.quant_conv.weight[spread] = 0.0
        vae.quant_conv.bias[spread] = -6.0
    optimize(vae, minutes, 3e-3, partial(crop_loss, vae, images, heads), "VAE")
    pixels = signed_range(images[torch.randperm(len(images))[:256]])
    with torch.no_grad():
        latents = vae.eval().encode(pixels).latent_dist.mean
        decoded = vae.decode(latents).sample.clamp(-1, 1)
    error = (decoded - pixels).div(2).square().mean(dim=(1, 2, 3))
    print(f"reconstruction: {(-10 * error.log10()).mean():.2f} dB PSNR on {len(pixels)} images")
    vae.register_to_config(scaling_factor=round(1 / latents.std().item(), 5))
    save_half(vae, parts / "vae")


def make_decoder(parts: Path, checkpoint: Path, dataset: Path, minutes: float) -> None:
    """Train the VAE's decoder on latents that a model which was trained as a whole samples of a prepared dataset."""
    cfg = demo_config(parts, *TRAIN_ALL, "INPUT.ROOT_DIR", str(dataset))
    model = seeded_model(cfg)
    load_checkpoint(model, checkpoint)
    samples = sampled_pairs(cfg, model.requires_grad_(False), SAMPLES)
    vae = model.vae.to(memory_format=torch.channels_last).train()
    for part in (vae.post_quant_conv, vae.decoder):
        part.requires_grad_(True)
    optimize(vae, minutes, 5e-4, lambda step: decoder_loss(vae, model.appearance_encoder, samples), "decoder")
    save_half(vae, parts / "vae")


def make_clip(parts: Path, images: Tensor, people: list[str], minutes: float) -> None:
    """Train a CLIP vision tower to match two images of the same person (InfoNCE, CLIP's loss)."""
    torch.manual_seed(0)
    clip = CLIPVisionModel(CLIPVisionConfig.from_pretrained(parts / "clip")).train()
    scale = nn.Parameter(torch.tensor(10.0).log())
    rows_of = defaultdict(list)
    for row, person in enumerate(people):
        rows_of[person].append(row)
    groups = [torch.tensor(rows) for rows in rows_of.values() if len(rows) > 1]

    def loss_of(step: int) -> Tensor:
        chosen = [groups[i] for i in torch.randperm(len(groups))[:64].tolist()]
        pairs = torch.stack([rows[torch.randperm(len(rows))[:2]] for rows in chosen])  # (batch, 2)
        pixels = standardize(unit_range(images[pairs.T.flatten()]), CLIP_MEAN, CLIP_STD)
        embedding = F.normalize(clip(pixel_values=pixels).pooler_output.float(), dim=1)
        first, second = embedding.chunk(2)
        similarity = scale.exp() * first @ second.T  # (batch, batch)
        same = torch.arange(len(similarity))
        return (F.cross_entropy(similarity, same) + F.cross_entropy(similarity.T, same)) / 2

    optimize(nn.ModuleList([clip, nn.ParameterList([scale])]), minutes, 1e-3, loss_of, "CLIP")
    save_half(clip, parts / "clip")


def init_parts(parts: Path) -> None:
    """Write random weights of the U-Net and the Swin transformer, the start of their training."""
    save_trained_parts(seeded_model(demo_config(parts, "MODEL.RANDOM_WEIGHTS", "True")), parts)


def make_encoder(parts: Path, people: int, minutes: float) -> None:
    """Pretrain the appearance encoder and the decoder; write `start`, a checkpoint without attention biases."""
    cfg = demo_config(parts, *TRAIN_ALL, files=PROMPT_ONLY)
    model = seeded_model(cfg).train()
    images, labels, _ = labeled_images(people, SIZE)
    pretraining = EncoderPretraining(model, images, labels)
    optimize(pretraining, minutes, 1e-3, lambda step: pretraining(32), "encoder")
    _save(parts / "start", model, cfg)


def add_branches(parts: Path, checkpoint: Path) -> None:
    """Add hybrid-granularity attention, without effect yet, to a checkpoint; write `start_with_branches`."""
    prompt_only = build_model(demo_config(parts, *TRAIN_ALL, files=PROMPT_ONLY))
    load_checkpoint(prompt_only, checkpoint)
    cfg = demo_config(parts, *TRAIN_ALL)
    model = seeded_model(cfg)
    model.load_state_dict(prompt_only.state_dict(), strict=False)
    _save(parts / "start_with_branches", model, cfg)


def split_checkpoint(parts: Path, checkpoint: Path) -> None:
    """Write the parts of a model that was trained as a whole, and what CONFIG trains as the finished `checkpoint`."""
    model = build_model(demo_config(parts, *TRAIN_ALL))
    progress = load_checkpoint(model, checkpoint)
    save_trained_parts(model, parts)
    cfg = demo_config(parts)
    small = build_model(cfg)
    small.load_state_dict(model.state_dict())
    facts = {"epoch": progress["epoch"], "step": progress["step"], "parts": part_digests(cfg)}
    _save(parts / "checkpoint", small.half(), load_config(CONFIG), facts)


def save_student(parts: Path, checkpoint: Path) -> None:
    """Write a student that was distilled from the finished `checkpoint` into its folder, with 16-bit weights."""
    student = build_model(demo_config(parts, files=STUDENT_CONFIGS))
    progress = load_checkpoint(student, checkpoint)
    facts = {name: progress[name] for name in ("epoch", "step", "parts")}
    _save(parts / "checkpoint" / STUDENT, student.half(), load_config(STUDENT_CONFIGS), facts)


def save_trained_parts(model: CFLD, parts: Path) -> None:
    """Write the U-Net, and the appearance encoder's Swin transformer with timm's names, with 16-bit weights."""
    save_half(deepcopy(model.unet), parts / "unet")
    (parts / SWIN).parent.mkdir(parents=True, exist_ok=True)
    weights = {name: value.half().contiguous() for name, value in model.appearance_encoder.swin.state_dict().items()}
    save_file(weights, parts / SWIN, metadata={"format": "pt"})


def save_half(model: nn.Module, folder: Path) -> None:
    """Save a diffusers or transformers model with 16-bit weights, without the path it was loaded from."""
    model.to(memory_format=torch.contiguous_format).half().save_pretrained(folder, safe_serialization=True)
    config = read_record(folder / "config.json")
    config.pop("_name_or_path", None)
    write_text(folder / "config.json", json.dumps(config, indent=2, sort_keys=True) + "\n")


def _save(folder: Path, model: CFLD, cfg: CfgNode, progress: Mapping = START) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_checkpoint(folder, model, cfg, progress, {})


def make(options: Namespace) -> None:
    """Make the part that the options of `demo.demo_weights` select."""
    parts = options.parts
    match options.part:
        case "vae":
            images, _, heads = labeled_images(options.people, SIZE)
            make_vae(parts, images, heads, options.minutes)
        case "decoder":
            make_decoder(parts, options.checkpoint, options.dataset, options.minutes)
        case "clip":
            make_clip(parts, *load_images(options.images), options.minutes)
        case "init":
            init_parts(parts)
        case "encoder":
            make_encoder(parts, options.people, options.minutes)
        case "branches":
            add_branches(parts, options.checkpoint)
        case "split":
            split_checkpoint(parts, options.checkpoint)
        case "student":
            save_student(parts, options.checkpoint)
