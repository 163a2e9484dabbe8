"""Score folders of generated images, made by any method, under a protocol of the field.

    python pose_transfer_evaluate.py --generated outputs/CFLD/baseline/generated/256x176 --dataset fashion
    python pose_transfer_evaluate.py --generated "ours=a/images" "PIDM=b/images" --dataset ./fashion --protocol pidm

Images are named <source>_2_<target>_vis.png, or without _vis, with _to_ or ___ for _2_, or as the target alone; other
formats and images in subfolders will do.
Tables, scores, scores of each image and a picture of the best, median and worst pairs go to --output. Several
processes are started by scripts/run_processes.py.
"""

import re
from argparse import Namespace
from pathlib import Path

from accelerate import Accelerator

from datasets import LAYOUTS, fid_real_images, load_pairs
from datasets.layouts import find_layout
from datasets.pairs import Size
from evaluation.folder_scores import FolderScores
from evaluation.generated_images import check_images, image_size, match_images
from evaluation.metrics.network_weights import FOLDER
from evaluation.protocols import PROTOCOLS, protocol
from evaluation.tables import BASELINE, json_numbers, score_table, skipped_lines, write_comparison
from utils.command_line import Parser
from utils.errors import InputError
from utils.files import check_writable, in_checkout
from utils.processes import entrypoint, on_main

BENCHMARKS = {"fashion": (256, 176), "market": (128, 64)}  # size; the dataset lies in the folder of that name
SQUARE = {(256, 256): (256, 176), (512, 512): (512, 352)}  # as some methods write images of DeepFashion


def parse_size(text: str, option: str) -> Size:
    """(height, width) from HEIGHTxWIDTH."""
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if not match:
        raise InputError(f"{option} is {text!r}; expected HEIGHTxWIDTH such as 256x176")
    return int(match[1]), int(match[2])


def judged_size(sizes: set[Size], dataset: str) -> Size:
    """The size at which images of these sizes are judged where nobody says it.

    Raises:
        InputError: they have no size in common.
    """
    meant = {SQUARE.get(size, size) if dataset == "fashion" else size for size in sizes}
    if len(meant) > 1:
        named = " and ".join(f"{height}x{width}" for height, width in sorted(sizes))
        raise InputError(f"the folders hold images of {named}; say with --size HxW at which they are judged")
    return meant.pop()


def labelled(folders: list[str]) -> dict[str, Path]:
    """The folders by their labels, LABEL=FOLDER; the path is the label of a folder without one.

    Raises:
        InputError: two labels name one folder of results, or one names none.
    """
    result: dict[str, Path] = {}
    for text in folders:
        label, separator, path = text.partition("=")
        if Path(text).is_dir() or not separator:
            label, path = Path(text).as_posix().strip("/"), text
        if results_name(label) in map(results_name, result):
            raise InputError(f"--generated names {label} twice; give each folder a label of its own, LABEL=FOLDER")
        if label in ("", ".", "..", BASELINE):
            raise InputError(f"--generated {text}: {label!r} is no name for results; give it one, LABEL=FOLDER")
        result[label] = Path(path)
    return result


def results_name(label: str) -> str:
    """The folder that the results of a label go to."""
    return label.replace("/", "_")


def arguments_of(parser: Parser) -> Namespace:
    parser.add_argument("--generated", nargs="+", required=True, metavar="[LABEL=]DIR", help="folders of images")
    parser.add_argument(
        "--dataset", default="fashion", help="fashion, market, or the root folder of a prepared dataset"
    )
    parser.add_argument("--protocol", default="cfld", help=f"{', '.join(PROTOCOLS)}; see docs/evaluation.md")
    parser.add_argument(
        "--size", default="", metavar="HxW", help="at which images are judged; the dataset's if not given"
    )
    parser.add_argument("--frame", default="256x176", metavar="HxW", help="of the keypoints of a custom dataset")
    parser.add_argument("--split", default="test", choices=("train", "test"), help="whose pairs the images are of")
    parser.add_argument(
        "--real", default="", choices=("train", "test"), help="FID's real set; the protocol's if not given"
    )
    parser.add_argument(
        "--allow-partial", action="store_true", help="score what is there when images are missing or bad"
    )
    parser.add_argument("--output", default="outputs/evaluation", help="folder of tables, scores and pictures")
    parser.add_argument("--weights", default=str(FOLDER), help="folder of the weights that scores need")
    parser.add_argument("--batch-size", type=int, default=8, help="images a step; it changes no score")
    parser.add_argument("--num-workers", type=int, default=4, help="processes that read images")
    arguments = parser.parse_args()
    if arguments.batch_size < 1 or arguments.num_workers < 0:
        raise InputError("--batch-size is at least 1 and --num-workers at least 0")
    return arguments


@entrypoint
def main() -> None:
    arguments = arguments_of(Parser(__doc__))
    split = arguments.real or protocol(arguments.protocol).real
    folders, output = labelled(arguments.generated), Path(arguments.output)
    check_writable(output, "--output")
    root, size = Path(arguments.dataset), BENCHMARKS.get(arguments.dataset)
    if arguments.size:
        size = parse_size(arguments.size, "--size")
    dataset = find_layout(root)
    pairs = load_pairs(root, arguments.split, dataset)
    frame = LAYOUTS[dataset].frame or parse_size(arguments.frame, "--frame")
    found = {label: match_images(folder, pairs) for label, folder in folders.items()}
    accelerator = Accelerator()

    def checked() -> dict[str, dict[int, Path]]:
        for label, matches in found.items():
            print(f"{label}: {matches.summary()}")
        return {label: check_images(folders[label], found[label], arguments.allow_partial) for label in found}

    paths = on_main(accelerator, checked)
    if not size:  # the images of a folder have one
        size = judged_size({image_size(next(iter(images.values()))) for images in paths.values()}, dataset)
    scores = FolderScores(
        accelerator,
        pairs,
        frame,
        size,
        arguments.protocol,
        lambda: fid_real_images(root, dataset, split),
        in_checkout(arguments.weights),
        arguments.batch_size,
        arguments.num_workers,
    )
    results = {label: scores.score(paths[label], label) for label in found}
    baseline = scores.baseline()
    rows = {**{label: result.scores for label, result in results.items()}, BASELINE: baseline}
    output = output / f"{arguments.protocol}_{size[0]}x{size[1]}"
    meta = {"protocol": arguments.protocol, "height": size[0], "width": size[1], "dataset": str(root), "real": split}
    meta |= {f"baseline_{name}": value for name, value in json_numbers(baseline).items()}

    def write() -> None:
        for label, result in results.items():
            scores.write(output / results_name(label), label, paths[label], result, meta)
        write_comparison(output, rows)

    on_main(accelerator, write)
    if accelerator.is_main_process:
        print(
            f"protocol {arguments.protocol} at {size[0]}x{size[1]}, {len(set().union(*paths.values()))} pairs of {root}"
        )
        print(score_table(rows))
        for label, result in results.items():
            spans = (f"{name} {low:.4f} to {high:.4f}" for name, (low, high) in result.intervals.items())
            print(f"95 % intervals of {label}: {', '.join(spans)}")
        print(*skipped_lines(next(iter(results.values())).skipped), sep="\n")
        print(f"tables, scores and pictures are in {output}")
    accelerator.end_training()


if __name__ == "__main__":
    main()
