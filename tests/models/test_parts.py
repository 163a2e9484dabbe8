"""Parts from files that hold less, or more, than the part."""

import json
import re
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionConfig, CLIPVisionModel

from configs.errors import InputError
from models.parts import load_part
from tests.models.test_vae import saved_vae
from tests.models.variants import CLIP


def test_a_file_that_lacks_tensors_is_refused(tmp_path: Path):
    saved_vae(tmp_path)
    path = tmp_path / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    del weights["decoder.conv_in.bias"]
    save_file(weights, path)
    with pytest.raises(InputError, match=r"1 tensors are missing \(decoder.conv_in.bias\)") as error:
        load_part(AutoencoderKL, str(tmp_path), random_weights=False)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("random_weights", [True, False])
@pytest.mark.parametrize(
    "text", ["{", "[]", '{"down_block_types": ["DownEncoderBlock2D"], "block_out_channels": [4, 4]}']
)
def test_a_damaged_config_is_one_line(tmp_path: Path, text, random_weights):
    saved_vae(tmp_path)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match=re.escape(str(tmp_path))) as error:
        load_part(AutoencoderKL, str(tmp_path), random_weights)
    assert "\n" not in str(error.value)


def test_the_published_clip_file_holds_a_text_model_too(tmp_path: Path, capfd):
    torch.manual_seed(0)
    clip = CLIPVisionModel(CLIPVisionConfig(**CLIP))
    weights = {f"vision_model.{name.removeprefix('vision_model.')}": value for name, value in clip.state_dict().items()}
    weights["vision_model.embeddings.position_ids"] = torch.arange(5)[None]
    weights |= {"text_model.final_layer_norm.weight": torch.ones(4), "logit_scale": torch.ones(())}
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text(json.dumps(CLIP))
    loaded = load_part(CLIPVisionModel, str(tmp_path), random_weights=False).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in clip.state_dict().items())
    assert capfd.readouterr() == ("", "")
