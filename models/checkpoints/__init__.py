"""Checkpoints: our own format, and reading the published one.

Ours is a folder with `model.safetensors` (every parameter that training changed; of a distilled student all),
`config.yaml` and `checkpoint.json` (progress, scores, digests of the frozen parts, and sizes and digests of the other
files). The published one is `pytorch_model.bin` (everything but the U-Net) and `pytorch_model_1.bin` (the U-Net), or
`model.safetensors` and `model_1.safetensors`, as newer versions of Accelerate call them; `published_name` says how its
names map to ours.
"""

import json
import logging
import re
from collections.abc import Mapping, Sequence
from itertools import accumulate, chain
from operator import add
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor, nn
from yacs.config import CfgNode

from configs import load_config
from configs.loading import ConfigFiles, merge_config, read_config_files
from configs.values import value_at
from utils.errors import InputError
from utils.file_digests import check_files, file_records
from utils.files import in_checkout
from utils.sharding import sharded_like
from utils.weight_files import COMPUTED, read_weights

from ..build import build_model
from ..cfld import CFLD
from ..frozen_parts import part_digests
from ..perception_refined_decoder import LinearPrompt

WEIGHTS, CONFIG, PROGRESS = "model.safetensors", "config.yaml", "checkpoint.json"
PUBLISHED = (("pytorch_model.bin", "pytorch_model_1.bin"), ("model.safetensors", "model_1.safetensors"))

LOGGER = logging.getLogger("cfld")

# our name -> published name, tried in order; the U-Net's are in a file of their own
RENAMES = [
    (r"^unet\.", "model."),
    (r"^learned_prompt$", "learnable_vector"),
    (r"^appearance_encoder\.masked_embed$", "backbone.masked_embed"),
    (r"^appearance_encoder\.swin\.", "backbone."),
    (
        r"^hybrid_granularity_adapter\.branches\.(\d+)\.conv_(in|out)\.",
        r"appearance_encoder.zero_conv_\2s.\1.",
    ),
    (r"^hybrid_granularity_adapter\.branches\.(\d+)\.blocks\.", r"appearance_encoder.blocks.\1."),
    (r"^pose_adapter\.", "pose_encoder."),
    (r"^prompt_decoder\.clip\.(?:vision_model\.)?", "decoder.clip_model.transformer.vision_model."),
    (r"^prompt_decoder\.final_norm\.", "decoder.clip_model.final_ln."),
    (r"^prompt_decoder\.projection\.", "decoder.clip_model.mapper.0."),
    (r"^prompt_decoder\.blocks\.(?=\d+\.(?:attn\.|ln_|mlp\.))", "decoder.clip_model.mapper.1.resblocks."),
    (r"^prompt_decoder\.pose_projection\.", "decoder.decoder_fc."),
    (r"^prompt_decoder\.queries$", "decoder.query_feat"),
    (r"^prompt_decoder\.query_position$", "decoder.pos_embed"),
    (r"^prompt_decoder\.feature_position$", "decoder.kv_pos_embed"),
    (r"^prompt_decoder\.", "decoder."),
]
STORED_BUFFERS = re.compile(r"\.(attn_mask|relative_position_index)$")  # in the published files; ours are the same
LATER_PARTS = {"decoder", "zero_conv_ins", "zero_conv_outs", "downsample", "norm", "mapper"}  # after their siblings


def published_name(name: str, model: CFLD) -> str:
    """The published name of one of our parameters; the U-Net's as in its own file."""
    if isinstance(model.prompt_decoder, LinearPrompt):
        name = re.sub(r"^prompt_decoder\.projection\.", "decoder.decoder_fc.", name)
    for pattern, replacement in RENAMES:
        renamed, count = re.subn(pattern, replacement, name)
        if count:
            break
    else:
        renamed = name
    # patch merging: timm keeps it at the start of the next stage
    return re.sub(
        r"^backbone\.layers\.(\d+)\.downsample",
        lambda match: f"backbone.layers.{int(match[1]) - 1}.downsample",
        renamed,
    )


