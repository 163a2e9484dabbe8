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
from evaluation.batch_sampling import reproducible, sample_batch, select_rows
from inference.execution import prepare_execution
from inference.generation import sampling_scheduler
from models import build_model
from tests.models.test_cfld import batch_of
from tests.tiny import OWN_SHAPE, write_tiny


@pytest.fixture
def two_threads():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("device, batches", [("cuda", [[5, 6, 7, 7]]), ("cpu", [[5, 6], [7]])])
def test_batches_are_padded_on_a_gpu_and_divided_over_threads_on_the_cpu(device, batches, two_threads):
    sampled, bar = [], tqdm(total=3, file=io.StringIO())

    def sample(batch):
        sampled.append(batch["index"].tolist())
        return 10 * batch["index"]

    with reproducible(sample, 4, torch.device(device), bar) as sampler:
        assert sampler({"index": torch.tensor([5, 6, 7])}).tolist() == [50, 60, 70]
    assert sorted(sampled) == batches and bar.n == 3


@pytest.mark.parametrize(
    "options",
    [[], ["TEST.FULL_GUIDANCE_SCALE", "1.0", "TEST.DOWN_BLOCK_GUIDANCE_SCALE", "1.0"], OWN_SHAPE],
    ids=["guided", "not", "own shape"],
)
def test_an_image_does_not_depend_on_its_batch_on_the_cpu(options, tmp_path):
    """17 rows: PyTorch chooses other convolutions for 1 row, for up to 15 and for more."""
    cfg = load_config(write_tiny(tmp_path), ["TEST.NUM_INFERENCE_STEPS", "2", *options])
    torch.manual_seed(0)
    model, batch, seeds = build_model(cfg).eval(), batch_of(cfg, 17), range(17)
    scheduler = sampling_scheduler(cfg)
    together = sample_batch(model, batch, scheduler, cfg, seeds)
    for row in (0, 16):
        alone = sample_batch(model, select_rows(batch, [row]), scheduler, cfg, [seeds[row]])
        assert torch.equal(alone[0], together[row])


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
    "options",
    [
        [],
        ["TEST.GUIDANCE_INTERVAL", "[0.25, 0.75]"],
        ["TEST.DDIM_INVERSION_STEPS", "3"],
        ["TEST.AUTOGUIDANCE_PATH", "weak", "TEST.AUTOGUIDANCE_SCALE", "1.5"],
    ],
)
def test_no_output_of_a_cuda_graph_is_read_too_late(options, tmp_path, monkeypatch):
    cfg = load_config(write_tiny(tmp_path), ["TEST.NUM_INFERENCE_STEPS", "3", *options])
    model, reads = build_model(cfg).eval(), OverwrittenReads(monkeypatch)
    weak = build_model(cfg).eval() if cfg.TEST.AUTOGUIDANCE_PATH else None
    for each in filter(None, (model, weak)):
        prepare_execution(each, "no", channels_last="off", compiled="reduce-overhead")
    scheduler = sampling_scheduler(cfg)
    with reads:  # as on a GPU: one call encodes all
        sample_batch(model, batch_of(cfg, 1), scheduler, cfg, [1], weak=weak)
    assert reads.step > 3 and reads.made and not reads.late
