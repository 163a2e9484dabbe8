"""Compare this project with tensors of the published system.

    python -m tests.parity --case DIR        one model case: config, checkpoint, inputs, outputs
    python -m tests.parity --functions DIR   pose maps, transforms, schedule, metrics

Prints name, largest error and tolerance of each quantity in the folder, and the names of the standard quantities that
the folder lacks. Exits with status 1 if an error exceeds its tolerance or the folder holds no quantity.
"""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, partial
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from yacs.config import CfgNode

from configs import load_config
from configs.defaults import value_at
from diffusion.guidance import GUIDANCE, NOTHING, Scales, guidance_branches, guided
from diffusion.sampling import invert, sample
from diffusion.schedulers import load_scheduler
from models import CFLD, Conditions, build_model, load_checkpoint
from models.checkpoints import published_name, published_tensors
from models.vae import decode_latents, encode_image
from utils.command_line import Parser
from utils.errors import InputError, one_line_errors

TENSOR, IMAGE, GRADIENT = 2e-5, 1e-4, 1e-3
PATHS = (
    "MODEL.FIRST_STAGE_CONFIG.PRETRAINED_PATH",
    "MODEL.UNET_CONFIG.PRETRAINED_PATH",
    "MODEL.SCHEDULER_CONFIG.PRETRAINED_PATH",
    "MODEL.COND_STAGE_CONFIG.PRETRAINED_PATH",
    "MODEL.DECODER_CONFIG.CLIP_PRETRAINED_PATH",
)
SAMPLES = (
    *(f"sample.ddim.{guidance_type}" for guidance_type in GUIDANCE),
    *(f"sample.{scheduler}.uc_down_full" for scheduler in ("ddpm", "euler", "pndm")),
)

Line = tuple[str, float | None, float]  # name, error (None if the folder lacks the quantity), tolerance


def published_parameters(model: CFLD) -> dict[str, nn.Parameter]:
    """Return all parameters except the VAE's, by `published_names`."""
    return {name: tensor for name, tensor in published_tensors(model).items() if isinstance(tensor, nn.Parameter)}


class Held(dict):
    """The contents of a file of a case. A missing name is an `InputError`."""

    def __init__(self, path: Path, content: Mapping[str, Any]) -> None:
        super().__init__(content)
        self.path = path

    def __missing__(self, name: str) -> None:
        raise InputError(f"{self.path}: holds no {name!r}, which a quantity of this case requires")


def tensor_error(ours: Tensor, theirs: Tensor) -> float:
    """Return the largest absolute difference over max(1, largest reference value); inf if the shapes differ."""
    if ours.shape != theirs.shape:
        return float("inf")
    return ((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1)).item()


def load_case(folder: Path) -> tuple[CfgNode, CFLD, Held, Held]:
    """Return config, model (before its checkpoint is loaded), inputs and outputs of a case."""
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
    inputs, outputs = (
        Held(path, load_file(path) if path.exists() else {})
        for path in (folder / "inputs.safetensors", folder / "outputs.safetensors")
    )
    return cfg, model, inputs, outputs


def read_meta(path: Path) -> Held:
    return Held(path, json.loads(path.read_text()) if path.exists() else {})


def case_lines(folder: Path) -> Iterator[Line]:
    """Yield every quantity of a model case, and the standard ones that it lacks."""
    cfg, model, inputs, outputs = load_case(folder)
    meta = read_meta(folder / "meta.json")
    if (folder / "swin_after_load.safetensors").exists():
        yield from swin_lines(model, load_file(folder / "swin_after_load.safetensors"))
    load_checkpoint(model, folder / "checkpoint")
    with torch.no_grad():
        computed = quantities(cfg, model, inputs, outputs, meta)
        for name in [*computed, *sorted(outputs.keys() - computed.keys() - {"train.loss"})]:
            compute, tolerance = computed.get(name, (None, TENSOR))
            if name not in outputs:
                yield name, None, tolerance
            else:
                yield name, tensor_error(compute(), outputs[name]) if compute else float("inf"), tolerance
    yield from training_lines(model, inputs, outputs, meta)


def quantities(
    cfg: CfgNode, model: CFLD, inputs: Held, outputs: Mapping[str, Tensor], meta: Held
) -> dict[str, tuple[Callable[[], Tensor], float]]:
    """Return the functions and tolerances of the standard quantities and of all samples of a case."""

    @cache
    def conditions() -> Conditions:
        return model.encode(inputs["img_cond"], inputs["pose_img"])

    def prompts() -> Tensor:
        prompt = conditions()["prompt"]["prompt"]
        return torch.cat([model.learned_prompt.expand_as(prompt), prompt])

    def prediction() -> Tensor:
        return model.denoise(inputs["noisy_latents"], inputs["timestep"], conditions())

    def latents() -> Tensor:
        return encode_image(model.vae, inputs["img_src"])

    def inversion() -> Tensor:
        nothing = model.branch(conditions(), NOTHING)
        scheduler = load_scheduler("ddim_inverse", cfg.MODEL.SCHEDULER_CONFIG.PRETRAINED_PATH)
        start = outputs["vae.latents_mean_scaled"] if "vae.latents_mean_scaled" in outputs else latents()
        return invert(lambda x, t: model.denoise(x, t, nothing), scheduler, start, meta["ddim_inversion_steps"])

    levels = len(model.pose_adapter.resnets) - model.pose_query
    samples = dict.fromkeys([*SAMPLES, *(name for name in sorted(outputs) if name.startswith("sample."))])
    return {
        "c": (prompts, TENSOR),
        **{f"down.{i}": (lambda i=i: conditions()["pose"][f"down_{i}"], TENSOR) for i in range(levels)},
        **{
            f"up.{name}": (lambda name=name: conditions()["appearance"][name], TENSOR)
            for name in model.hybrid_granularity_adapter.names
        },
        "unet": (prediction, TENSOR),
        "vae.latents_mean_scaled": (latents, TENSOR),
        "vae.decoded": (lambda: decode_latents(model.vae, inputs["noisy_latents"]), TENSOR),
        **{name: (partial(sampled, name, cfg, model, conditions, inputs, meta), IMAGE) for name in samples},
        "ddim_inverse.uncond": (inversion, IMAGE),
    }


