"""A config as plain values, and which of them a resumed run has changed."""

from collections.abc import Mapping

from yacs.config import CfgNode

Value = str | int | float | bool

NEUTRAL = (  # settings, and groups of them, that change nothing in what a training step computes
    *(f"ACCELERATE.{name}" for name in ("OUTPUT_DIR", "PROJECT_NAME", "RUN_NAME", "RESUME", "TIMEOUT_MINUTES")),
    *(f"ACCELERATE.{name}" for name in ("LOG_PERIOD", "EVAL_PERIOD", "TRACKERS", "BEST_SCORE", "SPIKE_SIGMA")),
    *(f"ACCELERATE.{name}" for name in ("CHECKPOINT_STEPS", "CHECKPOINT_MINUTES", "KEEP_CHECKPOINTS")),
    *(f"OPTIMIZER.{name}" for name in ("EPOCHS", "MAX_MINUTES", "MAX_BAD_STEPS", "ROLLBACKS")),
    *("INPUT.NUM_WORKERS", "INPUT.CACHE_DIR", "TEST."),
    *("MODEL.LAST_EPOCH", "MODEL.GRADIENT_CHECKPOINTING", "MODEL.SCHEDULER_CONFIG.NAME"),
    # files: a checkpoint holds the weights of the encoder, and digests of the other parts
    *(f"MODEL.{part}_CONFIG.PRETRAINED_PATH" for part in ("COND_STAGE", "UNET", "FIRST_STAGE", "SCHEDULER")),
    *("MODEL.FIRST_STAGE_CONFIG.SMALL_DECODER_PATH", "MODEL.DECODER_CONFIG.CLIP_PRETRAINED_PATH"),
)
SPREAD = {"the number of processes", "ACCELERATE.GRADIENT_ACCUMULATION_STEPS"}  # how a step is spread
ROUNDED = SPREAD | {"ACCELERATE.ALLOW_TF32", "MODEL.CHANNELS_LAST", "MODEL.COMPILE", "INPUT.CACHE"}  # change rounding


def flat_settings(cfg: CfgNode, prefix: str = "") -> dict[str, Value]:
    """Every setting under its dotted key, lists as text."""
    flat = {}
    for key, value in cfg.items():
        if isinstance(value, CfgNode):
            flat |= flat_settings(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = str(value) if isinstance(value, list) else value
    return flat


def training_settings(cfg: CfgNode) -> dict[str, Value]:
    """The settings that training depends on, under their dotted keys."""
    return {key: value for key, value in flat_settings(cfg).items() if not key.startswith(NEUTRAL)}


def changes_note(before: Mapping[str, Value], now: Mapping[str, Value]) -> str:
    """What differs between `training_settings` and the like of a checkpoint and of the run that resumes it, and what
    follows from it; empty where nothing differs."""
    changed = [name for name in now if before.get(name) not in (None, now[name])]
    if not changed:
        return ""
    listed = ", ".join(f"{name} {_shown(before[name])} -> {_shown(now[name])}" for name in changed)
    if not ROUNDED.issuperset(changed):
        return f"resumed with changed settings: {listed}"
    anew = " and stochastic depth (DROP_PATH_RATE) is drawn anew" if SPREAD.intersection(changed) else ""
    return (
        f"resumed with changed settings: {listed}; the run trains on the same pairs in the same steps with the same "
        f"noise, but results are rounded differently{anew}, so the weights will not be the same to the last bit"
    )


def _shown(value: Value) -> str:
    return str(value) or "''"
