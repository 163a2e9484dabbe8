import pytest

from configs import load_config
from training.changed_settings import changes_note, training_settings

SAME = "the run trains on the same pairs in the same steps with the same noise"


def note(*opts: str, before: dict | None = None, now: dict | None = None) -> str:
    return changes_note(
        training_settings(load_config()) | (before or {}), training_settings(load_config(opts=opts)) | (now or {})
    )


@pytest.mark.parametrize(
    "opts, changes",
    [
        (
            ["INPUT.BATCH_SIZE", "112", "OPTIMIZER.LR", "5e-5"],
            "OPTIMIZER.LR 0.0001 -> 5e-05, INPUT.BATCH_SIZE 224 -> 112",
        ),
        (["OPTIMIZER.DECAY_EPOCHS", "[60]"], "OPTIMIZER.DECAY_EPOCHS [50] -> [60]"),
        (["MODEL.U_COND_PERCENT", "0.1"], "MODEL.U_COND_PERCENT 0.2 -> 0.1"),
        (["MODEL.RECONSTRUCT_SOURCE", "False"], "MODEL.RECONSTRUCT_SOURCE True -> False"),
        (["INPUT.ROOT_DIR", "elsewhere"], "INPUT.ROOT_DIR ./fashion -> elsewhere"),
        (["MODEL.PRETRAINED_PATH", "x"], "MODEL.PRETRAINED_PATH '' -> x"),
        (["ACCELERATE.MIXED_PRECISION", "bf16"], "ACCELERATE.MIXED_PRECISION fp16 -> bf16"),
    ],
)
def test_what_changes_training_is_named(opts, changes):
    assert note(*opts) == f"resumed with changed settings: {changes}"
    spread = ["ACCELERATE.GRADIENT_ACCUMULATION_STEPS", "2"]
    assert SAME not in note(*opts, *spread) and "ACCELERATE.GRADIENT_ACCUMULATION_STEPS 1 -> 2" in note(*opts, *spread)


def test_what_is_only_spread_or_rounded_in_another_way_keeps_pairs_and_steps():
    spread = note("ACCELERATE.GRADIENT_ACCUMULATION_STEPS", "2")
    assert spread.startswith("resumed with changed settings: ACCELERATE.GRADIENT_ACCUMULATION_STEPS 1 -> 2; " + SAME)
    assert "stochastic depth" in spread
    processes = note(before={"the number of processes": 1}, now={"the number of processes": 4})
    assert "the number of processes 1 -> 4; " + SAME in processes and "stochastic depth" in processes
    rounded = note("MODEL.CHANNELS_LAST", "True")
    assert SAME in rounded and "stochastic depth" not in rounded
    pairs = {"the number of processes": 1, "the list of pairs": "a"}
    assert SAME not in note(before=pairs, now={"the number of processes": 4, "the list of pairs": "b"})


@pytest.mark.parametrize(
    "opts",
    [
        [],
        ["OPTIMIZER.EPOCHS", "200", "OPTIMIZER.MAX_MINUTES", "5", "OPTIMIZER.ROLLBACKS", "2"],
        ["TEST.NUM_PAIRS", "3", "TEST.GUIDANCE_TYPE", "uc_full", "MODEL.SCHEDULER_CONFIG.NAME", "ddim"],
        ["INPUT.NUM_WORKERS", "0", "ACCELERATE.LOG_PERIOD", "1", "ACCELERATE.TRACKERS", "[]"],
        ["MODEL.UNET_CONFIG.PRETRAINED_PATH", "moved/unet", "MODEL.GRADIENT_CHECKPOINTING", "on"],
    ],
)
def test_what_changes_nothing_in_training_is_not_named(opts):
    assert note(*opts) == ""


def test_what_an_older_checkpoint_does_not_say_is_not_named():
    assert note(before={"the list of pairs": None}, now={"the list of pairs": "b", "the number of processes": 2}) == ""
