"""Seconds of a training step and of sampling, the published way of working beside ours, with the same results.

    python -m benchmarks.exact [--pairs 2] [--rounds 3] [--config_file FILE] [KEY VALUE ...]

Random weights and data. The arms alternate after one round of warming up, and medians count. Before a ratio is
printed, the losses and images of the arms are compared. `published` encodes both ground truths, recomputes
activations, and runs every guidance branch whole. Layout, precision and compilation are not part of it.
"""

import statistics
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from benchmarks.counts import batch_of
from configs import load_config
from configs.arguments import Parser
from configs.errors import one_line_errors
from diffusion.guidance import GUIDANCE, guided
from diffusion.randomness import pair_generators
from diffusion.sampling import sample
from diffusion.schedulers import load_scheduler
from models import CFLD, build_model
from models.conditioner import Conditions
from models.generation import SamplingSettings, generate
from models.vae import decode_latents, downscale_factor, posterior

TOLERANCE = 1e-4


def training_arms(model: CFLD, batch: dict[str, Tensor]) -> dict[str, Callable[[], Tensor]]:
    """A forward and backward pass each way; the loss."""
    with torch.no_grad():
        ready = {f"posterior_{side}": posterior(model.vae, batch[f"img_{side}"]) for side in ("src", "tgt")}
    cached = {name: value for name, value in batch.items() if name not in ("img_src", "img_tgt")} | ready

    def step(batch: dict[str, Tensor], checkpointing: bool) -> Tensor:
        model.train()
        (model.unet.enable_gradient_checkpointing if checkpointing else model.unet.disable_gradient_checkpointing)()
        model.zero_grad()
        torch.manual_seed(0)
        loss = model(batch)
        loss.backward()
        return loss.detach()

    return {"published": lambda: step(batch, True), "ours": lambda: step(cached, False)}


def sampling_arms(
    model: CFLD, batch: dict[str, Tensor], settings: SamplingSettings, schedule: str
) -> dict[str, Callable[[], Tensor]]:
    """Images from the same noise each way."""
    size = model.unet.config.in_channels, *(side // downscale_factor(model.vae) for side in batch["img_src"].shape[2:])
    noise = torch.randn(len(batch["img_cond"]), *size).to(batch["img_cond"].device)
    table = GUIDANCE[settings.guidance_type](settings.scales)

    def conditions() -> Conditions:
        return model.eval().encode(batch["img_cond"], batch["pose_img_tgt"])

    @torch.no_grad()
    def published() -> Tensor:
        known = conditions()
        stacked = Conditions.cat([model.branch(known, branch) for branch, _ in table])
        denoise = guided(lambda x, t: model.denoise(x, t, stacked), [coefficient for _, coefficient in table])
        latents = sample(denoise, load_scheduler("ddim", schedule), noise, settings.num_inference_steps)
        return (decode_latents(model.vae, latents) / 2 + 0.5).clamp(0, 1)

    @torch.no_grad()
    def ours() -> Tensor:
        parts = model, model.unet, model.vae, load_scheduler("ddim", schedule), conditions()
        return generate(*parts, noise, settings, pair_generators(range(len(noise))))

    return {"published": published, "ours": ours}


def compare(name: str, arms: dict[str, Callable[[], Tensor]], rounds: int) -> str:
    """One line: medians, spread and ratio.

    Raises:
        AssertionError: the arms do not give the same.
    """
    results = {arm: work() for arm, work in arms.items()}
    torch.testing.assert_close(results["ours"], results["published"], rtol=TOLERANCE, atol=TOLERANCE)
    seconds: dict[str, list[float]] = {arm: [] for arm in arms}
    for _ in range(rounds):
        for arm, work in arms.items():
            start = time.perf_counter()
            work()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seconds[arm].append(time.perf_counter() - start)
    middle = {arm: statistics.median(times) for arm, times in seconds.items()}
    shown = ", ".join(f"{arm} {middle[arm]:.3f} s ({min(t):.3f} to {max(t):.3f})" for arm, t in seconds.items())
    return f"{name}: {shown}; {middle['published'] / middle['ours']:.2f} times as fast"


@one_line_errors
def main(arguments: Sequence[str] | None = None) -> None:
    parser = Parser(__doc__)
    parser.add_argument("--config_file", action="append", default=[], help="the published model where there is none")
    parser.add_argument("--pairs", type=int, default=2, help="pairs in a batch (2)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds that count (3)")
    parser.add_argument("opts", nargs="*", help="settings: KEY VALUE KEY VALUE ...")
    options = parser.parse_intermixed_args(arguments)
    cfg = load_config(options.config_file, [*options.opts, "MODEL.RANDOM_WEIGHTS", "True"])
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = build_model(cfg).to(device)
    batch = batch_of(cfg, options.pairs, False, model)
    batch |= {name: value.uniform_().to(device) for name, value in batch.items() if isinstance(value, Tensor)}
    print(
        f"{device.type}, torch {torch.__version__}, {torch.get_num_threads()} threads, batch {options.pairs}, float32"
    )
    print(compare("training step", training_arms(model, batch), options.rounds))
    schedule = cfg.MODEL.SCHEDULER_CONFIG.PRETRAINED_PATH
    print(compare("sampling", sampling_arms(model, batch, SamplingSettings.of(cfg), schedule), options.rounds))


if __name__ == "__main__":
    main()
