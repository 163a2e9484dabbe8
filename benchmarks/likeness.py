"""How alike the images of some folders are to those of the same names in another: a student's, say, to its teacher's.

    python -m benchmarks.likeness outputs/demo/teacher/generated/128x128 \\
        "student=outputs/demo/student/generated/128x128"

Images are the PNGs that pose_transfer_test.py writes.
"""

from collections.abc import Sequence
from pathlib import Path

from torchvision.transforms.functional import pil_to_tensor
from tqdm import tqdm

from evaluation.metrics.network_weights import FOLDER
from evaluation.scores import Scorer
from evaluation.tables import score_table
from utils.command_line import Parser, labelled_paths
from utils.errors import InputError, one_line_errors
from utils.image_files import open_image

IMAGES = "*_vis.png"


def likeness(reference: Path, folder: Path) -> dict[str, float]:
    """SSIM, PSNR and, where its weights are there, LPIPS of the images of `folder` to those of `reference`.

    Raises:
        InputError: the folders do not hold the same images in the same sizes, or one cannot be read.
    """
    names = sorted(path.name for path in reference.glob(IMAGES))
    if not names or names != sorted(path.name for path in folder.glob(IMAGES)):
        raise InputError(f"{folder}: expected images {IMAGES} of the same names as the {len(names)} in {reference}")
    scorer = Scorer("cpu", FOLDER)
    for index, name in enumerate(tqdm(names, desc="comparing", unit="image", leave=False)):
        first, second = (pil_to_tensor(open_image(path / name))[None] for path in (folder, reference))
        if first.shape != second.shape:
            raise InputError(
                f"{folder / name}: {tuple(first.shape[2:])} pixels, in {reference} {tuple(second.shape[2:])}"
            )
        scorer.update(first, second, [index])
    return scorer.compute()


@one_line_errors
def main(arguments: Sequence[str] | None = None) -> None:
    parser = Parser(__doc__, prog="python -m benchmarks.likeness")
    parser.add_argument("reference", type=Path, help="folder of images")
    parser.add_argument("folders", nargs="+", metavar="LABEL=FOLDER", help="a row's name, and its folder of images")
    options = parser.parse_args(arguments)
    folders = labelled_paths(options.folders, "LABEL=FOLDER")
    rows = {label: likeness(options.reference, folder) for label, folder in folders.items()}
    print(score_table(rows))


if __name__ == "__main__":
    main()
