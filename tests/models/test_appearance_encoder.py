"""Swin weights of Microsoft's naming, with window and resolution changed."""

import re
from pathlib import Path

import pytest
import torch

from models import build_model
from models.appearance_encoder import AppearanceEncoder, adapt_swin_weights
from models.build import conditioning_parts
from tests.models.variants import variant_config
from utils.errors import InputError


def encoder(window: int, size: int, width: int | None = None) -> AppearanceEncoder:
    return AppearanceEncoder([size, width or size], 8, [1, 1, 2, 1], [1, 1, 2, 2], window, 0.0)


def under_microsofts_names(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """timm's names back to the original ones, with what the original file holds besides."""
    renamed = {
        re.sub(r"layers\.(\d)\.downsample", lambda m: f"layers.{int(m[1]) - 1}.downsample", key): value
        for key, value in weights.items()
    }
    extra = {"norm.weight": torch.ones(64), "head.weight": torch.ones(5, 64), "head.bias": torch.ones(5)}
    return {**renamed, **extra, "layers.0.blocks.0.attn.relative_position_index": torch.zeros(4, 4)}


def test_weights_of_another_window_load_by_bicubic_interpolation():
    torch.manual_seed(0)
    trained = encoder(window=4, size=128)
    weights = under_microsofts_names(trained.swin.state_dict())
    target = encoder(window=8, size=256)
    missing, unexpected = target.swin.load_state_dict(adapt_swin_weights({"model": weights}, target.swin), strict=False)
    assert not missing and not unexpected
    name = "layers.0.blocks.0.attn.relative_position_bias_table"
    table = trained.swin.state_dict()[name]  # (49, heads)
    resized = torch.nn.functional.interpolate(table.T.reshape(1, -1, 7, 7), (15, 15), mode="bicubic")
    torch.testing.assert_close(target.swin.state_dict()[name], resized.reshape(-1, 225).T)
    for key, value in trained.swin.state_dict().items():
        if "relative_position" not in key:
            assert torch.equal(value, target.swin.state_dict()[key]), key


def test_weights_reach_windows_that_are_not_square():
    torch.manual_seed(0)
    trained = encoder(window=4, size=128)
    weights = under_microsofts_names(trained.swin.state_dict())
    target = encoder(window=8, size=64, width=32)  # maps of 16 x 8, 8 x 4, 4 x 2, 2 x 1
    missing, unexpected = target.swin.load_state_dict(adapt_swin_weights({"model": weights}, target.swin), strict=False)
    assert not missing and not unexpected
    name = "layers.1.blocks.0.attn"
    assert target.swin.get_submodule(name).window_size == (8, 4)
    table = trained.swin.state_dict()[f"{name}.relative_position_bias_table"]
    resized = torch.nn.functional.interpolate(table.T.reshape(1, -1, 7, 7), (15, 7), mode="bicubic")
    loaded = target.swin.state_dict()[f"{name}.relative_position_bias_table"]
    torch.testing.assert_close(loaded, resized.reshape(-1, 105).T)
    maps, _ = target(torch.randn(1, 3, 64, 32))
    assert [tuple(m.shape[2:]) for m in maps] == [(16, 8), (8, 4), (4, 2), (2, 1)]
    again = encoder(window=8, size=64, width=32)
    again.swin.load_state_dict(adapt_swin_weights(target.swin.state_dict(), again.swin))
    assert torch.equal(again.swin.state_dict()[f"{name}.relative_position_bias_table"], loaded)


def test_maps_have_the_published_strides_and_channels():
    maps, pooled = encoder(window=4, size=64)(torch.randn(2, 3, 64, 64))
    assert [tuple(m.shape) for m in maps] == [(2, 8, 16, 16), (2, 16, 8, 8), (2, 32, 4, 4), (2, 64, 2, 2)]
    assert pooled is None


@pytest.mark.parametrize("content", ["missing", "foreign", "other sizes"])
def test_a_file_that_does_not_fit_is_named(content: str, tmp_path: Path):
    path = tmp_path / "swin.pth"
    if content == "foreign":
        torch.save({"model": {"conv1.weight": torch.ones(3)}}, path)
    if content == "other sizes":
        torch.save({"model": under_microsofts_names(encoder(4, 64).swin.state_dict())}, path)
    changes = {"MODEL": {"COND_STAGE_CONFIG": {"PRETRAINED_PATH": str(path)}}}
    cfg = variant_config("default", tmp_path, changes).clone()
    cfg.defrost()
    cfg.MODEL.RANDOM_WEIGHTS = False
    from models.build import _build_encoder

    with pytest.raises(InputError, match="swin.pth") as error:
        _build_encoder(cfg)
    assert "\n" not in str(error.value)


def test_random_weights_need_no_file(tmp_path: Path):
    assert build_model(variant_config("default", tmp_path)).appearance_encoder is not None


def test_an_empty_path_begins_at_random_and_no_other_does(tmp_path: Path):
    changes = {"MODEL": {"RANDOM_WEIGHTS": False, "COND_STAGE_CONFIG": {"PRETRAINED_PATH": ""}}}
    parts = conditioning_parts(variant_config("default", tmp_path, changes))
    assert isinstance(parts["appearance_encoder"], AppearanceEncoder)
    changes["MODEL"]["COND_STAGE_CONFIG"]["PRETRAINED_PATH"] = str(tmp_path / "nowhere.pth")
    with pytest.raises(InputError, match="nowhere.pth: no such weight file"):
        conditioning_parts(variant_config("default", tmp_path, changes))
