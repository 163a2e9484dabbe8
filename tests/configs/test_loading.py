"""Merging, checking and freezing of settings."""

from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import datasets.keypoints
from configs import load_config
from configs.defaults import SETTINGS_BY_KEY, default_config, flat_settings
from configs.relations import POSE_CHANNELS
from configs.rules import Affects
from diffusion.guidance import GUIDANCE
from diffusion.schedulers import SCHEDULERS
from evaluation.scores import Scorer
from utils.errors import InputError

REPOSITORY = Path(__file__).resolve().parents[2]
FILES = (path.relative_to(REPOSITORY) for path in (REPOSITORY / "configs").rglob("*.yaml"))
SHIPPED = sorted(str(path) for path in FILES if path.parent.name != "accelerate")  # those are Accelerate's own


@pytest.mark.parametrize("path", SHIPPED)
def test_shipped_configs_load_and_hold_only_differences(path: str):
    below = [REPOSITORY / "configs" / "demo.yaml"] if "/recipes/" in path else []  # recipes are differences from it
    cfg = load_config([*below, REPOSITORY / path])
    defaults = default_config()

    def same(node: dict, default) -> list[str]:
        found = []
        for key, value in node.items():
            found += same(value, default[key]) if isinstance(value, dict) else [key] * (value == default[key])
        return found

    assert cfg.is_frozen()
    # all but the first are differences from other configs, as recipes are from the demo's
    whole = ("/fashion_256.yaml", "/distill.yaml", "/demo_distill.yaml", "/custom_finetune.yaml")
    assert below or path.endswith(whole) or not same(yaml.safe_load((REPOSITORY / path).read_text()), defaults)


def test_command_line_overrides_the_file_and_the_defaults_stay():
    before = str(default_config())
    cfg = load_config(
        REPOSITORY / "configs/ablation_study/no_app.yaml",
        ["ACCELERATE.RUN_NAME", "other", "OPTIMIZER.LR", "1", "INPUT.GT.IMG_SIZE", "(256, 256)"],
    )
    assert cfg.ACCELERATE.RUN_NAME == "other"
    assert cfg.ACCELERATE.EVAL_PERIOD == 10
    assert cfg.OPTIMIZER.LR == 1.0 and isinstance(cfg.OPTIMIZER.LR, float)
    assert cfg.INPUT.GT.IMG_SIZE == [256, 256]
    assert str(default_config()) == before


def test_without_an_encoder_nothing_can_be_masked():
    opts = ["INPUT.COND.PRED_RATIO", "[0.3]", "INPUT.COND.PRED_RATIO_VAR", "[0.1]"]
    with pytest.raises(InputError, match="PRED_RATIO masks maps of the encoder"):
        load_config(REPOSITORY / "configs/ablation_study/clip_model.yaml", opts)


def test_a_dumped_config_loads_to_the_same(tmp_path: Path):
    cfg = load_config(REPOSITORY / "configs/ablation_study/ape.yaml", ["OPTIMIZER.LR", "1e-5"])
    (tmp_path / "config.yaml").write_text(cfg.dump())
    assert load_config(tmp_path / "config.yaml") == cfg


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_config_of_any_editor(tmp_path: Path, encoding):
    (tmp_path / "config.yaml").write_bytes("ACCELERATE:\r\n  RUN_NAME: café\r\n".encode(encoding))
    assert load_config(tmp_path / "config.yaml").ACCELERATE.RUN_NAME == "café"
    (tmp_path / "config.yaml").write_bytes("ACCELERATE: {RUN_NAME: café}".encode("latin-1"))
    with pytest.raises(InputError, match="config.yaml: not UTF-8 or UTF-16 text; expected a config file"):
        load_config(tmp_path / "config.yaml")


@pytest.mark.parametrize(
    "text", ["TEST:\n  NUM_PAIRS: 1\nTEST:\n  OVERWRITE: true\n", "TEST: {NUM_PAIRS: 1, NUM_PAIRS: 2}"]
)
def test_a_setting_that_a_file_has_twice_is_refused(tmp_path: Path, text: str):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(InputError, match="config.yaml: not a YAML file: .* is given twice .*join the two"):
        load_config(tmp_path / "config.yaml")


