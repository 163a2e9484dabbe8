"""On the device: training, evaluation, checkpoints, resuming, caches, distillation and testing with a small model.

python -m tests.cuda training
"""

import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file

import pose_transfer_test
import pose_transfer_train
from models import CFLD
from tests.shared import REPOSITORY
from tests.small import write_small
from tests.tiny import folder_of_run, run_main, short_run

FP16, BF16 = (["INPUT.BATCH_SIZE", "10", "ACCELERATE.MIXED_PRECISION", precision] for precision in ("fp16", "bf16"))
CACHE = ["INPUT.CACHE", "latents", "INPUT.CACHE_DIR"]
ONE = ["OPTIMIZER.EPOCHS", "1"]


def weights(config: Path, name: str) -> dict[str, torch.Tensor]:
    return load_file(folder_of_run(config, name).newest() / "model.safetensors")


def log(config: Path, name: str) -> str:
    return folder_of_run(config, name).log(0).read_text()


def half_precision_resumes(config: Path) -> None:
    """In fp16, a resumed run is the uninterrupted one."""
    assert run_main(pose_transfer_train, *short_run(config, "whole", *FP16)) == 0
    assert run_main(pose_transfer_train, *short_run(config, "parts", *FP16, *ONE)) == 0
    assert run_main(pose_transfer_train, *short_run(config, "parts", *FP16)) == 0
    assert "resuming from" in log(config, "parts") and "scores after 2 epochs" in log(config, "parts")
    for first, second in zip(weights(config, "whole").values(), weights(config, "parts").values()):
        torch.testing.assert_close(first, second, rtol=0, atol=1e-5)


def norms_that_overflow_are_skipped(config: Path) -> None:
    """Finite gradients whose norm is infinite change no weight, with and without a gradient scaler."""
    forward = CFLD.forward
    for name, precision in (("overflow", FP16), ("overflow_bf16", BF16)):
        first = ["TEST.NUM_PAIRS", "1", "OPTIMIZER.MAX_GRAD_NORM", "0", "OPTIMIZER.LR", "0.1", *precision, *ONE]
        CFLD.forward = lambda self, batch: forward(self, batch) + 0 * Huge.apply(self.learned_prompt)
        try:
            assert run_main(pose_transfer_train, *short_run(config, name, *first)) == 0
        finally:
            CFLD.forward = forward
        assert "step 1 skipped" in log(config, name) and "2 skipped so far" in log(config, name)
        assert all(torch.isfinite(tensor).all() for tensor in weights(config, name).values())


class Huge(torch.autograd.Function):
    """A sum whose gradient is finite and whose norm is not; `0 *` does not reach the gradient."""

    @staticmethod
    def forward(context, x):
        context.shape = x.shape
        return x.sum()

    @staticmethod
    def backward(context, gradient):
        return torch.full(context.shape, 1e30, device=gradient.device)


def caches_distillation_and_testing(config: Path) -> None:
    cached = short_run(config, "cached", *CACHE, config.parent / "cache", *BF16, *ONE)
    assert run_main(pose_transfer_train, *cached) == 0
    teacher = folder_of_run(config, "cached").newest()
    student = ["--config_file", REPOSITORY / "configs" / "distill.yaml", *short_run(config, "student", *FP16, *ONE)[2:]]
    student += ["MODEL.PRETRAINED_PATH", teacher, "OPTIMIZER.EMA_DECAY", "0.5", "INPUT.CACHE", "off"]
    assert run_main(pose_transfer_train, *student) == 0
    tested = ["MODEL.PRETRAINED_PATH", folder_of_run(config, "student").newest(), "ACCELERATE.RUN_NAME", "tested"]
    assert run_main(pose_transfer_test, "--config_file", config, *tested, "TEST.NUM_PAIRS", "2", *FP16) == 0


def main() -> None:
    config = write_small(Path(tempfile.mkdtemp()))
    for check in (half_precision_resumes, norms_that_overflow_are_skipped, caches_distillation_and_testing):
        check(config)
        print(f"passed: {check.__name__}", flush=True)
    assert torch.backends.cudnn.benchmark
