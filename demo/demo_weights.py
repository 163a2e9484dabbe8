"""Making the demo weights from drawn people: the parts that stand for public weights, and the final split.

    python -m demo.demo_weights vae      --images DIR --minutes 20
    python -m demo.demo_weights clip     --images DIR --minutes 5
    python -m demo.demo_weights init
    python -m demo.demo_weights encoder  --people 24000 --minutes 40
    python -m demo.demo_weights branches --checkpoint DIR
    python -m demo.demo_weights split    --checkpoint DIR

`scripts/make_demo_weights.sh` runs the whole of it; sizes are those of `pretrained_models/demo/*/config.json`.
"""

import json
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, UNet2DConditionModel
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm
from transformers import CLIPVisionConfig, CLIPVisionModel
from yacs.config import CfgNode

from configs import load_config
from configs.values import value_at
from models import CFLD, build_model, load_checkpoint, save_checkpoint
from models.frozen_parts import part_digests
from models.perception_refined_decoder import CLIP_MEAN, CLIP_STD
from models.pretrained_parts import load_part
from utils.command_line import Parser
from utils.errors import InputError, one_line_errors
from utils.files import check_writable, read_record, write_text
from utils.image_tensors import normalize, unit_range

from .attributes import labelled_photos
from .encoder_pretraining import EncoderPretraining

CONFIG = "configs/demo.yaml"
PROMPT_ALONE = (CONFIG, "configs/ablation_study/no_app.yaml")
SIZE = 128  # pixels a side of the demo's images
PARTS = {  # settings that name the parts, and where below the folder of the parts they lie
    "MODEL.FIRST_STAGE_CONFIG.PRETRAINED_PATH": "vae",
    "MODEL.UNET_CONFIG.PRETRAINED_PATH": "unet",
    "MODEL.SCHEDULER_CONFIG.PRETRAINED_PATH": "scheduler",
    "MODEL.COND_STAGE_CONFIG.PRETRAINED_PATH": "swin/model.safetensors",
}
# option without which no part
NEEDED = {"vae": "images", "clip": "images", "branches": "checkpoint", "split": "checkpoint"}


def load_images(folder: Path) -> tuple[Tensor, list[str]]:
    """Every JPEG below `folder` as (N, 3, SIZE, SIZE) uint8, and the folder (the person) of each."""
    paths = sorted(folder.rglob("*.jpg"))
    if not paths:
        raise InputError(f"{folder}: no .jpg below it; draw people with `python -m demo.drawn_people`")
    images = torch.empty(len(paths), 3, SIZE, SIZE, dtype=torch.uint8)
    for i, path in enumerate(tqdm(paths, desc="reading", unit="image")):
        with Image.open(path) as image:
            image.draft("RGB", (2 * SIZE, 2 * SIZE))
            small = image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC)
        images[i] = torch.frombuffer(bytearray(small.tobytes()), dtype=torch.uint8).view(SIZE, SIZE, 3).permute(2, 0, 1)
    return images, [path.parent.name for path in paths]


def train(modules: nn.Module, minutes: float, lr: float, loss_of: Callable[[int], Tensor], name: str) -> None:
    """Adam for some minutes of wall time with a learning rate falling as a half cosine over them."""
    parameters = [p for p in modules.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=lr)
    start, step, mean_loss = time.monotonic(), 0, 0.0
    with tqdm(desc=name, total=round(minutes * 60), unit="s") as bar:
        while (elapsed := time.monotonic() - start) < minutes * 60:
            share = elapsed / (minutes * 60)
            warmup = min(1.0, (step + 1) / 50)
            optimizer.param_groups[0]["lr"] = lr * warmup * 0.5 * (1 + torch.cos(torch.tensor(share * torch.pi))).item()
            loss = loss_of(step)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            step += 1
            mean_loss = loss.item() if step == 1 else 0.95 * mean_loss + 0.05 * loss.item()
            if step % 20 == 0:
                bar.set_postfix(step=step, loss=f"{loss.item():.4f}")
                bar.update(round(elapsed) - bar.n)


