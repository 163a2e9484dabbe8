"""Prepare your own photos: convert their keypoints, split the people into training and test, and pair their photos.

    python generate_custom_pairs.py --photos my_photos --keypoints my_photos.csv [--group folder] [KEY VALUE ...]

INPUT.ROOT_DIR is the output folder and INPUT.FRAME the shape of the prepared photos; see docs/your_own_photos.md. Run
the program again at any time, also with more photos: it skips finished photos, people keep their split, and no file is
ever half-written.
"""

from pathlib import Path

from configs.arguments import parse_arguments
from inference.options import add_estimator_option
from utils.command_line import Parser, add_worker_argument
from utils.errors import one_line_errors
from utils.imports import large_imports


def add_options(parser: Parser) -> None:
    parser.add_argument("--photos", type=Path, required=True, help="folder of photos, may contain subfolders")
    parser.add_argument("--keypoints", type=Path, required=True, help="CSV file, folder of OpenPose JSON files, "
                        "or estimate: estimate them from the photos")  # fmt: skip
    parser.add_argument("--keypoint_frame", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="size that the "
                        "keypoints refer to, if neither the photos' pixels nor the canvas that a JSON file "
                        "states")  # fmt: skip
    parser.add_argument("--group", default="folder", help="how to identify the person in a photo: folder (default), "
                        "prefix (of the file name, up to the first _ or -) or a regular expression")  # fmt: skip
    parser.add_argument("--test_share", type=float, default=0.1, help="share of the people used for testing (0.1); "
                        "people of an earlier run keep their split")  # fmt: skip
    add_estimator_option(parser)
    add_worker_argument(parser)


@one_line_errors
def main(arguments: list[str] | None = None) -> None:
    options = parse_arguments(__doc__, arguments, add_options)
    with large_imports():
        import numpy as np
        from PIL import Image

        from configs import load_config
        from datasets.own_photos import prepare_own_photos
        from inference.estimators import create_estimator
    estimator = create_estimator(options.estimator)

    def largest_person(photo: Image.Image) -> np.ndarray | None:
        people = estimator.people(photo)
        return people[0].keypoints if people else None

    cfg = load_config(options.config_file or "configs/custom.yaml", options.opts)
    prepare_own_photos(cfg, options, largest_person)


if __name__ == "__main__":
    main()