def test_text_stays_as_it_was_typed():
    for text in ("2024_05_01", "1e3", "0x10", "None", "'quoted'"):
        assert load_config("", ["ACCELERATE.RUN_NAME", text]).ACCELERATE.RUN_NAME == text


def test_a_list_emptied_by_a_file_can_be_filled_again(tmp_path: Path):
    path = tmp_path / "a.yaml"
    path.write_text("ACCELERATE:\n  TRACKERS: []\nOPTIMIZER:\n  DECAY_EPOCHS: []\n")
    cfg = load_config(path, ["ACCELERATE.TRACKERS", "['wandb']", "OPTIMIZER.DECAY_EPOCHS", "[3]"])
    assert (cfg.ACCELERATE.TRACKERS, cfg.OPTIMIZER.DECAY_EPOCHS) == (["wandb"], [3])


@pytest.mark.parametrize(
    ("key", "names"),
    [
        ("TEST.GUIDANCE_TYPE", GUIDANCE),
        ("MODEL.SCHEDULER_CONFIG.NAME", SCHEDULERS),
        ("ACCELERATE.BEST_SCORE", Scorer("cpu", "nowhere").scores),
        ("INPUT.DATASET", datasets.LAYOUTS),
    ],
)
def test_names_of_registries_are_choices(key: str, names: Iterable[str]):
    rule = SETTINGS_BY_KEY[key].rule
    assert all(map(rule.holds, names)) and not rule.holds("ddim_inverse")
    assert rule.expected().startswith("one of ") and all(name in rule.expected() for name in names)


def test_pose_maps_have_the_channels_that_are_checked():
    assert POSE_CHANNELS == datasets.keypoints.POSE_CHANNELS


def test_every_default_obeys_its_rule_and_affects_something_known():
    for key, setting in SETTINGS_BY_KEY.items():
        assert setting.rule.holds(setting.default), key
    images = flat_settings(default_config(), Affects.IMAGES)
    weights = flat_settings(default_config(), Affects.WEIGHTS)
    assert "ACCELERATE.SEED" in images and "TEST.GUIDANCE_TYPE" in images and "INPUT.BATCH_SIZE" not in images
    assert (
        "OPTIMIZER.LR" in weights and "OPTIMIZER.EPOCHS" not in weights and not any(k[:5] == "TEST." for k in weights)
    )


def test_published_forms_of_values_are_understood(tmp_path: Path):
    path = tmp_path / "a.yaml"
    path.write_text("OPTIMIZER:\n  LR: 1e-5\nACCELERATE:\n  MIXED_PRECISION: no\n")  # YAML: text, and False
    cfg = load_config(path)
    assert cfg.OPTIMIZER.LR == 1e-5
    assert cfg.ACCELERATE.MIXED_PRECISION == "no"