def make_vae(parts: Path, images: Tensor, minutes: float, batch: int = 32, crop: int = 64) -> None:
    """An autoencoder for small crops: squared and absolute error, and a slight pull to a normal posterior."""
    torch.manual_seed(0)
    vae = AutoencoderKL.from_config(AutoencoderKL.load_config(str(parts / "vae")))
    vae = vae.to(memory_format=torch.channels_last).train()
    spread = slice(vae.config.latent_channels, None)  # the posterior starts narrow: standard deviation e^-3
    with torch.no_grad():
        vae.quant_conv.weight[spread] = 0.0
        vae.quant_conv.bias[spread] = -6.0

    def loss_of(step: int) -> Tensor:
        rows = torch.randint(len(images), (batch,))
        y, x = torch.randint(0, SIZE - crop + 1, (2,)).tolist()
        pixels = normalize(unit_range(images[rows, :, y : y + crop, x : x + crop]))
        if step % 2:
            pixels = pixels.flip(3)
        posterior = vae.encode(pixels.contiguous(memory_format=torch.channels_last)).latent_dist
        decoded = vae.decode(posterior.sample()).sample.float()
        return F.mse_loss(decoded, pixels) + 0.1 * F.l1_loss(decoded, pixels) + 1e-6 * posterior.kl().mean()

    train(vae, minutes, 3e-3, loss_of, "VAE")
    vae.eval()
    with torch.no_grad():
        rows = torch.randperm(len(images))[:256]
        pixels = normalize(unit_range(images[rows]))
        latents = vae.encode(pixels).latent_dist.mean
        decoded = vae.decode(latents).sample.clamp(-1, 1)
    error = (decoded - pixels).div(2).square().mean(dim=(1, 2, 3))
    print(f"reconstruction: {(-10 * error.log10()).mean():.2f} dB PSNR on {len(rows)} images")
    vae.register_to_config(scaling_factor=round(1 / latents.std().item(), 5))
    save_half(vae, parts / "vae")


def make_clip(parts: Path, images: Tensor, people: list[str], minutes: float, batch: int = 64) -> None:
    """A vision tower that tells people apart: two photos of a person should agree (InfoNCE, CLIP's loss)."""
    torch.manual_seed(0)
    clip = CLIPVisionModel(CLIPVisionConfig.from_pretrained(parts / "clip")).train()
    scale = nn.Parameter(torch.tensor(10.0).log())
    rows_of: dict[str, list[int]] = {}
    for row, person in enumerate(people):
        rows_of.setdefault(person, []).append(row)
    groups = [torch.tensor(rows) for rows in rows_of.values() if len(rows) > 1]
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (CLIP_MEAN, CLIP_STD))

    def loss_of(step: int) -> Tensor:
        chosen = [groups[i] for i in torch.randperm(len(groups))[:batch].tolist()]
        pairs = torch.stack([rows[torch.randperm(len(rows))[:2]] for rows in chosen])  # (batch, 2)
        pixels = (images[pairs.T.flatten()].float() / 255 - mean) / std
        embedding = F.normalize(clip(pixel_values=pixels).pooler_output.float(), dim=1)
        first, second = embedding.chunk(2)
        similarity = scale.exp() * first @ second.T  # (batch, batch)
        same = torch.arange(len(similarity))
        return (F.cross_entropy(similarity, same) + F.cross_entropy(similarity.T, same)) / 2

    train(nn.ModuleList([clip, nn.ParameterList([scale])]), minutes, 1e-3, loss_of, "CLIP")
    save_half(clip, parts / "clip")


def init_parts(cfg: CfgNode) -> None:
    """Write random weights of the U-Net and the Swin transformer, to train all of both from."""
    torch.manual_seed(cfg.ACCELERATE.SEED)
    unet = load_part(UNet2DConditionModel, cfg.MODEL.UNET_CONFIG.PRETRAINED_PATH, random_weights=True)
    save_half(unet, Path(cfg.MODEL.UNET_CONFIG.PRETRAINED_PATH))
    random = load_config(CONFIG, ["MODEL.RANDOM_WEIGHTS", "True"])
    save_swin(build_model(random), Path(cfg.MODEL.COND_STAGE_CONFIG.PRETRAINED_PATH))


def make_encoder(cfg: CfgNode, people: int, start: Path, minutes: float, batch: int = 32) -> None:
    """Pretrain the appearance encoder and the decoder; a checkpoint without branches, to train the U-Net from."""
    torch.manual_seed(cfg.ACCELERATE.SEED)
    cfg = _whole(cfg, PROMPT_ALONE)
    model = build_model(cfg).train()
    task = EncoderPretraining(model, *labelled_photos(people, SIZE))
    train(task, minutes, 1e-3, lambda step: task(batch), "encoder")
    start.mkdir(parents=True, exist_ok=True)
    save_checkpoint(start, model, cfg, {"epoch": 0, "step": 0}, {})


