"""Evaluate folders of generated images under a protocol and write their scores, tables, and example images."""

import re
from argparse import Namespace
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from accelerate import Accelerator

from datasets import LAYOUTS, PairList, fid_real_images, load_pairs
from datasets.layouts import find_layout
from datasets.pairs import Size
from evaluation.folder_scores import FolderScores, Result
from evaluation.generated_images import check_images, image_size, match_images
from evaluation.protocols import protocol
from evaluation.tables import BASELINE, json_numbers, score_table, skipped_lines, write_comparison
from utils.errors import InputError
from utils.files import check_writable
from utils.processes import on_main

SQUARE_SIZES = {(256, 256): (256, 176), (512, 512): (512, 352)}  # some methods write DeepFashion images as squares
Paths = dict[str, dict[int, Path]]  # label -> index of the pair -> image


def evaluate_folders(options: Namespace) -> None:
    """Evaluate the folders that the options of `pose_transfer_evaluate.py` select.

    Raises:
        InputError: an option, a folder, or an image is invalid.
    """
    if options.batch_size < 1 or options.num_workers < 0:
        raise InputError("expected --batch-size of at least 1 and --num-workers of at least 0")
    split = options.real or protocol(options.protocol).real
    folders, output = labeled_folders(options.generated), Path(options.output)
    check_writable(output, "--output")
    root = Path(options.dataset)
    size = LAYOUTS[options.dataset].frame if options.dataset in LAYOUTS else None  # a benchmark has one size
    if options.size:
        size = parse_size(options.size, "--size")
    dataset = find_layout(root)
    pairs = load_pairs(root, options.split, dataset)
    frame = LAYOUTS[dataset].frame or parse_size(options.frame, "--frame")
    accelerator = Accelerator()
    paths = on_main(accelerator, lambda: find_images(folders, pairs, options.allow_partial))
    if not size:  # all images of a folder have the same size
        size = common_size({image_size(next(iter(images.values()))) for images in paths.values()}, dataset)
    real_images = partial(fid_real_images, root, dataset, split)
    loading = options.weights, options.batch_size, options.num_workers
    scorer = FolderScores(accelerator, pairs, frame, size, options.protocol, real_images, *loading)
    results = {label: scorer.score(images, label) for label, images in paths.items()}
    baseline = scorer.baseline()
    rows = {**{label: result.scores for label, result in results.items()}, BASELINE: baseline}
    output = output / f"{options.protocol}_{size[0]}x{size[1]}"
    meta = {"protocol": options.protocol, "height": size[0], "width": size[1], "dataset": str(root), "real": split}
    meta |= {f"baseline_{name}": value for name, value in json_numbers(baseline).items()}

    def write() -> None:
        for label, result in results.items():
            scorer.write(output / result_folder(label), label, paths[label], result, meta)
        write_comparison(output, rows)

    on_main(accelerator, write)
    if accelerator.is_main_process:
        count = len(set().union(*paths.values()))
        print(f"protocol {options.protocol} at {size[0]}x{size[1]}, {count} pairs of {root}")
        print(report(rows, results))
        print(f"tables, scores, and example images are in {output}")
    accelerator.end_training()


def parse_size(text: str, option: str) -> Size:
    """Parse HEIGHTxWIDTH to (height, width).

    Raises:
        InputError: the text has another form.
    """
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if not match:
        raise InputError(f"{option} is {text!r}; expected HEIGHTxWIDTH such as 256x176")
    return int(match[1]), int(match[2])


def labeled_folders(texts: list[str]) -> dict[str, Path]:
    """Parse folders of the form LABEL=FOLDER; the default label of a folder is its path.

    Raises:
        InputError: two labels have the same result folder, or a label cannot name one.
    """
    folders: dict[str, Path] = {}
    for text in texts:
        label, separator, path = text.partition("=")
        if Path(text).is_dir() or not separator:
            label, path = Path(text).as_posix().strip("/"), text
        if result_folder(label) in map(result_folder, folders):
            raise InputError(f"--generated names {label} twice; give each folder its own label, LABEL=FOLDER")
        if label in ("", ".", "..", BASELINE):
            raise InputError(f"--generated {text}: {label!r} cannot be a label; choose another, LABEL=FOLDER")
        folders[label] = Path(path)
    return folders


def result_folder(label: str) -> str:
    """Return the name of the result folder of a label."""
    return label.replace("/", "_")


def find_images(folders: Mapping[str, Path], pairs: PairList, partial: bool) -> Paths:
    """Match and check the images of every folder.

    Raises:
        InputError: see `match_images` and `check_images`.
    """
    matches = {label: match_images(folder, pairs) for label, folder in folders.items()}
    for label, found in matches.items():
        print(f"{label}: {found.summary()}")
    return {label: check_images(folders[label], found, partial) for label, found in matches.items()}


def common_size(sizes: set[Size], dataset: str) -> Size:
    """Return the size at which images of these sizes are scored by default.

    Raises:
        InputError: the sizes differ.
    """
    targets = {SQUARE_SIZES.get(size, size) if dataset == "fashion" else size for size in sizes}
    if len(targets) > 1:
        found = " and ".join(f"{height}x{width}" for height, width in sorted(sizes))
        raise InputError(f"the folders contain images of {found}; choose the size of the scores with --size HxW")
    return targets.pop()


def report(rows: Mapping[str, Mapping[str, float]], results: Mapping[str, Result]) -> str:
    """Return the score table, confidence intervals, and skipped scores as text."""
    lines = [score_table(rows)]
    for label, result in results.items():
        intervals = (f"{name} {low:.4f} to {high:.4f}" for name, (low, high) in result.intervals.items())
        lines.append(f"95% intervals of {label}: {', '.join(intervals)}")
    return "\n".join([*lines, *skipped_lines(next(iter(results.values())).skipped)])
