"""Approximate sampling: cost against the distance to the exact result, which is DDIM with 50 steps.

    python -m benchmarks.sweep --pairs 6 --plot sweep.png MODEL.PRETRAINED_PATH outputs/CFLD/run/epochs_100/checkpoints

Every arm starts from the same noise. Scores compare its images with the exact ones; those whose weights are not
there are left out. FLOP are counted with the first image, which also warms up. Where
MODEL.FIRST_STAGE_CONFIG.SMALL_DECODER_PATH is set, some arms decode with it.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from diffusers import SchedulerMixin
from matplotlib.figure import Figure
from torch import Tensor
from torch.utils.data import default_collate
from tqdm import tqdm
from yacs.config import CfgNode

from benchmarks.counts import flop
from benchmarks.report import check_outputs
from configs.arguments import Parser
from configs.errors import InputError, one_line_errors
from configs.files import write_text
from diffusion.randomness import pair_generators, pair_seed
from diffusion.schedulers import load_scheduler
from metrics import Scorer, json_numbers, skipped_lines
from models import CFLD, load_model
from models.build import use_small_decoder
from models.checkpoints import checkpoint_config
from models.execution import AUTOCAST, prepare_execution
from models.generation import SamplingSettings, generate, starting_noise
from models.vae import Decoder
from training.data import evaluation_pairs, to_device


@dataclass(frozen=True)
class Arm:
    """One way to sample."""

    scheduler: str
    steps: int
    interval: tuple[float, float] = (0.0, 1.0)
    deep_cache: int = 1
    small_decoder: bool = False

    def __str__(self) -> str:
        parts = [f"{self.scheduler} {self.steps}"]
        if self.interval != (0.0, 1.0):
            parts.append(f"guidance {self.interval[0]:g} to {self.interval[1]:g}")
        if self.deep_cache > 1:
            parts.append(f"deep blocks every {self.deep_cache}")
        return ", ".join(parts + ["small decoder"] * self.small_decoder)


EXACT = Arm("ddim", 50)
MIDDLE, FIRST, LAST = (0.25, 0.75), (0.0, 0.5), (0.5, 1.0)
ARMS = (
    *(Arm(name, steps) for name in ("ddim", "dpmsolver++", "unipc") for steps in (2, 4, 8, 20)),
    *(Arm("ddim", 50, interval) for interval in (MIDDLE, FIRST, LAST)),
    *(Arm("unipc", steps, interval) for steps in (8, 20) for interval in (MIDDLE, FIRST, LAST)),
    *(Arm("ddim", 50, deep_cache=every) for every in (2, 3, 5)),
    *(Arm("unipc", steps, deep_cache=every) for steps in (8, 20) for every in (2, 3)),
)
SMALL_DECODER_ARMS = tuple(Arm(name, steps, small_decoder=True) for name, steps in (("ddim", 50), ("unipc", 8)))


class Sampler:
    """Images of some test pairs in any arm.

    Args:
        cfg: a checked config with MODEL.PRETRAINED_PATH.
        pairs: how many test pairs, evenly spaced.
        device: of the computation; autocast is used on GPUs.
    """

    def __init__(self, cfg: CfgNode, pairs: int, device: torch.device) -> None:
        self.cfg, self.device, dataset = cfg, device, evaluation_pairs(cfg)
        self.indices = [i * len(dataset) // pairs for i in range(min(pairs, len(dataset)))]
        self.items = [dataset[index] for index in self.indices]
        self.precision = cfg.ACCELERATE.MIXED_PRECISION if device.type == "cuda" else "no"
        self.model: CFLD = load_model(cfg)[0].eval().requires_grad_(False)
        self.decoders: dict[bool, Decoder] = {}
        for small in (False, True):
            if small:
                use_small_decoder(self.model, cfg)  # where there is one
            prepare_execution(self.model.to(device), self.precision, cfg.MODEL.CHANNELS_LAST, cfg.MODEL.COMPILE)
            self.decoders[small] = self.model.vae

    def run(self, arm: Arm, bar: tqdm) -> tuple[Tensor, dict[str, float]]:
        """Images (N, 3, H, W) in [0, 1]; seconds and TFLOP of each."""
        work = flop(lambda: self._batch(arm, slice(0, 1)))
        images, start, size = [], time.perf_counter(), self.cfg.TEST.MICRO_BATCH_SIZE
        for first in range(0, len(self.items), size):
            images.append(self._batch(arm, slice(first, first + size)).cpu())
            bar.update(len(images[-1]))
        return torch.cat(images), {"seconds": (time.perf_counter() - start) / len(self.items), "tflop": work}

    @torch.no_grad()
    def _batch(self, arm: Arm, rows: slice) -> Tensor:
        cfg, model = self.cfg, self.model
        batch = to_device(default_collate(self.items[rows]), self.device)
        generators = pair_generators([pair_seed(cfg.ACCELERATE.SEED, index) for index in self.indices[rows]])
        settings = replace(
            SamplingSettings.of(cfg),
            num_inference_steps=arm.steps,
            interval=arm.interval,
            deep_cache_interval=arm.deep_cache,
        )
        decoder = self.decoders[arm.small_decoder]
        scheduler: SchedulerMixin = load_scheduler(arm.scheduler, cfg.MODEL.SCHEDULER_CONFIG.PRETRAINED_PATH)
        noise = starting_noise(model.unet, decoder, cfg.INPUT.GT.IMG_SIZE, generators, self.device)
        with torch.autocast(self.device.type, AUTOCAST.get(self.precision), enabled=self.precision in AUTOCAST):
            conditions = model.encode(batch["img_cond"], batch["pose_img_tgt"])
            return generate(model, model.unet, decoder, scheduler, conditions, noise, settings, generators)


def sweep(sampler: Sampler, arms: Sequence[Arm], scorer: Scorer) -> list[dict]:
    """For each arm its settings, cost of an image, how many times less that is than the exact one's, and scores."""
    results = []
    with tqdm(total=len(sampler.items) * (len(arms) + 1), desc="sampling", unit="image") as bar:
        exact, exact_cost = sampler.run(EXACT, bar)
        if "FID" in scorer.available:
            scorer.real = scorer.features(exact)
        for arm in arms:
            images, cost = sampler.run(arm, bar)
            scorer.reset()
            scorer.update(images, exact, sampler.indices)
            ratios = {
                "speedup": exact_cost["seconds"] / cost["seconds"],
                "fewer": exact_cost["tflop"] / cost["tflop"],
            }
            results.append({"arm": str(arm), **asdict(arm), **cost, **ratios, **json_numbers(scorer.compute())})
    return sorted(results, key=lambda result: result["tflop"])


