"""One training step and a two-step sample at full size with random weights: `bash scripts/test.sh full`."""

import resource

import pytest
import torch

from configs import load_config
from diffusion.schedulers import load_scheduler
from evaluation.batch_sampling import sample_batch
from models import build_model


@pytest.mark.full
@pytest.mark.parametrize(
    "config, parameters, memory",  # memory in bytes, of the largest so far: the smallest comes first
    [("market_128x64", 249_770_296, 12 * 10**9), ("fashion_256", 248_224_312, 20 * 10**9)],
)
def test_training_step_and_sample(config, parameters, memory):
    opts = [
        "MODEL.RANDOM_WEIGHTS",
        "True",
        "TEST.NUM_INFERENCE_STEPS",
        "2",
        "MODEL.SCHEDULER_CONFIG.NAME",
        "ddim",
    ]
    cfg = load_config(f"configs/{config}.yaml", opts)
    torch.manual_seed(0)
    model = build_model(cfg).train()
    trained = [p for p in model.parameters() if p.requires_grad]
    assert sum(p.numel() for p in trained) == parameters
    optimizer = torch.optim.Adam(trained, lr=1e-4)
    gt, cond, pose = (cfg.INPUT[part].IMG_SIZE for part in ("GT", "COND", "POSE"))
    batch = {
        "img_src": torch.rand(1, 3, *gt) * 2 - 1,
        "img_tgt": torch.rand(1, 3, *gt) * 2 - 1,
        "img_cond": torch.rand(1, 3, *cond) * 2 - 1,
        "pose_img_src": torch.rand(1, 21, *pose),
        "pose_img_tgt": torch.rand(1, 21, *pose),
        "seed": torch.tensor([1]),
    }
    loss = model(batch)
    loss.backward()
    assert torch.isfinite(loss)
    assert all(p.grad is not None for p in trained)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    scheduler = load_scheduler("ddim", cfg.MODEL.SCHEDULER_CONFIG.PRETRAINED_PATH)
    images = sample_batch(model.eval(), batch, scheduler, cfg, [1])
    assert images.shape == (1, 3, *gt)
    assert torch.isfinite(images).all() and 0 <= images.min() and images.max() <= 1
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"peak memory {peak / 2**30:.1f} GiB")
    assert peak < memory