def published_names(model: CFLD) -> dict[str, str]:
    """Our name of everything that the two published files hold, by its name and in its order there.

    Published names in the U-Net's file begin with `model.`.
    """
    names = {}
    for prefix, module in model.named_modules():
        own = [name for name, _ in module.named_parameters(prefix, recurse=False)]
        own += [name for name, _ in module.named_buffers(prefix, recurse=False) if STORED_BUFFERS.search(name)]
        names |= {published_name(name, model): name for name in own if not name.startswith("vae.")}
    rest, unet = ([name for name in names if name.startswith("model.") == of_unet] for of_unet in (False, True))
    return {name: names[name] for name in (*_in_published_order(rest), *unet)}


def _in_published_order(names: Sequence[str]) -> list[str]:
    """Names in the order of the published modules: that of ours, but for `LATER_PARTS`."""
    first: dict[tuple[str, ...], int] = {}  # where each part, named by its whole path, comes first
    paths = {name: list(accumulate(((part,) for part in name.split(".")), add)) for name in names}
    for path in chain.from_iterable(paths.values()):
        first.setdefault(path, len(first))
    return sorted(names, key=lambda name: [(path[-1] in LATER_PARTS, first[path]) for path in paths[name]])


def published_tensors(model: CFLD) -> dict[str, Tensor]:
    """Everything that the two published files hold, by `published_names`."""
    own = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {published: own[name] for published, name in published_names(model).items()}


def published_parameters(model: CFLD) -> dict[str, nn.Parameter]:
    """Every parameter but the VAE's, by `published_names`."""
    return {name: tensor for name, tensor in published_tensors(model).items() if isinstance(tensor, nn.Parameter)}


def checkpoint_config(config_file: ConfigFiles, opts: Sequence[str], changes: ConfigFiles = ()) -> CfgNode:
    """The config of a checkpoint: the files given, else the checkpoint's own, with `changes` and then `opts` on top.

    Args:
        config_file: YAML files that describe the checkpoint, or empty.
        opts: KEY VALUE pairs; these or a file name the checkpoint, as MODEL.PRETRAINED_PATH.
        changes: YAML files with differences from its config.

    Raises:
        InputError: as `load_config`, or no checkpoint is named.
    """
    files, changes = read_config_files(config_file), read_config_files(changes)
    checkpoint = merge_config([*files, *changes], opts).MODEL.PRETRAINED_PATH
    if not checkpoint:
        raise InputError(
            "MODEL.PRETRAINED_PATH is empty, expected a checkpoint folder such as "
            "outputs/CFLD/baseline/epochs_100/checkpoints; give it as MODEL.PRETRAINED_PATH FOLDER"
        )
    own = in_checkout(checkpoint) / CONFIG
    if not files and own.is_file():
        files = [own]
    return load_config([*files, *changes], opts)


def trained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that training changes, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def save_checkpoint(folder: Path, model: CFLD, cfg: CfgNode, progress: dict, scores: dict[str, float]) -> None:
    """Write the trained and the inherited parameters of a model, as `write_checkpoint` does."""
    held = {**model.inherited, **trained_parameters(model)}
    write_checkpoint(folder, {name: p.detach().cpu().contiguous() for name, p in held.items()}, cfg, progress, scores)


def write_checkpoint(
    folder: Path, weights: Mapping[str, Tensor], cfg: CfgNode, progress: dict, scores: dict[str, float]
) -> None:
    """Write weights on the CPU, the config, the progress and the scores into an existing folder.

    `checkpoint.json` comes last and records every file that is then in the folder. Its frozen parts are those that
    the config names, unless `progress` has others under "parts".
    """
    save_file(dict(weights), folder / WEIGHTS, metadata={"format": "pt"})
    (folder / CONFIG).write_text(cfg.dump())
    files = file_records(folder, (path for path in folder.iterdir() if path.name != PROGRESS))
    facts = {"format": 1, "parts": part_digests(cfg), **progress, "scores": scores, "files": files}
    (folder / PROGRESS).write_text(json.dumps(facts, indent=1) + "\n")


