"""Compare this project with tensors that the published system produced.

    python -m tests.parity --case DIR        one model case: config, checkpoint, inputs, outputs
    python -m tests.parity --functions DIR   pose maps, transforms, schedule, metrics

Prints a line a quantity (name, largest error, tolerance) and exits with 1 when one is out.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from configs import load_config
from configs.arguments import Parser
from configs.checks import value_at
from configs.errors import InputError, one_line_errors
from diffusion.guidance import NOTHING, Scales, guidance_branches, guided
from diffusion.sampling import invert, sample
from diffusion.schedulers import load_scheduler
from models import CFLD, Conditions, build_model, load_checkpoint
from models.checkpoints import published_name, published_parameters
from models.vae import decode_latents, encode_image

TENSOR, IMAGE, GRADIENT = 2e-5, 1e-4, 1e-3
PATHS = (
    "MODEL.FIRST_STAGE_CONFIG.PRETRAINED_PATH",
    "MODEL.UNET_CONFIG.PRETRAINED_PATH",
    "MODEL.SCHEDULER_CONFIG.PRETRAINED_PATH",
    "MODEL.COND_STAGE_CONFIG.PRETRAINED_PATH",
    "MODEL.DECODER_CONFIG.CLIP_PRETRAINED_PATH",
)

Line = tuple[str, float, float]  # name, error, tolerance


def tensor_error(ours: Tensor, theirs: Tensor) -> float:
    """Largest absolute difference, in units of the reference's size where that is above 1; inf for shapes."""
    if ours.shape != theirs.shape:
        return float("inf")
    return ((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1)).item()


def load_case(folder: Path) -> tuple[CFLD, dict, dict]:
    """The model of a case as built, before its checkpoint is loaded, with its inputs and outputs."""
    cfg = load_config(folder / "config.yaml")
    clip = (folder / cfg.MODEL.UNET_CONFIG.PRETRAINED_PATH).with_name("clip")  # no published setting names it
    opts = [PATHS[-1], str(clip.resolve())] if clip.is_dir() else []
    for key in PATHS:
        path = value_at(cfg, key)
        if path and (folder / path).exists():
            opts += [key, str((folder / path).resolve())]
    cfg = load_config(folder / "config.yaml", opts)
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    return cfg, model, load_file(folder / "inputs.safetensors"), load_file(folder / "outputs.safetensors")


def case_lines(folder: Path) -> Iterator[Line]:
    """Every quantity of a model case."""
    cfg, model, inputs, outputs = load_case(folder)
    meta = json.loads((folder / "meta.json").read_text())
    if (folder / "swin_after_load.safetensors").exists():
        yield from swin_lines(model, load_file(folder / "swin_after_load.safetensors"))
    load_checkpoint(model, folder / "checkpoint")
    with torch.no_grad():
        conditions = model.encode(inputs["img_cond"], inputs["pose_img"])
        yield from condition_lines(model, conditions, outputs)
        noise = model.denoise(inputs["noisy_latents"], inputs["timestep"], conditions)
        yield "unet", tensor_error(noise, outputs["unet"]), TENSOR
        yield from vae_lines(model, inputs, outputs)
        yield from sample_lines(cfg, model, conditions, inputs["noisy_latents"], outputs, meta)
        yield from inversion_lines(cfg, model, conditions, outputs, meta)
    yield from training_lines(model, inputs, outputs, meta)


def swin_lines(model: CFLD, expected: dict[str, Tensor]) -> Iterator[Line]:
    """The encoder's weights after loading a file of another window size."""
    ours = {
        published_name(f"appearance_encoder.{name}", model).removeprefix("backbone."): value
        for name, value in model.appearance_encoder.state_dict().items()
    }
    for name, value in expected.items():
        name = name.removeprefix("backbone.")
        if name.endswith(("relative_position_index", "attn_mask")):
            continue
        error = tensor_error(ours[name], value) if name in ours else float("inf")
        if error > TENSOR or name.endswith("relative_position_bias_table"):
            yield f"swin.{name}", error, TENSOR


def condition_lines(model: CFLD, conditions: Conditions, outputs: dict[str, Tensor]) -> Iterator[Line]:
    prompt = conditions["prompt"]["prompt"]
    prompt = torch.cat([model.learned_prompt.expand_as(prompt), prompt])
    yield "c", tensor_error(prompt, outputs["c"]), TENSOR
    ours = {site.replace("_", "."): residual for site, residual in conditions["pose"].items()}
    ours |= {f"up.{site}": bias for site, bias in conditions["appearance"].items()}
    theirs = {name: value for name, value in outputs.items() if name.startswith(("down.", "up."))}
    for name in sorted(ours.keys() | theirs.keys()):
        both = name in ours and name in theirs
        yield name, tensor_error(ours[name], theirs[name]) if both else float("inf"), TENSOR