@pytest.mark.parametrize(
    ("opts", "words"),
    [
        (["OPTIMIZER.LRR", "1"], ("OPTIMIZER.LRR", "did you mean OPTIMIZER.LR")),
        (["NOTHING", "1"], ("NOTHING", "configs/defaults.py")),
        (["OPTIMIZER", "1"], ("OPTIMIZER", "group of settings")),
        (["OPTIMIZER.LR"], ("has no value",)),
        (["OPTIMIZER.LR", "fast"], ("OPTIMIZER.LR", "'fast'", "float")),
        (["OPTIMIZER.LR", "0"], ("OPTIMIZER.LR", "more than 0")),
        (["OPTIMIZER.LR", "9" * 400], ("OPTIMIZER.LR", "float")),
        (["INPUT.COND.PRED_ASPECT_RATIO", f"[0.3, {'9' * 400}]"], ("PRED_ASPECT_RATIO", "float")),
        (["OPTIMIZER.EPOCHS", "1.5"], ("OPTIMIZER.EPOCHS", "int")),
        (["INPUT.GT.IMG_SIZE", "[512]"], ("INPUT.GT.IMG_SIZE", "[height, width]")),
        (["INPUT.GT.IMG_SIZE", "['a', 'b']"], ("INPUT.GT.IMG_SIZE", "list of int")),
        (["INPUT.DATASET", "deepfashion"], ("INPUT.DATASET", "market")),
        (["INPUT.FRAME", "[256]"], ("INPUT.FRAME", "[height, width]")),
        (["INPUT.COND.IMG_SIZE", "[250, 256]"], ("INPUT.COND.IMG_SIZE", "multiples of 4")),
        (["MODEL.SCHEDULER_CONFIG.NAME", "heun"], ("heun", "ddpm")),
        (["TEST.GUIDANCE_TYPE", "all"], ("TEST.GUIDANCE_TYPE", "uc_down_full")),
        (["MODEL.DECODER_CONFIG.HEADS", "7"], ("CTX_DIM 768", "HEADS 7")),
        (["MODEL.DECODER_CONFIG.DEPTH", "-1"], ("N_CTX", "64")),
        (["MODEL.DECODER_CONFIG.POSE_QUERY", "True"], ("N_CTX", "256")),
        (
            ["MODEL.DECODER_CONFIG.POSE_QUERY", "True", "MODEL.DECODER_CONFIG.DEPTH", "-1"],
            ("POSE_QUERY needs a decoder",),
        ),
        (["MODEL.APPEARANCE_GUIDANCE_CONFIG.HEADS", "[2]"], ("equal length",)),
        (["MODEL.APPEARANCE_GUIDANCE_CONFIG.TO_QUERIES", "False"], ("TO_QUERIES",)),
        (["MODEL.UNET_CONFIG.TRAINABLE_BLOCK_IDX", "[3, 3]"], ("TRAINABLE_BLOCK_IDX", "different numbers")),
        (["MODEL.U_COND_PERCENT", "2.0"], ("U_COND_PERCENT", "between 0 and 1")),
        (["MODEL.COND_STAGE_CONFIG.DEPTHS", "[]"], ("no encoder", "clip_model.yaml")),
        (["INPUT.COND.PRED_RATIO", "[0.3]"], ("PRED_RATIO_VAR",)),
        (["ACCELERATE.RUN_NAME", "../x"], ("RUN_NAME", "folder name")),
        (["ACCELERATE.TRACKERS", "['comet']"], ("comet",)),
        (["MODEL.FROZEN_PARTS", "['unet']"], ("FROZEN_PARTS is ['unet']", "pose_adapter")),
        (["MODEL.FROZEN_PARTS", "[1]"], ("FROZEN_PARTS is [1]", "str")),
        (["ACCELERATE.SEED", "-1"], ("SEED", "between 0 and")),
        (["MODEL.DECODER_CONFIG.DEPTH", "0", "MODEL.DECODER_CONFIG.N_CTX", "1"], ("CLIP", "clip_model.yaml")),
        (["MODEL.COND_STAGE_CONFIG.LAST_NORM", "True", "MODEL.DECODER_CONFIG.DEPTH", "-2"], ("LAST_NORM",)),
        (["INPUT.POSE.IMG_SIZE", "[257, 257]"], ("POSE.IMG_SIZE", "multiples of 4", "DOWNSCALE_FACTOR")),
        (["MODEL.POSE_GUIDANCE_CONFIG.POSE_CHANNELS", "20"], ("POSE_CHANNELS", "21")),
        (["MODEL.APPEARANCE_GUIDANCE_CONFIG.CONVIN_STRIDE", "[0,0,0,0,0,0,0,0,0]"], ("strides",)),
        (["MODEL.COND_STAGE_CONFIG.WINDOW_SIZE", "0"], ("WINDOW_SIZE",)),
        (["MODEL.COND_STAGE_CONFIG.NUM_HEADS", "[3, 8, 16, 32]"], ("NUM_HEADS", "128")),
        (["INPUT.COND.PRED_RATIO", "['a']", "INPUT.COND.PRED_RATIO_VAR", "[0]"], ("PRED_RATIO", "float")),
        (["MODEL.POSE_GUIDANCE_CONFIG.CHANNELS", "[]"], ("POSE_GUIDANCE_CONFIG.CHANNELS", "a width")),
        (["MODEL.POSE_GUIDANCE_CONFIG.IN_CHANNELS", "0"], ("IN_CHANNELS", "more than 0")),
        (["INPUT.COND.MIN_SCALE", "0"], ("MIN_SCALE",)),
        (["OPTIMIZER.DECAY_RATE", "-0.1"], ("DECAY_RATE", "0 or more")),
        (["OPTIMIZER.MUON_RATE", "-1"], ("MUON_RATE", "0 or more")),
        (["MODEL.COND_STAGE_CONFIG.DROP_PATH_RATE", "2"], ("DROP_PATH_RATE", "between 0 and 1")),
    ],
)
def test_mistakes_are_one_line_that_names_them(opts: list[str], words: tuple[str, ...]):
    with pytest.raises(InputError) as error:
        load_config("", opts)
    message = str(error.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    "content",
    ["- a", "[]", "a: [", "OPTIMIZER: 3", "text", "\x00", "MODEL: &m\n  X: *m", "[" * 20000, "X: " + "9" * 5000],
    ids=lambda content: content[:12],
)
def test_malformed_files_are_named(content: str, tmp_path: Path):
    path = tmp_path / "bad config.yaml"
    path.write_text(content)
    with pytest.raises(InputError, match="bad config.yaml") as error:
        load_config(path)
    assert "\n" not in str(error.value)