def check_checkpoint(folder: Path) -> None:
    """Make sure that one of our checkpoints is what was written.

    Raises:
        InputError: it is not there, incomplete or damaged.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    check_files(folder, read_progress(folder).get("files", {}))


def load_model(cfg: CfgNode) -> tuple[CFLD, dict]:
    """The model of a config with the weights of MODEL.PRETRAINED_PATH, and the contents of its `checkpoint.json`.

    Warns of frozen parts that are not those the checkpoint was trained with.

    Raises:
        InputError: as `build_model` and `load_checkpoint`.
    """
    model = build_model(cfg)
    progress = load_checkpoint(model, cfg.MODEL.PRETRAINED_PATH)
    for line in other_parts(progress, cfg):
        LOGGER.warning(line)
    return model, progress


def other_parts(progress: Mapping, cfg: CfgNode) -> list[str]:
    """A line for every frozen part whose files are not those that `progress`, of a checkpoint, was written with."""
    before = progress.get("parts", {})
    now = part_digests(cfg) if before else {}
    return [
        f"{setting} {value_at(cfg, setting)}: other files than the checkpoint was trained with; "
        "if they hold other weights, its images will be wrong"
        for setting, digest in before.items()
        if now.get(setting, digest) != digest
    ]


def load_checkpoint(model: CFLD, folder: str | Path) -> dict:
    """Load our checkpoint folder, or one of the published system, into `model`.

    Returns:
        the contents of `checkpoint.json`; empty for the published format.

    Raises:
        InputError: no checkpoint there, a damaged one, or one of another variant; names what did not fit.
    """
    folder = in_checkout(folder)
    if published := published_files(folder):
        weights = {name: value for path in published for name, value in read_weights(path).items()}
        load_published_weights(model, weights, folder)
        return {}
    if (folder / WEIGHTS).is_file():
        weights = read_weights(folder / WEIGHTS)
        progress = read_progress(folder)
        check_files(folder, {name: record for name, record in progress.get("files", {}).items() if name == WEIGHTS})
        elsewhere = {name for name in model.inherited if name.startswith("unet.")}  # in a file of their own
        _load(model, weights, (trained_parameters(model).keys() | model.inherited.keys()) - elsewhere, folder)
        model.inherited.update((name, weights[name]) for name in model.inherited.keys() & weights.keys())
        return progress
    pairs = ", or ".join(" and ".join(names) for names in PUBLISHED)
    raise InputError(f"{folder}: no checkpoint; expected {WEIGHTS} and {PROGRESS} (ours), or {pairs} (published)")


def published_files(folder: Path) -> list[Path]:
    """The two files of a published checkpoint; none where there is another one or none."""
    pairs = [] if (folder / PROGRESS).is_file() else [[folder / name for name in names] for names in PUBLISHED]
    return next((pair for pair in pairs if all(map(Path.is_file, pair))), [])


def load_published_weights(model: CFLD, weights: dict[str, Tensor], where: str | Path = "checkpoint") -> None:
    """Load weights under the published names (both files in one dict).

    Raises:
        InputError: names or shapes that do not fit, listed.
    """
    ours = {published_name(name, model): name for name, _ in model.named_parameters() if not name.startswith("vae.")}
    renamed = {}
    for name, value in weights.items():
        if not COMPUTED.search(name):
            renamed[ours.get(name, name)] = value
    _load(model, renamed, set(ours.values()), where)


def read_progress(folder: Path) -> dict:
    """The contents of a checkpoint's `checkpoint.json`.

    Raises:
        InputError: it is missing or something else.
    """
    try:
        facts = json.loads((folder / PROGRESS).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{folder / PROGRESS}: unreadable ({error}); the checkpoint is incomplete") from None
    if not isinstance(facts, dict) or not all(isinstance(facts.get(key, {}), dict) for key in ("files", "parts")):
        raise InputError(f"{folder / PROGRESS}: not the progress of a checkpoint; the checkpoint is damaged")
    return facts


def _load(model: nn.Module, weights: dict[str, Tensor], expected: set[str], where: str | Path) -> None:
    own = dict(model.named_parameters())
    missing = sorted(expected - weights.keys())
    unexpected = sorted(weights.keys() - own.keys())
    misshapen = [
        f"{name} {tuple(value.shape)} for {tuple(own[name].shape)}"
        for name, value in weights.items()
        if name in own and value.shape != own[name].shape
    ]
    if missing or unexpected or misshapen:
        found = [
            f"{len(names)} {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
            for what, names in (
                ("missing", missing),
                ("unexpected", unexpected),
                ("of another shape", misshapen),
            )
            if names
        ]
        raise InputError(
            f"{where}: a checkpoint of another variant or config than this model: {'; '.join(found)}; "
            "pass the --config_file it was trained with"
        )
    placed = {name: sharded_like(value, own[name]) for name, value in weights.items()}
    model.load_state_dict(placed, strict=False, assign=next(iter(own.values())).is_meta)
