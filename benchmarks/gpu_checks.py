"""What `benchmarks.check_gpu` checks. Each check runs in a process of its own, returns an `Outcome`, or raises."""

import ctypes
import gc
import math
import os
import shutil
import signal
import statistics
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
import torch
from accelerate import Accelerator, init_empty_weights
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import default_collate
from yacs.config import CfgNode

from benchmarks import workloads
from benchmarks.presets import PRESETS, Preset
from benchmarks.timing import TOLERANCE, clock, matrix_rate, peak_memory
from datasets.loaders import training_pairs
from datasets.pairs import unpack
from evaluation.batch_sampling import sample_batch
from evaluation.tables import json_numbers
from inference.execution import AUTOCAST, compile_regions, prepare_execution
from inference.generation import sampling_scheduler
from models import CFLD, build_model, load_model
from models.checkpoints import checkpoint_config, trained_parameters
from models.conditions import PROMPT_SITE
from training.memory import BYTES_A_PARAMETER, activation_bytes, free_bytes
from training.work import tera_flop, zero_batch
from utils.entrypoints import PR_SET_PDEATHSIG
from utils.errors import InputError
from utils.files import in_checkout
from utils.gpu import DRIVERS, driver_problem, driver_version
from utils.processes import make_accelerator, on_main
from utils.weight_files import read_tensor_file

DEMO, REFERENCE = "pretrained_models/demo/checkpoint", "benchmarks/gpu_reference.safetensors"
LOSS_SCALE = 1024  # without it, small gradients are 0 in fp16
# tolerance of their norms; the stored pair has 0.12 in bf16. A pair with a near tie in a saturated attention has 0.5
GRADIENTS = {"no": 1e-3, "fp16": 5e-2, "bf16": 0.3}
HEADROOM = 0.1  # of the free memory, for fragments
NEEDED = {  # GB; training of one pair with checkpointing, the caches, three checkpoints and the public weights
    "cpu": {"memory": 3, "disk": 1},
    "full": {"GPU memory": 8, "memory": 16, "disk": 40},
}
SIZES = {
    "cpu": replace(PRESETS["cpu"], pairs=1, images=(1,), rounds=1, dataset=2, batches=(1,), processes=(2,)),
    "full": replace(PRESETS["full"], images=(1, 8), rounds=3, dataset=64),
}


class Outcome(NamedTuple):
    """What a check found."""

    line: str
    figures: dict = {}
    passed: bool = True


