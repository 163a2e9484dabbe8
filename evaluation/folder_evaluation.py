"""Evaluate folders of generated images of any method, and write their scores, tables, and example images."""

import re
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from accelerate import Accelerator
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor
from tqdm import tqdm

from datasets import LAYOUTS, Pair, fid_real_images, load_pairs
from datasets.keypoints import FRAME
from datasets.layouts import find_layout
from datasets.loaders import loader
from datasets.pair_lists import file_name
from inference.drawing import draw_skeleton, save_image
from utils.errors import InputError
from utils.files import check_writable
from utils.image_files import Size
from utils.processes import on_main

from . import tables
from .generated_images import GeneratedImages, check_images, comparison_grid, image_size, match_images
from .protocols import protocol
from .real_set import give_real_set
from .scores import Scorer, gathered_rows

SQUARE_SIZES = {(256, 256): (256, 176), (512, 512): (512, 352)}  # some methods write DeepFashion images as squares
MOST_STRETCHED = 1.4  # an image that is not square against the keypoint frame
RANKED_BY = ("LPIPS", "SSIM", "SSIM_256", "PSNR")  # the first available score ranks the examples
EXAMPLES = 3  # pairs of each rank


@dataclass(frozen=True)
class Method:
    """The images of a folder with their scores."""

    images: GeneratedImages
    scorer: Scorer
    scores: dict[str, float]
    intervals: dict[str, tuple[float, float]]


def evaluate_folders(options: Namespace) -> None:
    """Evaluate the folders that the options of `pose_transfer_evaluate.py` select.

    Raises:
        InputError: an option, a folder, or an image is invalid.
    """
    if options.batch_size < 1 or options.num_workers < 0:
        raise InputError("expected --batch-size of at least 1 and --num-workers of at least 0")
    rules, folders, root = protocol(options.protocol), labeled_folders(options.generated), Path(options.dataset)
    check_writable(Path(options.output), "--output")
    size = parse_size(options.size, "--size") if options.size else None
    dataset = find_layout(root)
    pairs = load_pairs(root, options.split, dataset)
    known, given = LAYOUTS[dataset].frame, parse_size(options.frame, "--frame") if options.frame else None
    if known and given:
        raise InputError(f"--frame {options.frame}: applies to custom datasets; omit it with {dataset}")
    frame = known or given or FRAME
    accelerator = Accelerator()
    paths = on_main(accelerator, lambda: find_images(folders, pairs, options.allow_partial))
    if not size:  # all images of a folder have the same size
        size = common_size({image_size(next(iter(images.values()))) for images in paths.values()}, dataset)
        shape = size[0] / size[1] / (frame[0] / frame[1])
        if size[0] != size[1] and not 1 / MOST_STRETCHED < shape < MOST_STRETCHED:
            problem = f"the images are {size[0]}x{size[1]}, keypoints refer to {frame[0]}x{frame[1]}, another shape"
            raise InputError(f"{problem}; crop the images, or choose the size of the scores with --size HxW")
    scorer = Scorer(accelerator.device, options.weights, options.protocol, frame)
    real_images = partial(fid_real_images, root, dataset, options.real)
    give_real_set(scorer, real_images, size, accelerator, options.num_workers)
    references, methods = scorer.references(), {}
    for label, found in paths.items():
        images = GeneratedImages(found, pairs, size, frame, rules)
        methods[label] = score(images, scorer.empty(), references, accelerator, label, options)
    rows = gathered_rows(references)
    meta = {"protocol": options.protocol, **scorer.provenance, "height": size[0], "width": size[1]}
    meta |= {"dataset": str(root), "real": options.real, **tables.reference_meta(rows)}
    output = Path(options.output, f"{options.protocol}_{size[0]}x{size[1]}")
    on_main(accelerator, lambda: report(output, methods, rows, meta))
    accelerator.end_training()


def parse_size(text: str, option: str) -> Size:
    """Parse HEIGHTxWIDTH to (height, width)."""
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if not match:
        raise InputError(f"{option} is {text!r}; expected HEIGHTxWIDTH such as 256x176")
    return int(match[1]), int(match[2])


def labeled_folders(texts: list[str]) -> dict[str, Path]:
    """Parse folders of the form LABEL=FOLDER; the default label of a folder is its path."""
    folders: dict[str, Path] = {}
    for text in texts:
        label, separator, path = text.partition("=")
        if Path(text).is_dir() or not separator:
            label, path = Path(text).as_posix().strip("/"), text
        if result_folder(label) in map(result_folder, folders):
            raise InputError(f"--generated names {label} twice; give each folder its own label, LABEL=FOLDER")
        if label in ("", ".", "..", *tables.PREFIXES):
            raise InputError(f"--generated {text}: {label!r} cannot be a label; choose another, LABEL=FOLDER")
        folders[label] = Path(path)
    return folders


def result_folder(label: str) -> str:
    return label.replace("/", "_")