def vae_lines(model: CFLD, inputs: dict[str, Tensor], outputs: dict[str, Tensor]) -> Iterator[Line]:
    latents = encode_image(model.vae, inputs["img_src"])
    yield "vae.latents_mean_scaled", tensor_error(latents, outputs["vae.latents_mean_scaled"]), TENSOR
    decoded = decode_latents(model.vae, inputs["noisy_latents"])
    yield "vae.decoded", tensor_error(decoded, outputs["vae.decoded"]), TENSOR


def sample_lines(
    cfg, model: CFLD, conditions: Conditions, latents: Tensor, outputs: dict[str, Tensor], meta: dict
) -> Iterator[Line]:
    settings = meta["sampling"]
    scales = Scales(
        down=settings["down_block_guidance_scale"],
        all=settings["all_block_guidance_scale"],
        plain=settings["guidance_scale"],
        full=settings["full_guidance_scale"],
    )
    for name in sorted(outputs):
        if not name.startswith("sample."):
            continue
        _, scheduler_name, guidance_type = name.split(".")
        scheduler = load_scheduler(scheduler_name, cfg.MODEL.SCHEDULER_CONFIG.PRETRAINED_PATH)
        branches, coefficients = zip(*guidance_branches(guidance_type, scales))
        together = model.branches(conditions, branches)
        denoise = guided(lambda x, t, c=together: model.denoise(x, t, c), list(coefficients))
        torch.manual_seed(settings["ddpm_torch_manual_seed"])
        result = sample(denoise, scheduler, latents, settings["num_inference_steps"])
        image = (decode_latents(model.vae, result) * 0.5 + 0.5).clamp(0, 1)
        yield name, tensor_error(image, outputs[name]), IMAGE


def inversion_lines(cfg, model: CFLD, conditions: Conditions, outputs: dict[str, Tensor], meta: dict) -> Iterator[Line]:
    nothing = model.branch(conditions, NOTHING)
    scheduler = load_scheduler("ddim_inverse", cfg.MODEL.SCHEDULER_CONFIG.PRETRAINED_PATH)
    start = outputs["vae.latents_mean_scaled"]
    result = invert(lambda x, t: model.denoise(x, t, nothing), scheduler, start, meta["ddim_inversion_steps"])
    yield "ddim_inverse.uncond", tensor_error(result, outputs["ddim_inverse.uncond"]), IMAGE


def training_lines(model: CFLD, inputs: dict[str, Tensor], outputs: dict[str, Tensor], meta: dict) -> Iterator[Line]:
    model.train()
    model.zero_grad()
    poses = torch.cat([inputs["pose_img_src"], inputs["pose_img_tgt"]])
    conditions = model.encode(inputs["img_cond"], poses, inputs.get("mask"))
    conditions = model.drop_conditions(conditions, torch.zeros(len(poses)))
    loss = model.loss(inputs["train.latents"], inputs["train.noise"], inputs["train.timesteps"], conditions)
    yield "train.loss", tensor_error(loss.reshape(1).detach(), outputs["train.loss"]), TENSOR
    loss.backward()
    ours = {}
    for name, parameter in published_parameters(model).items():
        prefix = "unet." if name.startswith("model.") else "model."
        if parameter.requires_grad:  # no gradient is a gradient of 0: DDP asks for one
            ours[prefix + name] = 0.0 if parameter.grad is None else parameter.grad.norm().item()
    expected = {name: norm or 0.0 for name, norm in meta["grad_norms"].items()}
    for name in sorted(ours.keys() | expected.keys()):
        if name not in ours or name not in expected:
            error = float("inf")
        elif max(ours[name], expected[name]) <= 1e-6:
            error = 0.0
        else:
            error = abs(ours[name] - expected[name]) / max(expected[name], 1e-6)
        yield f"grad.{name}", error, GRADIENT


def report(lines: Iterator[Line]) -> bool:
    """Print the lines and whether all are within their tolerance."""
    total, out = 0, 0
    for name, error, tolerance in lines:
        failed = not error <= tolerance
        total, out = total + 1, out + failed
        print(f"{'FAIL' if failed else 'ok':4} {name:90} {error:9.2e} {tolerance:.0e}")
    print(f"{total - out} of {total} quantities within tolerance")
    return total > 0 and out == 0


@one_line_errors
def main(arguments: list[str] | None = None) -> bool:
    parser = Parser(__doc__)
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--case", type=Path, help="folder of a model case")
    group.add_argument("--functions", type=Path, help="folder with cases.json and tensors.safetensors")
    options = parser.parse_args(arguments)
    folder = options.case or options.functions
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    torch.set_grad_enabled(True)
    if options.case:
        return report(case_lines(folder))
    from tests.parity_functions import function_lines

    return report(function_lines(folder))


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