def prepare_process(log: Path) -> None:
    """Send the output of this process to a log, leave Ctrl-C to the process that started it, and end with that one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    with open(log, "ab") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)


def alone(check: Callable[..., Outcome], *arguments: object) -> Outcome:
    """Run a check after the memory of an earlier one in this process has been freed."""
    gc.collect()
    torch.compiler.reset()
    torch.cuda.empty_cache()
    return check(*arguments)


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def gpu_problem() -> str | None:
    """Why PyTorch sees no GPU, and what to do; None if it sees one."""
    with warnings.catch_warnings(action="ignore"):
        if torch.cuda.is_available():
            return None
        problem = driver_problem()
    advice = "or check the CPU: `bash scripts/check_gpu.sh cpu`"
    if torch.version.cuda is None:
        return f"PyTorch {torch.__version__} is built without CUDA; install another (https://pytorch.org), {advice}"
    least = DRIVERS[int(torch.version.cuda.partition(".")[0])]
    missing = f"no GPU is visible; install NVIDIA driver {least} or newer, check CUDA_VISIBLE_DEVICES"
    return f"{problem or missing}, {advice}"


def machine(needed: Mapping[str, float], on_gpu: bool, output: Path) -> Outcome:
    """Driver, versions, memory and disk."""
    facts = {"PyTorch": torch.__version__, "CUDA of PyTorch": torch.version.cuda}
    if on_gpu and (problem := gpu_problem()):
        return Outcome(problem, facts, False)
    folder = next(path for path in (output.resolve(), *output.resolve().parents) if path.exists())
    free = {"memory": free_bytes(torch.device("cpu")), "disk": shutil.disk_usage(folder).free}
    if on_gpu:
        gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        free["GPU memory"] = min(torch.cuda.mem_get_info(i)[0] for i in range(len(gpus)))
        facts |= {"driver": driver_version(), "cuDNN": torch.backends.cudnn.version()}
        facts["GPU"] = ", ".join(
            f"{gpu.name}, sm_{gpu.major}{gpu.minor}, {gpu.total_memory / 1e9:.1f} GB" for gpu in gpus
        )
    facts |= {"cores": psutil.cpu_count(), **{f"free {name}, GB": round(free[name] / 1e9, 1) for name in needed}}
    wrong = [
        f"{free[name] / 1e9:.1f} GB of {name} free, {gb} needed" for name, gb in needed.items() if free[name] < gb * 1e9
    ]
    asked = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    if len(asked) > torch.cuda.device_count():
        wrong.append(f"PyTorch sees {torch.cuda.device_count()} of the GPUs {', '.join(asked)}")
    line = "; ".join(wrong) or ", ".join(f"{name} {value}" for name, value in facts.items())
    return Outcome(line, facts, not wrong)


def demo_model(precision: str) -> tuple[CfgNode, CFLD]:
    """The demo checkpoint on the device, in training mode."""
    cfg = checkpoint_config([], ["MODEL.PRETRAINED_PATH", DEMO])
    model = load_model(cfg)[0].to(device()).train()
    prepare_execution(model, precision, cfg.MODEL.CHANNELS_LAST, cfg.MODEL.COMPILE)
    return cfg, model


def gradient(model: nn.Module, batch: dict[str, Tensor], precision: str) -> tuple[Tensor, list[Tensor]]:
    """Loss () of a model, wrapped or not, and the gradients of its trained parameters."""
    model.zero_grad()
    with autocast(precision):
        loss = model(batch)
    (loss * LOSS_SCALE).backward()
    return loss.detach(), [p.grad.float().clone() / LOSS_SCALE for p in trained_parameters(model).values()]


def autocast(precision: str) -> torch.autocast:
    return torch.autocast(device().type, AUTOCAST.get(precision), enabled=precision in AUTOCAST)


def reference() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The stored input, a batch of one pair as from the loader, and the stored tensors by name."""
    path = in_checkout(REFERENCE)
    if not path.is_file():
        raise InputError(f"{path}: no such file; restore it from the repository")
    stored = read_tensor_file(path)
    inputs = {name.removeprefix("input."): stored.pop(name) for name in [*stored] if name.startswith("input.")}
    return inputs, stored


def demo_tensors(item: dict[str, Tensor], precision: str) -> dict[str, Tensor]:
    """Prompt, image, loss and gradient norms of the demo checkpoint on the device, for a batch as from the loader."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    cfg, model = demo_model(precision)
    batch = unpack({name: x.to(device()) for name, x in item.items()}) | {"seed": np.zeros(1, dtype=int)}
    loss, gradients = gradient(model, batch, precision)
    with torch.no_grad(), autocast(precision):
        prompt = model.eval().encode(batch["img_cond"], batch["pose_img_tgt"])["prompt"][PROMPT_SITE]
        image = sample_batch(model, batch, sampling_scheduler(cfg), cfg, [0])
    norms = torch.stack([x.norm() for x in gradients])
    return {"prompt": prompt, "image": image, "loss": loss[None], "gradients": norms}


def difference(found: Tensor, expected: Tensor) -> float:
    """Norm of the difference, relative to that of `expected`."""
    found, expected = found.double().cpu(), expected.double().cpu()
    return float((found - expected).norm() / expected.norm())


def parity(precision: str) -> Outcome:
    """The demo checkpoint beside its stored tensors."""
    inputs, expected = reference()
    found = demo_tensors(inputs, precision)
    errors = {name: difference(found[name], value) for name, value in expected.items()}
    limits = dict.fromkeys(errors, TOLERANCE[precision]) | {"gradients": GRADIENTS[precision]}
    passed = all(errors[name] <= limits[name] for name in errors)  # false for NaN
    words = ", ".join(f"{name} {error:.1e} (at most {limits[name]:g})" for name, error in errors.items())
    return Outcome(f"relative differences: {words}", json_numbers(errors), passed)


def matrix_products(precisions: list[str]) -> Outcome:
    """Rate of large matrix products."""
    rates = {precision: matrix_rate(precision) for precision in precisions}
    return Outcome(", ".join(f"{name} {rate:.3g} TFLOP/s" for name, rate in rates.items()), rates)


def random_model(cfg: CfgNode) -> CFLD:
    """A model with random weights, drawn on the device within a second."""
    with init_empty_weights(include_buffers=False):
        model = build_model(cfg)
    for module in model.modules():
        for name, p in module.named_parameters(recurse=False):
            value = 0.02 * torch.randn(p.shape, device=device())
            module.register_parameter(name, nn.Parameter(value, requires_grad=p.requires_grad))
        for name, x in module.named_buffers(recurse=False):
            if x.is_meta:  # the encoder's attention masks
                module.register_buffer(name, torch.zeros(x.shape, dtype=x.dtype), persistent=False)
    return model.to(device())


class Training:
    """Training steps of any number of pairs, with random weights and inputs that are on the device."""

    def __init__(self, size: Preset, precision: str) -> None:
        self.cfg, self.precision = size.settings("ours"), precision
        self.model = random_model(self.cfg).train()
        prepare_execution(self.model, precision, self.cfg.MODEL.CHANNELS_LAST, "off")
        self.adam = torch.optim.Adam(trained_parameters(self.model).values(), self.cfg.OPTIMIZER.LR, fused=True)
        self.scaler = torch.amp.GradScaler(device().type, enabled=precision == "fp16")

    def step(self, batch: dict[str, Tensor]) -> Tensor:
        with autocast(self.precision):
            loss = self.model(batch)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.adam)
        self.scaler.update()
        self.adam.zero_grad()
        return loss.detach()

    def peak(self, pairs: int) -> float | None:
        """GB at the peak of two steps, of which the first makes Adam's moments; None if they do not fit."""
        if device().type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        try:
            for _ in range(2):
                self.step(random_batch(self.cfg, self.model, pairs))
            return peak_memory()
        except torch.OutOfMemoryError:
            return None
        finally:
            self.adam.zero_grad()


