"""Make the demo weights from drawn people: the parts that replace public weights, and the finished checkpoint.

    python -m demo.demo_weights vae      --images DIR --minutes 20
    python -m demo.demo_weights clip     --images DIR --minutes 5
    python -m demo.demo_weights init
    python -m demo.demo_weights encoder  --people 24000 --minutes 40
    python -m demo.demo_weights branches --checkpoint DIR
    python -m demo.demo_weights split    --checkpoint DIR

`scripts/make_demo_weights.sh` runs all of them. The sizes are those of `pretrained_models/demo/*/config.json`.
"""

import json
import math
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, UNet2DConditionModel
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.transforms.functional import pil_to_tensor
from tqdm import tqdm
from transformers import CLIPVisionConfig, CLIPVisionModel
from yacs.config import CfgNode

from configs import load_config
from models import CFLD, build_model, load_checkpoint, save_checkpoint
from models.perception_refined_decoder import CLIP_MEAN, CLIP_STD
from models.pretrained_parts import load_part, part_digests
from utils.command_line import Parser
from utils.errors import InputError, one_line_errors
from utils.files import check_writable, read_record, write_text
from utils.image_tensors import normalize, unit_range

from .attributes import labeled_images
from .encoder_pretraining import EncoderPretraining

CONFIG = "configs/demo.yaml"
PROMPT_ONLY = (CONFIG, "configs/ablation_study/no_app.yaml")
SIZE = 128  # height and width of the demo's images
SWIN = "swin/model.safetensors"
PARTS = {  # by setting: where the part lies in the folder of the parts
    "MODEL.FIRST_STAGE_CONFIG.PRETRAINED_PATH": "vae",
    "MODEL.UNET_CONFIG.PRETRAINED_PATH": "unet",
    "MODEL.SCHEDULER_CONFIG.PRETRAINED_PATH": "scheduler",
    "MODEL.COND_STAGE_CONFIG.PRETRAINED_PATH": SWIN,
}
TRAIN_ALL = ("MODEL.UNET_CONFIG.TRAIN_ALL", "True")
# the option that a command requires
REQUIRED = {"vae": "images", "clip": "images", "branches": "checkpoint", "split": "checkpoint"}


def demo_config(parts: Path, *opts: str, files: str | tuple[str, ...] = CONFIG) -> CfgNode:
    """Load the config of `files` with the parts in the folder `parts` and KEY VALUE pairs `opts`."""
    return load_config(files, [*(text for key, name in PARTS.items() for text in (key, str(parts / name))), *opts])


def load_images(folder: Path) -> tuple[Tensor, list[str]]:
    """Load every JPEG file below `folder` as (N, 3, SIZE, SIZE) uint8, and the name of each file's folder (the person).

    Raises:
        InputError: there is no JPEG file.
    """
    paths = sorted(folder.rglob("*.jpg"))
    if not paths:
        raise InputError(f"{folder}: no .jpg below it; draw people with `python -m demo.drawn_people`")
    images = torch.empty(len(paths), 3, SIZE, SIZE, dtype=torch.uint8)
    for i, path in enumerate(tqdm(paths, desc="reading", unit="image")):
        with Image.open(path) as image:
            image.draft("RGB", (2 * SIZE, 2 * SIZE))
            small = image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC)
        images[i] = pil_to_tensor(small)
    return images, [path.parent.name for path in paths]


