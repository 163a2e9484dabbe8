"""Reproducible batches; `test_test_set.py` tests the images."""

import io
import weakref

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from tqdm import tqdm

from configs import load_config
from evaluation.batch_sampling import reproducible, sample_batch
from inference.execution import prepare_execution
from inference.generation import sampling_scheduler
from models import build_model
from tests.models.test_cfld import batch_of
from tests.tiny import write_tiny


@pytest.mark.parametrize("device, batches", [("cuda", [[5, 6, 7, 7]]), ("cpu", [[5], [6], [7]])])
def test_batches_are_padded_on_a_gpu_and_single_rows_on_the_cpu(device, batches):
    sampled, bar = [], tqdm(total=3, file=io.StringIO())

    def sample(batch):
        sampled.append(batch["index"].tolist())
        return 10 * batch["index"]

    with reproducible(sample, 4, torch.device(device), bar) as sampler:
        assert sampler({"index": torch.tensor([5, 6, 7])}).tolist() == [50, 60, 70]
    assert sorted(sampled) == batches and bar.n == 3


class OverwrittenReads(TorchDispatchMode):
    """Notes outputs of compiled blocks that are read after a later CUDA graph step began; compiles nothing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.step, self.made, self.late = 0, {}, set()
        monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", self.begin)
        monkeypatch.setattr(nn.Module, "compile", lambda module, **_: module.register_forward_hook(self.note))

    def begin(self) -> None:
        self.step += 1

    def note(self, module: nn.Module, _, output: object) -> None:
        for x in tree_leaves(output):
            if isinstance(x, torch.Tensor):
                self.made[x.untyped_storage()._cdata] = self.step, type(module).__name__, weakref.ref(x)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        for x in tree_leaves((args, kwargs)):
            if isinstance(x, torch.Tensor) and (made := self.made.get(x.untyped_storage()._cdata)):
                step, name, reference = made
                if step < self.step and reference() is not None:
                    self.late.add((name, function.__name__))
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "options", [[], ["TEST.GUIDANCE_INTERVAL", "[0.25, 0.75]"], ["TEST.DDIM_INVERSION_STEPS", "3"]]
)
def test_no_output_of_a_cuda_graph_is_read_too_late(options, tmp_path, monkeypatch):
    cfg = load_config(write_tiny(tmp_path), ["TEST.NUM_INFERENCE_STEPS", "3", *options])
    model, reads = build_model(cfg).eval(), OverwrittenReads(monkeypatch)
    prepare_execution(model, "no", channels_last=False, compiled="reduce-overhead")
    with reads:
        sample_batch(model, batch_of(cfg), sampling_scheduler(cfg), cfg, [1, 2])
    assert reads.step > 3 and reads.made and not reads.late