def add_branches(cfg: CfgNode, checkpoint: Path, start: Path) -> None:
    """Give a checkpoint without branches the ones of the config, which change nothing before they are trained."""
    torch.manual_seed(cfg.ACCELERATE.SEED)
    without, cfg = build_model(_whole(cfg, PROMPT_ALONE)), _whole(cfg, CONFIG)
    load_checkpoint(without, checkpoint)
    model = build_model(cfg)
    model.load_state_dict(without.state_dict(), strict=False)
    start.mkdir(parents=True, exist_ok=True)
    save_checkpoint(start, model, cfg, {"epoch": 0, "step": 0}, {})


def split_checkpoint(cfg: CfgNode, checkpoint: Path, finished: Path) -> None:
    """Cut a checkpoint of the whole model into the parts it was trained with and the finished checkpoint.

    The finished checkpoint holds what `configs/demo.yaml` trains; the rest of the U-Net becomes its part.
    """
    model = build_model(_whole(cfg, CONFIG))
    progress = load_checkpoint(model, checkpoint)
    save_half(deepcopy(model.unet), Path(cfg.MODEL.UNET_CONFIG.PRETRAINED_PATH))
    save_swin(model, Path(cfg.MODEL.COND_STAGE_CONFIG.PRETRAINED_PATH))
    finished.mkdir(parents=True, exist_ok=True)
    small = build_model(cfg)
    small.load_state_dict(model.state_dict())
    facts = {"epoch": progress["epoch"], "step": progress["step"], "parts": part_digests(cfg)}
    save_checkpoint(finished, small.half(), load_config(CONFIG), facts, {})


def save_swin(model: CFLD, path: Path) -> None:
    """Write the appearance encoder's Swin transformer under timm's names with 16-bit weights."""
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {name: value.half().contiguous() for name, value in model.appearance_encoder.swin.state_dict().items()}
    save_file(weights, path, metadata={"format": "pt"})


def save_half(model: nn.Module, folder: Path) -> None:
    """Save a diffusers or transformers model with 16-bit weights; its config does not say where it came from."""
    model.to(memory_format=torch.contiguous_format).half().save_pretrained(folder, safe_serialization=True)
    config = read_record(folder / "config.json")
    config.pop("_name_or_path", None)
    write_text(folder / "config.json", json.dumps(config, indent=2, sort_keys=True) + "\n")


def _flat(cfg: CfgNode) -> list[str]:
    """The paths of the parts as KEY VALUE pairs."""
    return [item for key in PARTS for item in (key, str(value_at(cfg, key)))]


def _whole(cfg: CfgNode, files: str | Sequence[str]) -> CfgNode:
    """The config of files with the parts of another one, all of the U-Net trained."""
    return load_config(files, [*_flat(cfg), "MODEL.UNET_CONFIG.TRAIN_ALL", "True"])


@one_line_errors
def main(arguments: list[str] | None = None) -> None:
    parser = Parser(__doc__, prog="python -m demo.demo_weights")
    parser.add_argument(
        "part", choices=["vae", "clip", "init", "encoder", "branches", "split"], help="which parts to make"
    )
    parser.add_argument("--images", type=Path, help="folder with drawn photos (vae, clip)")
    parser.add_argument("--people", type=int, default=24_000, help="people to draw and learn from (encoder)")
    parser.add_argument("--minutes", type=float, default=15.0, help="wall time to train for (vae, clip, encoder)")
    parser.add_argument("--checkpoint", type=Path, help="folder of the trained checkpoint (branches, split)")
    parser.add_argument("--parts", type=Path, default=Path("pretrained_models/demo"), help="folder of the parts")
    options = parser.parse_args(arguments)
    needed = NEEDED.get(options.part)
    if needed and getattr(options, needed) is None:
        raise InputError(f"--{needed} is missing; {options.part} needs it, see --help")
    cfg = load_config(CONFIG, [text for key, place in PARTS.items() for text in (key, str(options.parts / place))])
    check_writable(options.parts, "--parts")
    if options.part == "vae":
        make_vae(options.parts, load_images(options.images)[0], options.minutes)
    elif options.part == "clip":
        make_clip(options.parts, *load_images(options.images), options.minutes)
    elif options.part == "init":
        init_parts(cfg)
    elif options.part == "encoder":
        make_encoder(cfg, options.people, options.parts / "start", options.minutes)
    elif options.part == "branches":
        add_branches(cfg, options.checkpoint, options.parts / "start_with_branches")
    else:
        split_checkpoint(cfg, options.checkpoint, options.parts / "checkpoint")


if __name__ == "__main__":
    main()
