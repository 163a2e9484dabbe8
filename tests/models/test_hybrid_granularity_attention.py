"""Biases beside diffusers' own attention, to whose projections they are added by hooks."""

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from diffusion.guidance import POSE_APPEARANCE, PROMPT_POSE
from models.conditions import Conditions
from models.hybrid_granularity_attention import bias_site
from tests.models.test_cfld import batch_of, build
from tests.models.variants import merged, variant_config

EIGHTHS = [8] * 3 + [4] * 3 + [2] * 3
ON_TOKENS = {  # branches that give the four tokens of the prompt, whatever the size of the latents
    "INPUT": {"COND": {"IMG_SIZE": [64, 64]}},
    "MODEL": {"APPEARANCE_GUIDANCE_CONFIG": {"CONVIN_KERNEL_SIZE": EIGHTHS, "CONVIN_STRIDE": EIGHTHS}},
}
SITES = {  # TO_SELF_ATTN, TO_QUERIES, TO_KEYS, TO_VALUES
    (False, True, False, False): "cross_attn_q",
    (False, False, True, False): "cross_attn_k",
    (False, False, False, True): "cross_attn_v",
    (False, False, True, True): "cross_attn_c",
    (False, True, True, True): "cross_attn_c",
    (False, True, True, False): "cross_attn_q",
    (True, True, True, True): "self_attn_q",
    (True, False, True, True): "self_attn_k",
    (True, False, False, True): "self_attn_v",
}


def with_hooks(unet: UNet2DConditionModel, latents: Tensor, timesteps: Tensor, conditions: Conditions) -> Tensor:
    """The prediction of a copy of `unet` as diffusers builds it."""
    plain = UNet2DConditionModel.from_config(unet.config)
    plain.load_state_dict(unet.state_dict())
    for name, bias in conditions["appearance"].items():
        _, block, kind, _, letter = name.split("_")
        transformer = plain.up_blocks[int(block) // 3].attentions[int(block) % 3]
        attention = getattr(transformer.transformer_blocks[0], {"self": "attn1", "cross": "attn2"}[kind])

        def add(module: torch.nn.Module, inputs: tuple, output: Tensor, bias: Tensor = bias) -> Tensor:
            return output + bias

        def add_to_empty(module: torch.nn.Module, inputs: tuple, kwargs: dict, bias: Tensor = bias) -> tuple:
            context = kwargs["encoder_hidden_states"]
            rows = [row + own if row.abs().mean() < 1e-4 else row for row, own in zip(context, bias)]
            return inputs, {**kwargs, "encoder_hidden_states": torch.stack(rows)}

        if letter == "c":
            attention.register_forward_pre_hook(add_to_empty, with_kwargs=True)
        else:
            getattr(attention, f"to_{letter}").register_forward_hook(add)
    prompt, pose = conditions["prompt"]["prompt"], list(conditions["pose"].values())
    return plain(latents, timesteps, prompt, down_intrablock_additional_residuals=pose).sample


@pytest.mark.parametrize("switches", SITES)
@torch.no_grad()
def test_biases_are_added_where_the_switches_say(switches, tmp_path):
    site, names = SITES[switches], ("TO_SELF_ATTN", "TO_QUERIES", "TO_KEYS", "TO_VALUES")
    assert bias_site(*switches) == site
    changes = ON_TOKENS if site in ("cross_attn_k", "cross_attn_v", "cross_attn_c") else {}
    changes = merged(changes, {"MODEL": {"APPEARANCE_GUIDANCE_CONFIG": dict(zip(names, switches))}})
    if site == "cross_attn_c":
        changes = merged(changes, {"MODEL": {"APPEARANCE_GUIDANCE_CONFIG": {"CTX_DIMS": [16] * 9}}})
    cfg = variant_config("default", tmp_path, changes)
    model, batch = build(cfg).eval(), batch_of(cfg)
    conditions = model.encode(batch["img_cond"], batch["pose_img_tgt"])
    for bias in conditions["appearance"].values():
        bias *= 10
    if site == "cross_attn_c":
        prompt = conditions["prompt"]["prompt"]
        prompt[0] -= prompt[0].mean() + 1.0  # only the second is empty and takes the biases
        prompt[1] = 5e-5
    latents, timesteps = torch.randn(2, 4, 8, 8), torch.tensor([10, 700])
    result = model.denoise(latents, timesteps, conditions)
    torch.testing.assert_close(result, with_hooks(model.unet, latents, timesteps, conditions), rtol=0, atol=1e-5)
    without = Conditions({**conditions, "appearance": {}})
    changed = (result - model.denoise(latents, timesteps, without)).abs().amax(dim=(1, 2, 3)) > 1e-4
    assert changed.tolist() == [site != "cross_attn_c", True]


@torch.no_grad()
def test_a_learned_prompt_takes_no_biases_of_the_context(tmp_path):
    """Where training drops the prompt, and in guidance with the learned prompt and appearance."""
    cfg = variant_config("ape", tmp_path)
    model, batch = build(cfg).eval(), batch_of(cfg)
    model.learned_prompt -= model.learned_prompt.mean() + 1.0
    conditions = model.encode(batch["img_cond"], batch["pose_img_tgt"])
    for bias in conditions["appearance"].values():
        bias *= 10
    dropped = model.drop_conditions(conditions, torch.tensor([1.0, 0.0]))
    branches = model.branches(conditions, [POSE_APPEARANCE, PROMPT_POSE])
    for changed, takes_biases in ((dropped, [False, True]), (branches, [False, False, False, False])):
        count = len(takes_biases)
        latents, timesteps = torch.randn(count, 4, 8, 8), torch.full((count,), 500)
        expected = with_hooks(model.unet, latents, timesteps, changed)
        result = model.denoise(latents, timesteps, changed)
        torch.testing.assert_close(result, expected, rtol=0, atol=1e-5)
        without = model.denoise(latents, timesteps, Conditions({**changed, "appearance": {}}))
        assert ((result - without).abs().amax(dim=(1, 2, 3)) > 1e-4).tolist() == takes_biases
