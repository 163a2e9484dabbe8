"""On the device: every scheduler and guidance type gives the images of the CPU and waits no more than stated.

python -m tests.cuda sampling [CASE ...]
"""

import sys
import tempfile
from functools import cache
from pathlib import Path

import torch

from configs import load_config
from diffusion.guidance import GUIDANCE
from diffusion.schedulers import SCHEDULERS
from evaluation.batch_sampling import sample_batch
from inference.execution import AUTOCAST, prepare_execution
from inference.generation import sampling_scheduler
from models import CFLD, build_model
from tests.cuda.device import counts
from tests.small import write_small

NAME = "MODEL.SCHEDULER_CONFIG.NAME"
SCALES = ["TEST.ALL_BLOCK_GUIDANCE_SCALE", "1.5", "TEST.FULL_GUIDANCE_SCALE", "2.5"]
CASES = {name: [NAME, name] for name in SCHEDULERS}
CASES |= {name: [NAME, "ddim", "TEST.GUIDANCE_TYPE", name, *SCALES] for name in GUIDANCE}
CASES |= {"inversion": ["TEST.DDIM_INVERSION_STEPS", "3"], "interval": ["TEST.GUIDANCE_INTERVAL", "[0.25, 0.75]"]}
WAITS = {"ddpm": 1, "lcm": 1, "unipc": 1}  # per step, of diffusers: noise drawn on the CPU, and a checked solution
PRECISIONS = {"ddim": ["no", "fp16", "bf16"], "inversion": ["no"]}  # inversion amplifies rounding
TOLERANCE = {"no": 1e-5, "fp16": 5e-3, "bf16": 5e-2}


@cache
def model_on(device: str, precision: str) -> CFLD:
    """Build the model in a precision."""
    torch.manual_seed(0)
    model = build_model(load_config(CONFIG)).to(device).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if not parameter.any():  # outputs that start at zero would hide what precedes them
            parameter.copy_(0.02 * torch.randn(parameter.shape, generator=generator))
    prepare_execution(model, precision, False, "off")
    return model


def images(device: str, options: list[str], precision: str) -> tuple[torch.Tensor, dict[str, int]]:
    """Sample 3 images of 5 steps; return them and the counts of one step within the loop."""
    cfg = load_config(CONFIG, ["TEST.NUM_INFERENCE_STEPS", "5", *options])
    generator = torch.Generator().manual_seed(2)
    shapes = {
        "img_cond": (3, 32, 32),
        "pose_img_tgt": (21, 32, 32),
        "pose_img_src": (21, 32, 32),
        "img_src": (3, 64, 64),
    }
    batch = {name: torch.rand(3, *shape, generator=generator).to(device) for name, shape in shapes.items()}
    steps = []

    with torch.autocast(device, AUTOCAST.get(precision), enabled=precision in AUTOCAST):
        model, scheduler = model_on(device, precision), sampling_scheduler(cfg)
        result = sample_batch(model, batch, scheduler, cfg, [5, 6, 7], lambda *_: steps.append(counts()))
    return result.float().cpu(), {name: steps[3][name] - steps[2][name] for name in steps[0]}


CONFIG = write_small(Path(tempfile.mkdtemp()))


def main() -> None:
    for name, options in CASES.items():
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        expected, _ = images("cpu", options, "no")
        for precision in PRECISIONS.get(name, ["fp16"]):
            found, step = images("cuda", options, precision)
            difference = float((found - expected).abs().max())
            print(f"{name} {precision}: differs by {difference:.1e}; a step: {step}", flush=True)
            assert difference < TOLERANCE[precision]
            assert step["syncs"] == step["pageable"] <= WAITS.get(name, 0)