def random_batch(cfg: CfgNode, model: CFLD, pairs: int) -> dict[str, Tensor]:
    """A training batch on the device."""
    batch = zero_batch(cfg, model, pairs)
    return {name: x if name == "seed" else torch.rand_like(x, device=device()) for name, x in batch.items()}


def measured(call: Callable[[], Tensor], rounds: int) -> tuple[float, float]:
    """Seconds of the first call and the median of the others; raises `InputError` if the result is not finite."""
    times = []
    for _ in range(1 + rounds):
        start = clock()
        result = call()
        times.append(clock() - start)
    if not torch.isfinite(result).all():
        raise InputError("the result is not finite")
    return times[0], statistics.median(times[1:])


def speeds(calls: Mapping[int, Callable[[], Tensor]], rounds: int, model: CFLD, compiled: str, unit: str) -> Outcome:
    """Time calls by their number of items, after their work has been counted and the model has been compiled."""
    items, call = next(iter(calls.items()))
    flop = tera_flop(call) / items
    if compiled != "off":
        compile_regions(model, mode=compiled)
    rows = []
    for items, call in calls.items():
        first, seconds = measured(call, rounds)
        rows.append({"items": items, "unit": unit, "seconds": seconds, "first s": first, "TFLOP of one": flop})
    words = (f"{row['items']} in {row['seconds']:.3g} s (first {row['first s']:.3g} s)" for row in rows)
    return Outcome(f"{unit}: {', '.join(words)}", {"speeds": rows})


def training_step(size: Preset, precision: str, compiled: str) -> Outcome:
    """A training step without its loading, with fewer pairs if they do not fit."""
    training, pairs = Training(size, precision), size.pairs
    while training.peak(pairs) is None:
        if pairs == 1:
            raise InputError("a step of one pair does not fit in memory; set MODEL.GRADIENT_CHECKPOINTING on")
        pairs //= 2
    batch = random_batch(training.cfg, training.model, pairs)
    return speeds({pairs: partial(training.step, batch)}, size.rounds, training.model, compiled, "pairs")


def image(size: Preset, precision: str, compiled: str) -> Outcome:
    """Sampling, by the number of images in a batch."""
    cfg = size.settings("ours")
    model = random_model(cfg).eval().requires_grad_(False)
    prepare_execution(model, precision, cfg.MODEL.CHANNELS_LAST, "off")

    def sample(batch: dict[str, Tensor]) -> Tensor:
        with autocast(precision):
            return sample_batch(model, batch, sampling_scheduler(cfg), cfg, batch["seed"])

    calls = {count: partial(sample, random_batch(cfg, model, count)) for count in size.images}
    return speeds(calls, size.rounds, model, compiled, "images")


