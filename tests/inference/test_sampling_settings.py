import json

import pytest

from configs import load_config
from diffusion.guidance import Scales
from inference.sampling_settings import SamplingSettings
from utils.errors import InputError

SETTINGS = SamplingSettings(4, "uc_full", Scales(full=1.5), (0.25, 1.0), (128, 64), (64, 32))
RECORD = SETTINGS.to_record()


def test_a_config_and_a_record_hold_the_same_settings():
    opts = ["INPUT.DATASET", "market", "TEST.IMG_SIZE", "[128, 64]", "TEST.GUIDANCE_INTERVAL", "[0.25, 0.75]"]
    settings = SamplingSettings.of(load_config(opts=[*opts, "TEST.FULL_GUIDANCE_SCALE", "1.5"]))
    assert settings == SamplingSettings(50, "uc_down_full", Scales(full=1.5), (0.25, 0.75), (128, 64), (128, 64))
    assert SamplingSettings.from_record(json.loads(json.dumps(settings.to_record()))) == settings


def test_records_of_older_versions():
    older = {name: value for name, value in RECORD.items() if name != "pose_frame"} | {"deep_cache_interval": 1}
    assert SamplingSettings.from_record(older) == SETTINGS.updated(pose_frame=(256, 176))


def test_scales_that_are_not_named_stay():
    updated = SETTINGS.updated(guidance_scales={"down": 3.0}, num_inference_steps=None)
    assert updated.guidance_scales == Scales(down=3.0, full=1.5) and updated.num_inference_steps == 4


@pytest.mark.parametrize(
    "change, message",
    [
        ({"steps": 4}, "unknown setting 'steps'"),
        ({"num_inference_steps": "4"}, "num_inference_steps is '4', expected a positive integer"),
        ({"num_inference_steps": True}, "num_inference_steps is True"),
        ({"num_inference_steps": 0}, "num_inference_steps is 0"),
        ({"output_size": [256]}, "output_size is \\(256,\\), expected \\(height, width\\)"),
        ({"pose_frame": [0, 176]}, "pose_frame is"),
        ({"guidance_type": "full"}, "guidance_type is 'full', expected one of uc_full"),
        ({"guidance_type": ["uc_full"]}, "guidance_type is"),
        ({"guidance_interval": [0.5, 0.2]}, "guidance_interval is"),
        ({"guidance_scales": [2.0]}, "guidance_scales is"),
        ({"guidance_scales": {"up": 2.0}}, "guidance_scales is"),
        ({"guidance_scales": {"full": float("nan")}}, "guidance_scales is"),
        ({"guidance_scales": {"full": "2"}}, "guidance_scales is"),
    ],
)
def test_what_are_no_settings(change, message):
    with pytest.raises(InputError, match=message):
        SamplingSettings.from_record(RECORD | change)


@pytest.mark.parametrize("record", [None, [4], {}, "uc_full"])
def test_what_is_no_record(record):
    with pytest.raises(InputError, match="sampling "):
        SamplingSettings.from_record(record)