def find_images(folders: Mapping[str, Path], pairs: Sequence[Pair], partial: bool) -> dict[str, dict[int, Path]]:
    """Match and check the images of every folder; see `match_images` and `check_images`."""
    matches = {label: match_images(folder, pairs) for label, folder in folders.items()}
    for label, found in matches.items():
        print(f"{label}: {found.summary()}")
    return {label: check_images(found, partial) for label, found in matches.items()}


def common_size(sizes: set[Size], dataset: str) -> Size:
    """Return the size at which images of these sizes are scored by default."""
    targets = {SQUARE_SIZES.get(size, size) if dataset == "fashion" else size for size in sizes}
    if len(targets) > 1:
        found = " and ".join(f"{height}x{width}" for height, width in sorted(sizes))
        raise InputError(f"the folders contain images of {found}; choose the size of the scores with --size HxW")
    return targets.pop()


def score(
    images: GeneratedImages,
    scorer: Scorer,
    references: Mapping[str, Scorer],
    accelerator: Accelerator,
    label: str,
    options: Namespace,
) -> Method:
    """Score images, and with `references` their source and target images; all processes must call this."""
    own = sorted(images.paths)[accelerator.process_index :: accelerator.num_processes]
    batches = loader(images, options.num_workers, accelerator.device, sampler=own, batch_size=options.batch_size)
    hidden = None if accelerator.is_main_process else True
    for batch in tqdm(batches, f"scoring {label}", leave=False, disable=hidden):
        for one, shown in (
            (scorer, "pred"), (references[tables.BASELINE], "source"), (references[tables.TRUTH], "target")
        ):  # fmt: skip
            one.update(batch[shown], batch["target"], batch["index"], batch["keypoints"])
    scores = scorer.gathered()
    return Method(images, scorer, scores, tables.confidence_intervals(scorer.table()))


def report(folder: Path, methods: Mapping[str, Method], references: tables.Rows, meta: dict) -> None:
    """Write all results to a folder and print the scores."""
    rows = {label: method.scores for label, method in methods.items()} | references
    for label, method in methods.items():
        write_method(folder / result_folder(label), method, {"method": label, **meta})
    tables.write_comparison(folder, rows)
    count = len(set().union(*(method.images.paths for method in methods.values())))
    print(f"protocol {meta['protocol']} at {meta['height']}x{meta['width']}, {count} pairs of {meta['dataset']}")
    print(tables.score_table(rows))
    first, *others = methods.values()
    if any(other.images.paths.keys() != first.images.paths.keys() for other in others):
        print("warning: the folders have images of different pairs; their scores cannot be compared")
    lines = tables.interval_lines({label: method.intervals for label, method in methods.items()})
    skipped = {name: why for method in methods.values() for name, why in method.scorer.skipped.items()}
    lines += tables.provenance_lines({"": first.scorer.provenance}) + tables.skipped_lines(skipped)
    print(*lines, f"tables, scores, and example images are in {folder}", sep="\n")


def write_method(folder: Path, method: Method, meta: dict) -> None:
    """Write metrics.json, metrics.csv, metrics_per_image.csv, and best_median_worst.png to a folder."""
    pairs, paths, table = method.images.pairs, method.images.paths, method.scorer.table()
    intervals = tables.interval_meta(method.intervals)
    left_out = [file_name(pair) for index, pair in enumerate(pairs) if index not in paths]
    skipped = {"skipped": method.scorer.skipped, "left_out": left_out}
    tables.write_scores(folder, method.scores, {**meta, "images": len(paths), **intervals, **skipped})
    if name := next((name for name in RANKED_BY if table and name in table[0]), None):
        save_image(examples(method.images, table, name), folder / "best_median_worst.png")
    tables.write_per_image(folder, [{"file": file_name(pairs[row.pop("index")]), **row} for row in table])


def examples(images: GeneratedImages, table: list[dict[str, float]], name: str) -> Image.Image:
    """Draw the best, median, and worst pairs by the score `name`."""
    ranked = sorted(table, key=lambda row: row[name], reverse=not tables.COLUMNS[name].lower_is_better)
    count, middle = min(EXAMPLES, len(ranked)), max(0, len(ranked) // 2 - EXAMPLES // 2)
    ranks = {"best": ranked[:count], "median": ranked[middle : middle + count], "worst": ranked[-count:]}
    chosen = [(rank, row) for rank, rows in ranks.items() for row in rows]
    titles = [f"{rank}: {name} {row[name]:.4f}" for rank, row in chosen]
    return comparison_grid([_tiles(images, row["index"]) for _, row in chosen], titles)


def _tiles(images: GeneratedImages, index: int) -> list[Tensor]:
    """Return the source, pose, target, and generated image (3, H, W) uint8 of a pair."""
    item, target_keypoints = images[index], images.pairs[index].target_keypoints
    pose = pil_to_tensor(draw_skeleton(target_keypoints, images.size, images.frame))
    return [item["source"], pose, (item["target"] * 255).round().to(torch.uint8), item["pred"]]
