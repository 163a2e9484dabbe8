"""Checkpoints: our format, and loading the published format.

Our format is a folder with `model.safetensors` (the trained parameters; for a distilled student all), `config.yaml` and
`checkpoint.json` (progress, scores, digests of the frozen parts, sizes and digests of the other files). The published
format is `pytorch_model.bin` (everything but the U-Net) and `pytorch_model_1.bin` (the U-Net), or, from newer versions
of Accelerate, `model.safetensors` and `model_1.safetensors`; `published_name` maps our names to the published ones.
"""

import json
import logging
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate, chain
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from yacs.config import CfgNode

from configs import load_config
from configs.defaults import value_at
from configs.loading import ConfigFiles, merge_config, read_config_files
from models.build import build_model
from models.cfld import CFLD
from models.perception_refined_decoder import LinearPrompt
from models.pretrained_parts import part_digests
from utils.errors import InputError, reason_of
from utils.files import check_files, file_records, in_checkout, parse_record
from utils.ranks import is_first_process
from utils.sharding import sharded_like
from utils.weight_files import COMPUTED, aligned, read_weights

WEIGHTS, CONFIG, PROGRESS = "model.safetensors", "config.yaml", "checkpoint.json"
PROGRESS_FORM = {"files": dict | None, "parts": dict | None}
PUBLISHED = (("pytorch_model.bin", "pytorch_model_1.bin"), ("model.safetensors", "model_1.safetensors"))
LOGGER = logging.getLogger("cfld")
SMALL_DECODER = "MODEL.FIRST_STAGE_CONFIG.SMALL_DECODER_PATH"
# our name -> published name, the first match applies; the U-Net has its own file
RENAMES = [
    (r"^unet\.", "model."),
    (r"^learned_prompt$", "learnable_vector"),
    (r"^appearance_encoder\.masked_embed$", "backbone.masked_embed"),
    (r"^appearance_encoder\.swin\.", "backbone."),
    (r"^hybrid_granularity_adapter\.branches\.(\d+)\.conv_(in|out)\.", r"appearance_encoder.zero_conv_\2s.\1."),
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
STORED_BUFFERS = re.compile(r"\.(attn_mask|relative_position_index)$")  # buffers in the published files
LATER_PARTS = {"decoder", "zero_conv_ins", "zero_conv_outs", "downsample", "norm", "mapper"}  # after siblings


def published_name(name: str, model: CFLD) -> str:
    """Return the published name of a parameter; for the U-Net, the name in its own file."""
    if isinstance(model.prompt_decoder, LinearPrompt):
        name = re.sub(r"^prompt_decoder\.projection\.", "decoder.decoder_fc.", name)
    renamed = next((re.sub(*rename, name) for rename in RENAMES if re.search(rename[0], name)), name)
    stage = re.compile(r"^backbone\.layers\.(\d+)\.downsample")  # in timm at the start of the next stage
    return stage.sub(lambda match: f"backbone.layers.{int(match[1]) - 1}.downsample", renamed)


def published_names(model: CFLD) -> dict[str, str]:
    """Return our names of all tensors in the two published files, by published name and in their order.

    Names in the file of the U-Net begin with `model.`.
    """
    names = {}
    for prefix, module in model.named_modules():
        own = [name for name, _ in module.named_parameters(prefix, recurse=False)]
        own += [name for name, _ in module.named_buffers(prefix, recurse=False) if STORED_BUFFERS.search(name)]
        names |= {published_name(name, model): name for name in own if not name.startswith("vae.")}
    paths = {name: list(accumulate(name.split("."), "{}.{}".format)) for name in names}  # of all enclosing modules
    first: dict[str, int] = {}  # position of each module, that of its first tensor
    for position, path in enumerate(chain.from_iterable(paths.values())):
        first.setdefault(path, position)

    def place(name: str) -> tuple[bool, list]:
        if name.startswith("model."):
            return True, []
        return False, [(path.rpartition(".")[2] in LATER_PARTS, first[path]) for path in paths[name]]

    return {name: names[name] for name in sorted(names, key=place)}


def published_tensors(model: CFLD) -> dict[str, Tensor]:
    """Return all tensors in the two published files, by `published_names`."""
    own = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {published: own[name] for published, name in published_names(model).items()}


def save_published_weights(model: CFLD, folder: Path) -> None:
    """Write the two published files; raise `OSError` if the disk is full."""
    tensors = published_tensors(model)
    for file, of_unet in zip(PUBLISHED[0], (False, True)):
        part = {name: x.detach() for name, x in tensors.items() if name.startswith("model.") == of_unet}
        try:
            torch.save(part, folder / file)
        except RuntimeError as error:  # of a full disk
            raise OSError(reason_of(error)) from None


def checkpoint_config(config_file: ConfigFiles, opts: Sequence[str], changes: ConfigFiles = ()) -> CfgNode:
    """Return the config of a checkpoint: the given files, else its own, overridden by `changes` and then by `opts`.

    The files or `opts` set MODEL.PRETRAINED_PATH to the checkpoint. Raise `InputError` as `load_config`, or if it is
    empty.
    """
    files, changes = read_config_files(config_file), read_config_files(changes)
    checkpoint = merge_config([*files, *changes], opts).MODEL.PRETRAINED_PATH
    if not checkpoint:
        example = "MODEL.PRETRAINED_PATH outputs/CFLD/baseline/epochs_100/checkpoints"
        raise InputError(f"MODEL.PRETRAINED_PATH is empty, expected a checkpoint folder; give it like {example}")
    own = in_checkout(checkpoint) / CONFIG
    if not files and own.is_file():
        files = [own]
    return load_config([*files, *changes], opts)


def trained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that training changes, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def save_checkpoint(folder: Path, model: CFLD, cfg: CfgNode, progress: dict, scores: dict[str, float]) -> None:
    """Write the trained and the inherited parameters of a model with `write_checkpoint`."""
    weights = {**model.inherited, **trained_parameters(model)}
    weights = {name: parameter.detach().cpu().contiguous() for name, parameter in weights.items()}
    write_checkpoint(folder, weights, cfg, progress, scores)


def write_checkpoint(
    folder: Path, weights: Mapping[str, Tensor], cfg: CfgNode, progress: dict, scores: dict[str, float]
) -> None:
    """Write weights on the CPU, config, progress and scores to an existing folder.

    `checkpoint.json` is written last and records all other files in the folder. Its digests of frozen parts are those
    of the config, unless `progress` has others under "parts".
    """
    save_file(dict(weights), folder / WEIGHTS, metadata={"format": "pt"})
    (folder / CONFIG).write_text(cfg.dump())
    files = file_records(folder, (path for path in folder.iterdir() if path.name != PROGRESS))
    facts = {"format": 1, "parts": part_digests(cfg), **progress, "scores": scores, "files": files}
    (folder / PROGRESS).write_text(json.dumps(facts, indent=1) + "\n")


def check_checkpoint(folder: Path) -> None:
    """Raise `InputError` if a checkpoint in our format does not exist, is incomplete or damaged."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    check_files(folder, read_progress(folder).get("files") or {})


def load_model(cfg: CfgNode) -> tuple[CFLD, dict]:
    """Load the model of a config from MODEL.PRETRAINED_PATH; return it and the contents of its `checkpoint.json`.

    Log a warning for frozen parts that differ from those of training. Raise `InputError` as `build_model` and
    `load_checkpoint`.
    """
    folder = in_checkout(cfg.MODEL.PRETRAINED_PATH)
    with ThreadPoolExecutor() as pool:  # reads the files of the frozen parts while the model is built
        digests = pool.submit(part_digests, cfg) if (folder / PROGRESS).is_file() else None
        model = build_model(cfg, for_checkpoint=True)
        progress = load_checkpoint(model, folder)
        for line in other_parts(progress, cfg, digests.result() if digests else {}):
            if is_first_process():
                LOGGER.warning(line)
    return model, progress


def other_parts(progress: Mapping, cfg: CfgNode, digests: Mapping[str, str] | None = None) -> list[str]:
    """Return a line for each frozen part whose files differ from those in `progress` of a checkpoint.

    The `digests` are those of `part_digests`, by default computed here.
    """
    before = progress.get("parts") or {}
    now = (part_digests(cfg) if digests is None else digests) if before else {}
    return [
        f"{setting} {value_at(cfg, setting)}: the files differ from those the checkpoint was trained with; "
        "if the weights differ, its images will be wrong"
        for setting, digest in before.items()
        if now.get(setting, digest) != digest and setting != SMALL_DECODER  # which training does not read
    ]


def load_checkpoint(model: CFLD, folder: str | Path) -> dict:
    """Load a checkpoint folder into `model`; return its `checkpoint.json`, empty for the published format.

    Raise `InputError` if there is no checkpoint, or it is damaged or does not match the model.
    """
    folder = in_checkout(folder)
    if published := published_files(folder):
        weights = {name: value for path in published for name, value in read_weights(path).items()}
        load_published_weights(model, weights, folder)
        return {}
    if (folder / WEIGHTS).is_file():
        weights = read_weights(folder / WEIGHTS)
        progress = read_progress(folder)
        files = progress.get("files") or {}
        check_files(folder, {name: record for name, record in files.items() if name == WEIGHTS})
        optional = {name for name in model.inherited if name.startswith("unet.")}  # also in the U-Net's own file
        _load(model, weights, (trained_parameters(model).keys() | model.inherited.keys()) - optional, folder)
        return progress
    pairs = ", or ".join(" and ".join(names) for names in PUBLISHED)
    raise InputError(f"{folder}: no checkpoint; expected {WEIGHTS} and {PROGRESS} (ours), or {pairs} (published)")


def published_files(folder: Path) -> list[Path]:
    """Return the two files of a published checkpoint, an empty list if the folder contains none."""
    pairs = [] if (folder / PROGRESS).is_file() else [[folder / name for name in names] for names in PUBLISHED]
    return next((pair for pair in pairs if all(map(Path.is_file, pair))), [])


def load_published_weights(model: CFLD, weights: dict[str, Tensor], where: str | Path = "checkpoint") -> None:
    """Load weights with published names (both files in one dict); raise `InputError` if they do not match."""
    ours = {published_name(name, model): name for name, _ in model.named_parameters() if not name.startswith("vae.")}
    renamed = {ours.get(name, name): value for name, value in weights.items() if not COMPUTED.search(name)}
    _load(model, renamed, set(ours.values()), where)


def read_progress(folder: Path) -> dict:
    """Read the `checkpoint.json` of a checkpoint; raise `InputError` if it is missing or malformed."""
    try:
        return parse_record((folder / PROGRESS).read_bytes(), PROGRESS_FORM)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / PROGRESS}: unreadable ({error}); the checkpoint is incomplete") from None


def _load(model: CFLD, weights: dict[str, Tensor], expected: set[str], where: str | Path) -> None:
    own = dict(model.named_parameters())
    shapes = {name: (tuple(value.shape), tuple(own[name].shape)) for name, value in weights.items() if name in own}
    mismatches = {
        "missing": sorted(expected - weights.keys()),
        "unexpected": sorted(weights.keys() - own.keys()),
        "of another shape": [f"{name} {found} for {ours}" for name, (found, ours) in shapes.items() if found != ours],
    }
    found = [f"{len(names)} {kind} ({', '.join(names[:3])})" for kind, names in mismatches.items() if names]
    if found:
        problem = f"the checkpoint does not match this config: {'; '.join(found)} parameters"
        raise InputError(f"{where}: {problem}; pass the --config_file it was trained with")
    assign = any(parameter.is_meta for parameter in own.values())
    if assign:
        weights = {name: aligned(value.to(own[name].dtype)) for name, value in weights.items()}
    placed = {name: sharded_like(value, own[name]) for name, value in weights.items()}
    model.load_state_dict(placed, strict=False, assign=assign)
    model.inherited.update((name, weights[name]) for name in model.inherited.keys() & weights.keys())
