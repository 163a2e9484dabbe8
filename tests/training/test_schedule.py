import json

import pytest

from configs import load_config
from tests.shared import SHARED, needs_shared
from training.schedule import learning_rate_schedule


def rates(steps_per_epoch, count, first_step=0, batch=1, **settings):
    opts = [text for key, value in settings.items() for text in (f"OPTIMIZER.{key}", str(value))]
    rate = learning_rate_schedule(load_config(opts=opts).OPTIMIZER, batch, steps_per_epoch)
    return [rate(step) for step in range(first_step, first_step + count)]


@needs_shared
@pytest.mark.parametrize("name, first_epoch", [("lrs", 0), ("lrs_resumed_at_epoch_2", 2)])
def test_published_rates(name, first_epoch):
    case = json.loads((SHARED / "parity" / "functions" / "cases.json").read_text())["lr_schedule"]
    per_epoch = case["iters_per_epoch"]
    settings = {key.upper(): case[key] for key in ("lr", "warmup_steps", "warmup_rate", "decay_rate", "epochs")}
    settings["DECAY_EPOCHS"] = case["decay_epochs"]
    assert rates(per_epoch, len(case[name]), first_epoch * per_epoch, **settings) == case[name]


def test_override_holds_after_the_warm_up():
    whole = rates(4, 12, WARMUP_STEPS=3, DECAY_EPOCHS="[1]", LR=0.5, OVERRIDE_LR=0.25)
    assert whole[:3] == rates(4, 3, WARMUP_STEPS=3, LR=0.5) and whole[3:] == [0.25] * 9


def test_no_warm_up():
    assert rates(4, 2, WARMUP_STEPS=0, LR=0.5) == [0.5, 0.5]


def test_the_rate_scaled_by_the_batch_and_not_the_override():
    settings = {"WARMUP_STEPS": 0, "LR": 0.5, "SCALE_LR": True, "batch": 8}
    assert rates(4, 2, **settings) == [4.0, 4.0]
    assert rates(4, 2, **settings, OVERRIDE_LR=0.25) == [0.25, 0.25]
