"""Each part of the model alone, for one sample: time of forward and backward pass, and counted work."""

import statistics
from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from yacs.config import CfgNode

from benchmarks.arms import clock, matrix_rate
from benchmarks.counts import batch_of, flop
from benchmarks.work import build
from inference.execution import prepare_execution
from models import CFLD, build_model
from models.vae import decode_latents, posterior
from utils.processes import make_accelerator

Forward = Callable[[], Iterable[Tensor]]


def parts_of(cfg: CfgNode, model: CFLD, device: torch.device) -> dict[str, Forward]:
    """Forward passes of one sample on a device; those with a backward pass give tensors that need gradients."""
    batch = {name: value.to(device) for name, value in batch_of(cfg, 1, False, model).items() if name != "seed"}
    with torch.no_grad():
        latents = posterior(model.vae, batch["img_src"])[:, 0]  # (1, C, h, w)
        maps, _ = model.appearance_encoder(batch["img_cond"])
        conditions = model.encode(batch["img_cond"], batch["pose_img_tgt"])
    maps = [feature.requires_grad_() for feature in maps]
    conditions = conditions.map(lambda kind, x: x.detach().requires_grad_())
    timestep = torch.zeros(1, device=device)

    @torch.no_grad()
    def encoded() -> list[Tensor]:
        return [posterior(model.vae, batch["img_src"])]

    @torch.no_grad()
    def decoded() -> list[Tensor]:
        return [decode_latents(model.vae, latents)]

    return {
        "VAE encode": encoded,
        "VAE decode": decoded,
        "U-Net": lambda: [model.denoise(latents, timestep, conditions)],
        "appearance encoder": lambda: model.appearance_encoder(batch["img_cond"])[0],
        "appearance branches": lambda: model.hybrid_granularity_adapter(maps).values(),
        "prompt decoder": lambda: [model.prompt_decoder(maps[-1])],
        "pose adapter": lambda: model.pose_adapter(batch["pose_img_tgt"]),
    }


def total(forward: Forward) -> Tensor:
    """One number of everything that a part gives."""
    return sum(x.float().sum() for x in forward())


def part_flop(cfg: CfgNode) -> dict[str, tuple[float, float]]:
    """TFLOP of each part's forward and backward pass."""
    model = build_model(cfg, device="meta").train()
    with torch.device("meta"):
        result = {}
        for name, forward in parts_of(cfg, model, torch.device("meta")).items():
            once = flop(lambda: total(forward))  # noqa: B023
            both = flop(lambda: _backward(total(forward)))  # noqa: B023
            result[name] = once, both - once
    return result


def part_seconds(cfg: CfgNode, rounds: int) -> tuple[dict[str, tuple[float, float]], float]:
    """Seconds of each part's forward and backward pass, and the matrix rate in TFLOP/s, all in one process."""
    accelerator = make_accelerator(cfg)
    model, rates = build(cfg).to(accelerator.device).train(), []
    prepare_execution(model, accelerator.mixed_precision, cfg.MODEL.CHANNELS_LAST, cfg.MODEL.COMPILE)
    parts = parts_of(cfg, model, accelerator.device)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in parts}
    for number in range(rounds + 1):  # the first warms up
        rates.append(matrix_rate(accelerator.mixed_precision))
        for name, forward in parts.items():
            with accelerator.autocast():
                start = clock()
                value = total(forward)
                middle = clock()
            _backward(value)
            if number:
                times[name].append((middle - start, clock() - middle))
            model.zero_grad()
    medians = {name: tuple(map(statistics.median, zip(*values))) for name, values in times.items()}
    return medians, statistics.median(rates)


def _backward(value: Tensor) -> None:
    if value.requires_grad:
        value.backward()