def memory(size: Preset, precision: str) -> Outcome:
    """Peak memory by pairs until they do not fit, without and with checkpointing, and the most that leave headroom."""
    training, rows, lines = Training(size, precision), [], []
    model, unet = training.model, training.model.unet
    parameters = sum(p.nbytes for p in model.parameters())
    parameters += BYTES_A_PARAMETER * sum(p.numel() for p in trained_parameters(model).values())
    for checkpointing in ("off", "on"):
        (unet.enable_gradient_checkpointing if checkpointing == "on" else unet.disable_gradient_checkpointing)()
        with autocast(precision):
            activations = activation_bytes(model, random_batch(training.cfg, model, 1), 1)
        peaks: dict[int, float] = {}
        for pairs in size.batches:
            if (peak := training.peak(pairs)) is None:
                break
            peaks[pairs] = peak
        most = largest(training, peaks) if device().type == "cuda" else None
        if most:
            peaks |= most
        for pairs, gb in peaks.items():
            estimate = (parameters + pairs * activations) / 1e9
            rows.append({"checkpointing": checkpointing, "pairs": pairs, "GB": gb, "estimated GB": estimate})
        lines.append(
            f"checkpointing {checkpointing}: "
            + (", ".join(f"{n} in {gb:.1f} GB" for n, gb in peaks.items()) or "none fits")
        )
    return Outcome("pairs, " + "; ".join(lines), {"memory": rows}, bool(rows))


def largest(training: Training, peaks: Mapping[int, float]) -> dict[int, float]:
    """The largest number of pairs that leaves `HEADROOM`, tried, and its GB."""
    if len(peaks) < 2:
        return {}
    (few, least), *_, (many, most) = peaks.items()
    slope = (most - least) / (many - few)
    torch.cuda.empty_cache()
    budget = (1 - HEADROOM) * (free_bytes(device()) + torch.cuda.memory_allocated()) / 1e9
    pairs = max(1, int((budget - least) / slope + few))
    while (peak := training.peak(pairs)) is None:
        pairs = pairs * 7 // 8
    return {pairs: peak}


def data_parallel(size: Preset, precision: str, folder: Path, processes: int) -> Outcome:
    """Gradients of several processes, and training steps with their loading; all processes call this."""
    settings = {
        "ACCELERATE.MIXED_PRECISION": precision,
        "MODEL.COMPILE": "off",
        "INPUT.CACHE_DIR": str(folder / "cache"),
        "INPUT.BATCH_SIZE": str(processes * size.pairs),
    }
    cfg = size.settings("ours", *(word for setting in settings.items() for word in setting))
    accelerator = make_accelerator(cfg)
    error, words = 0.0, ""
    if processes > 1:
        error = gradient_difference(accelerator)
        words = f"{torch.distributed.get_backend()}, gradients differ by {error:.1e}; "
    folder.mkdir(exist_ok=True)
    pairs = on_main(accelerator, lambda: workloads.write_pairs(folder, processes * size.dataset))
    _, seconds = measured(workloads.training(cfg, "ours", pairs), size.rounds)
    row = {"items": processes * size.pairs, "unit": "pairs", "seconds": seconds, "processes": processes}
    line = f"{words}{row['items']} pairs with their loading in {seconds:.3g} s"
    return Outcome(line, {"speeds": [row]}, error <= TOLERANCE["no"])


def gradient_difference(accelerator: Accelerator) -> float:
    """Of DDP's gradients of different batches from the mean of each process's own; infinite if processes differ."""
    precision, (item, _) = accelerator.mixed_precision, reference()
    model = demo_model(precision)[1]
    batch = unpack({name: x.to(device()) for name, x in item.items()}) | {"seed": np.array([accelerator.process_index])}
    wrapped = accelerator.prepare(model)
    with accelerator.no_sync(wrapped):
        own = torch.cat([x.flatten() for x in gradient(wrapped, batch, precision)[1]])
    synchronized = torch.cat([x.flatten() for x in gradient(wrapped, batch, precision)[1]])
    everyone = accelerator.gather(synchronized[None])  # (processes, parameters)
    same = (everyone == synchronized).all()
    return difference(synchronized, accelerator.reduce(own, "mean")) if same else math.inf


def write_reference(root: str) -> None:
    """Write `REFERENCE` from the first training pair of the prepared dataset in `root`."""
    cfg = checkpoint_config([], ["MODEL.PRETRAINED_PATH", DEMO, "INPUT.ROOT_DIR", root])
    item = default_collate([training_pairs(cfg)[0]])
    item.pop("index")
    stored = demo_tensors(item, "no") | {f"input.{name}": x for name, x in item.items()}
    save_file({name: x.cpu().contiguous() for name, x in stored.items()}, in_checkout(REFERENCE))
