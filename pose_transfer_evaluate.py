"""Score folders of generated images of any method under a common evaluation protocol.

    python pose_transfer_evaluate.py --generated outputs/CFLD/baseline/generated/256x176 --dataset fashion
    python pose_transfer_evaluate.py --generated "ours=a/images" "PIDM=b/images" --dataset ./fashion --protocol pidm

Images are named <source>_2_<target>_vis.png. Names without _vis, with _to_ or ___ instead of _2_, or with the target
name alone, other image formats, and subfolders are accepted too. Tables, scores, per-image scores, and images of the
best, median, and worst pairs are written to --output. scripts/run_processes.py starts several processes.
"""

from argparse import Namespace

from configs.defaults import SETTINGS_BY_KEY
from utils.command_line import Parser
from utils.entrypoints import entrypoint
from utils.imports import large_imports

WEIGHTS = SETTINGS_BY_KEY["TEST.METRICS_PATH"].default


def arguments() -> Namespace:
    parser = Parser(__doc__)
    parser.add_argument("--generated", nargs="+", required=True, metavar="[LABEL=]DIR", help="folders of images")
    parser.add_argument("--dataset", default="fashion", help="root folder of a prepared dataset (default: fashion)")
    parser.add_argument("--protocol", default="cfld", help="cfld, pidm, pcdms, dptn, or standard")
    parser.add_argument("--size", metavar="HxW", help="size of the scores (default: that of the images)")
    parser.add_argument("--frame", metavar="HxW", help="keypoint frame of a custom dataset (default: 256x176)")
    parser.add_argument("--split", default="test", choices=("train", "test"), help="split of the generated pairs")
    parser.add_argument("--real", default="train", choices=("train", "test"), help="split of the real images of FID")
    parser.add_argument("--allow-partial", action="store_true", help="skip missing and invalid images")
    parser.add_argument("--output", default="outputs/evaluation", help="folder for tables, scores, and images")
    parser.add_argument("--weights", default=WEIGHTS, help="folder of the network weights of the scores")
    parser.add_argument("--batch-size", type=int, default=8, help="images per step; does not change scores")
    parser.add_argument("--num-workers", type=int, default=4, help="number of processes that read images")
    return parser.parse_args()


@entrypoint
def main() -> None:
    options = arguments()
    with large_imports():
        from evaluation.folder_evaluation import evaluate_folders
    evaluate_folders(options)


if __name__ == "__main__":
    main()