def sampled(
    name: str, cfg: CfgNode, model: CFLD, conditions: Callable[[], Conditions], inputs: Held, meta: Held
) -> Tensor:
    """Return the images in [0, 1] of the quantity `sample.SCHEDULER.TYPE`."""
    settings = Held(meta.path, meta["sampling"])
    scales = Scales(
        down=settings["down_block_guidance_scale"],
        all=settings["all_block_guidance_scale"],
        plain=settings["guidance_scale"],
        full=settings["full_guidance_scale"],
    )
    _, scheduler_name, guidance_type = name.split(".")
    scheduler = load_scheduler(scheduler_name, cfg.MODEL.SCHEDULER_CONFIG.PRETRAINED_PATH)
    branches, coefficients = zip(*guidance_branches(guidance_type, scales))
    together = model.branches(conditions(), branches)
    denoise = guided(lambda x, t: model.denoise(x, t, together), list(coefficients))
    torch.manual_seed(settings["ddpm_torch_manual_seed"])
    result = sample(denoise, scheduler, inputs["noisy_latents"], settings["num_inference_steps"])
    return (decode_latents(model.vae, result) * 0.5 + 0.5).clamp(0, 1)


def swin_lines(model: CFLD, expected: dict[str, Tensor]) -> Iterator[Line]:
    """Yield the encoder's weights after loading a file with a different window size."""
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


def training_lines(model: CFLD, inputs: Held, outputs: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Iterator[Line]:
    """Yield the training loss and the norm of every gradient."""
    missing = [name for name, held in (("train.loss", outputs), ("grad_norms", meta)) if name not in held]
    yield from ((name, None, TENSOR) for name in missing)
    if len(missing) == 2:
        return
    model.train()
    model.zero_grad()
    poses = torch.cat([inputs["pose_img_src"], inputs["pose_img_tgt"]])
    conditions = model.encode(inputs["img_cond"], poses, inputs.get("mask"))
    conditions = model.drop_conditions(conditions, torch.zeros(len(poses)))
    loss = model.loss(inputs["train.latents"], inputs["train.noise"], inputs["train.timesteps"], conditions)
    if "train.loss" in outputs:
        yield "train.loss", tensor_error(loss.reshape(1).detach(), outputs["train.loss"]), TENSOR
    if "grad_norms" in meta:
        loss.backward()
        yield from gradient_lines(model, meta["grad_norms"])


def gradient_lines(model: CFLD, expected: Mapping[str, float | None]) -> Iterator[Line]:
    """Yield the norms of the gradients of `model`."""
    ours = {}
    for name, parameter in published_parameters(model).items():
        prefix = "unet." if name.startswith("model.") else "model."
        if parameter.requires_grad:  # a missing gradient counts as 0: DDP requires one
            ours[prefix + name] = 0.0 if parameter.grad is None else parameter.grad.norm().item()
    for name in sorted(ours.keys() | expected.keys()):
        if name not in expected:
            error = None
        elif name not in ours:
            error = float("inf")
        elif max(ours[name], theirs := expected[name] or 0.0) <= 1e-6:
            error = 0.0
        else:
            error = abs(ours[name] - theirs) / max(theirs, 1e-6)
        yield f"grad.{name}", error, GRADIENT


def report(lines: Iterable[Line]) -> bool:
    """Print the lines; return whether all errors are within their tolerances."""
    total, out, absent = 0, 0, []
    for name, error, tolerance in lines:
        if error is None:
            absent.append(name)
            continue
        failed = not error <= tolerance
        total, out = total + 1, out + failed
        print(f"{'FAIL' if failed else 'ok':4} {name:90} {error:9.2e} {tolerance:.0e}")
    print(f"{total - out} of {total} quantities within tolerance")
    if absent:
        print(f"absent: {', '.join(grouped(absent))}")
    return total > 0 and out == 0


def grouped(names: list[str]) -> Iterator[str]:
    """Yield names, or the number of names for ten or more consecutive names of one kind."""
    for kind, members in groupby(names, key=lambda name: name.partition(".")[0]):
        members = list(members)
        yield from members if len(members) < 10 else [f"{len(members)} of {kind}.*"]


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
