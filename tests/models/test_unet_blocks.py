"""The U-Net's own blocks beside diffusers'."""

from collections import Counter
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch.utils._python_dispatch import TorchDispatchMode

from models.unet import install_biased_attention, load_unet
from models.unet_blocks import install_blocks
from tests.tiny import write_parts

INPUTS = {"sample": torch.ones(2, 4, 8, 8), "timestep": torch.tensor(7), "encoder_hidden_states": torch.ones(2, 3, 16)}


class Operations(TorchDispatchMode):
    """Counts operations by name."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.counts[function._schema.name.removeprefix("aten::")] += 1
        return function(*args, **(kwargs or {}))


def both(folder: Path) -> tuple[UNet2DConditionModel, UNet2DConditionModel]:
    """A U-Net with diffusers' blocks and one with ours, with the same weights, all of which are trained."""
    ours = load_unet(str(write_parts(folder) / "unet"), random_weights=True).requires_grad_(True).train()
    plain = UNet2DConditionModel.from_config(ours.config).train()
    plain.load_state_dict(ours.state_dict())
    install_biased_attention(plain)
    return plain, ours


def test_blocks_give_what_diffusers_gives_in_training_with_and_without_checkpointing(tmp_path):
    plain, ours = both(tmp_path)
    for layout in (torch.contiguous_format, torch.channels_last):
        results = []
        for unet, checkpointing in ((plain, False), (ours, False), (ours, True)):
            unet.to(memory_format=layout).zero_grad()
            (unet.enable_gradient_checkpointing if checkpointing else unet.disable_gradient_checkpointing)()
            sample = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0)).to(memory_format=layout)
            prediction = unet(**INPUTS | {"sample": sample}).sample
            prediction.square().sum().backward()
            results.append([prediction, *(p.grad for p in unet.parameters())])
        for expected, *others in zip(*results):
            for found in others:
                torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_blocks_need_fewer_operations(tmp_path):
    plain, ours = both(tmp_path)
    counts = []
    for unet in (plain, ours):
        with torch.no_grad(), Operations() as operations:
            unet.eval()(**INPUTS)
        counts.append(operations.counts)
    saved = counts[0] - counts[1]
    resnets, transformers = (
        sum(isinstance(module, kind) for module in plain.modules()) for kind in (ResnetBlock2D, Transformer2DModel)
    )
    assert saved["div"] == resnets and saved["silu"] == resnets - 1
    assert counts[0]["convolution"] - counts[1]["mkldnn_convolution"] == 2 * transformers


def test_installing_the_blocks_twice_is_installing_them_once(tmp_path):
    _, unet = both(tmp_path)
    classes = [type(module) for module in unet.modules()]
    install_blocks(unet)
    assert [type(module) for module in unet.modules()] == classes