def test_later_files_override_earlier_ones(tmp_path: Path):
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("OPTIMIZER:\n  LR: 0.5\n  EPOCHS: 7\n")
    second.write_text("OPTIMIZER:\n  LR: 0.25\n")
    cfg = load_config([first, second], ["ACCELERATE.RUN_NAME", "x"])
    assert (cfg.OPTIMIZER.LR, cfg.OPTIMIZER.EPOCHS, cfg.ACCELERATE.RUN_NAME) == (0.25, 7, "x")


def test_removed_settings_are_ignored_with_one_note_each(tmp_path: Path, capsys, monkeypatch):
    path = tmp_path / "config.yaml"  # of a checkpoint of an earlier version
    path.write_text("INPUT:\n  KEPT_PHOTOS: 20000\n  BATCH_SIZE: 3\n")
    for _ in range(2):
        cfg = load_config(path)
    assert cfg.INPUT.BATCH_SIZE == 3 and "KEPT_PHOTOS" not in cfg.INPUT
    note = "INPUT.KEPT_PHOTOS was removed (use INPUT.CACHE photos); ignored\n"
    assert capsys.readouterr().err == f"note: {path}: {note}"
    load_config("", ["INPUT.KEPT_PHOTOS", "1"])
    assert capsys.readouterr().err == f"note: command line: {note}"
    monkeypatch.setenv("RANK", "1")  # the first of several processes speaks
    path.rename(tmp_path / "other.yaml")
    assert load_config(tmp_path / "other.yaml") == cfg and capsys.readouterr().err == ""
    with pytest.raises(InputError, match="unknown setting 'INPUT.KEPT_PHOTO'"):
        load_config("", ["INPUT.KEPT_PHOTO", "1"])


def test_a_missing_file_is_named():
    with pytest.raises(InputError, match="nowhere.yaml"):
        load_config("nowhere.yaml")


@settings(max_examples=150, deadline=None)
@given(
    key=st.sampled_from(["OPTIMIZER.LR", "INPUT.BATCH_SIZE", "INPUT.GT.IMG_SIZE", "TEST.GUIDANCE_TYPE", "X.Y", ""]),
    value=st.text(max_size=30) | st.integers().map(str) | st.floats().map(str) | st.lists(st.integers()).map(str),
)
def test_any_text_is_taken_or_refused_in_one_line(key: str, value: str):
    try:
        load_config("", [key, value])
    except InputError as error:
        assert len(str(error).splitlines()) == 1