def table(results: Sequence[dict]) -> str:
    """The results as text, the cheapest first; counted work does not depend on the machine."""
    scores = [name for name in ("SSIM", "PSNR", "LPIPS", "FID") if results[0].get(name) is not None]
    head = f"{'arm':<32}{'s/image':>9}{'faster':>8}{'GFLOP':>9}{'fewer':>7}"
    lines = [head + "".join(f"{name:>9}" for name in scores)]
    for result in results:
        values = "".join(f"{result[name]:9.3f}" for name in scores)
        cost = f"{result['seconds']:9.3f}{result['speedup']:7.1f}x{1000 * result['tflop']:9.1f}{result['fewer']:6.1f}x"
        lines.append(f"{result['arm']:<32}{cost}{values}")
    return "\n".join(lines)


def plot(results: Sequence[dict], path: Path) -> None:
    """Draw PSNR to the exact result over the saving."""
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots()
    axes.set(xscale="log", xlabel="times fewer FLOP than DDIM with 50 steps", ylabel="PSNR to its images")
    for result in results:
        axes.plot(result["fewer"], result["PSNR"], "o")
        axes.annotate(result["arm"], (result["fewer"], result["PSNR"]), fontsize=7, rotation=30)
    figure.savefig(path, dpi=120)


@one_line_errors
def main(arguments: Sequence[str] | None = None, arms: Sequence[Arm] | None = None) -> None:
    parser = Parser(__doc__, prog="python -m benchmarks.sweep")
    parser.add_argument("--config_file", action="append", default=[], help="where the checkpoint has none itself")
    parser.add_argument("--pairs", type=int, default=8, help="test pairs to sample (8)")
    parser.add_argument("--json", type=Path, help="where to write the results")
    parser.add_argument("--plot", type=Path, help="where to draw them, a PNG")
    parser.add_argument("opts", nargs="*", help="settings: KEY VALUE KEY VALUE ...")
    options = parser.parse_intermixed_args(arguments)
    if options.pairs < 1:
        raise InputError(f"--pairs is {options.pairs}, expected 1 or more")
    check_outputs(options.json, options.plot)
    cfg = checkpoint_config(options.config_file, options.opts)
    if arms is None:
        arms = ARMS + SMALL_DECODER_ARMS * bool(cfg.MODEL.FIRST_STAGE_CONFIG.SMALL_DECODER_PATH)
    if cfg.MODEL.COMPILE == "reduce-overhead" and any(arm.deep_cache > 1 for arm in arms):
        raise InputError(
            "deep blocks at some steps only keep what CUDA graphs overwrite in every step: set MODEL.COMPILE default"
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    scorer = Scorer(device, cfg.TEST.METRICS_PATH)
    results = sweep(Sampler(cfg, options.pairs, device), arms, scorer)
    print(table(results))
    for line in skipped_lines(scorer.skipped):
        print(line)
    if options.json:
        write_text(options.json, json.dumps(results, indent=1) + "\n")
    if options.plot:
        plot(results, options.plot)


if __name__ == "__main__":
    main()