def optimize(modules: nn.Module, minutes: float, lr: float, loss_of: Callable[[int], Tensor], name: str) -> None:
    """Train with Adam for `minutes` of wall-clock time; the learning rate follows a half cosine.

    Args:
        modules: the modules to train.
        lr: peak learning rate.
        loss_of: returns the loss of a step.
        name: shown in the progress bar.
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


def make_vae(parts: Path, images: Tensor, minutes: float, batch: int = 32, crop: int = 64) -> None:
    """Train the VAE on small crops: squared and absolute error, and a small KL term of the posterior."""
    torch.manual_seed(0)
    vae = AutoencoderKL.from_config(AutoencoderKL.load_config(str(parts / "vae")))
    vae = vae.to(memory_format=torch.channels_last).train()
    spread = slice(vae.config.latent_channels, None)  # start with a narrow posterior: standard deviation e^-3
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

    optimize(vae, minutes, 3e-3, loss_of, "VAE")
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
    """Train a CLIP vision tower to match two images of the same person (InfoNCE, CLIP's loss)."""
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

    optimize(nn.ModuleList([clip, nn.ParameterList([scale])]), minutes, 1e-3, loss_of, "CLIP")
    save_half(clip, parts / "clip")


def init_parts(parts: Path) -> None:
    """Write random weights of the U-Net and the Swin transformer, the start of their training."""
    torch.manual_seed(demo_config(parts).ACCELERATE.SEED)
    unet = load_part(UNet2DConditionModel, str(parts / "unet"), random_weights=True)
    save_half(unet, parts / "unet")
    save_swin(build_model(load_config(CONFIG, ["MODEL.RANDOM_WEIGHTS", "True"])), parts / SWIN)


def make_encoder(parts: Path, people: int, minutes: float, batch: int = 32) -> None:
    """Pretrain the appearance encoder and the decoder; write `start`, a checkpoint without attention biases."""
    cfg = demo_config(parts, *TRAIN_ALL, files=PROMPT_ONLY)
    torch.manual_seed(cfg.ACCELERATE.SEED)
    model = build_model(cfg).train()
    pretraining = EncoderPretraining(model, *labeled_images(people, SIZE))
    optimize(pretraining, minutes, 1e-3, lambda step: pretraining(batch), "encoder")
    _save(parts / "start", model, cfg, {"epoch": 0, "step": 0})


def add_branches(parts: Path, checkpoint: Path) -> None:
    """Add hybrid-granularity attention to a checkpoint without it; write `start_with_branches`.

    The new branches have no effect until they are trained.
    """
    cfg = demo_config(parts, *TRAIN_ALL)
    torch.manual_seed(cfg.ACCELERATE.SEED)
    prompt_only = build_model(demo_config(parts, *TRAIN_ALL, files=PROMPT_ONLY))
    load_checkpoint(prompt_only, checkpoint)
    model = build_model(cfg)
    model.load_state_dict(prompt_only.state_dict(), strict=False)
    _save(parts / "start_with_branches", model, cfg, {"epoch": 0, "step": 0})


def split_checkpoint(parts: Path, checkpoint: Path) -> None:
    """Split a checkpoint of the whole model into its pretrained parts and the finished `checkpoint`.

    The finished checkpoint holds the parameters that `configs/demo.yaml` trains. The rest of the U-Net becomes a part.
    """
    cfg = demo_config(parts)
    model = build_model(demo_config(parts, *TRAIN_ALL))
    progress = load_checkpoint(model, checkpoint)
    save_half(deepcopy(model.unet), parts / "unet")
    save_swin(model, parts / SWIN)
    small = build_model(cfg)
    small.load_state_dict(model.state_dict())
    facts = {"epoch": progress["epoch"], "step": progress["step"], "parts": part_digests(cfg)}
    _save(parts / "checkpoint", small.half(), load_config(CONFIG), facts)


def save_swin(model: CFLD, path: Path) -> None:
    """Write the appearance encoder's Swin transformer with timm's names and 16-bit weights."""
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {name: value.half().contiguous() for name, value in model.appearance_encoder.swin.state_dict().items()}
    save_file(weights, path, metadata={"format": "pt"})


def save_half(model: nn.Module, folder: Path) -> None:
    """Save a diffusers or transformers model with 16-bit weights, without the path it was loaded from."""
    model.to(memory_format=torch.contiguous_format).half().save_pretrained(folder, safe_serialization=True)
    config = read_record(folder / "config.json")
    config.pop("_name_or_path", None)
    write_text(folder / "config.json", json.dumps(config, indent=2, sort_keys=True) + "\n")


def _save(folder: Path, model: CFLD, cfg: CfgNode, progress: Mapping) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_checkpoint(folder, model, cfg, progress, {})


@one_line_errors
def main(arguments: list[str] | None = None) -> None:
    commands = {
        "vae": lambda: make_vae(parts, load_images(options.images)[0], options.minutes),
        "clip": lambda: make_clip(parts, *load_images(options.images), options.minutes),
        "init": lambda: init_parts(parts),
        "encoder": lambda: make_encoder(parts, options.people, options.minutes),
        "branches": lambda: add_branches(parts, options.checkpoint),
        "split": lambda: split_checkpoint(parts, options.checkpoint),
    }
    parser = Parser(__doc__, prog="python -m demo.demo_weights")
    parser.add_argument("part", choices=list(commands), help="what to make")
    parser.add_argument("--images", type=Path, help="folder with drawn images (vae, clip)")
    parser.add_argument("--people", type=int, default=24_000, help="number of people to draw for training (encoder)")
    parser.add_argument("--minutes", type=float, default=15.0, help="wall-clock training time (vae, clip, encoder)")
    parser.add_argument("--checkpoint", type=Path, help="folder of the trained checkpoint (branches, split)")
    parser.add_argument("--parts", type=Path, default=Path("pretrained_models/demo"), help="folder of the parts")
    options = parser.parse_args(arguments)
    required = REQUIRED.get(options.part)
    if required and getattr(options, required) is None:
        raise InputError(f"--{required} is missing; {options.part} requires it, see --help")
    parts = options.parts
    check_writable(parts, "--parts")
    commands[options.part]()


if __name__ == "__main__":
    main()
