"""Export a checkpoint to a folder for diffusers with a model card, or to the published format:

python -m models.checkpoints export --checkpoint outputs/CFLD/baseline/epochs_100/checkpoints --output exported
python -m models.checkpoints export --checkpoint published --config_file configs/fashion_256.yaml --output exported
python -m models.checkpoints export --checkpoint outputs/CFLD/baseline/epochs_100/checkpoints --output for_published \\
    --format published
"""

from argparse import Namespace
from pathlib import Path

from utils.command_line import Parser
from utils.errors import one_line_errors
from utils.imports import large_imports

FORMATS = {
    "pipeline": "a pipeline; see its README.md",
    "published": "pytorch_model.bin and pytorch_model_1.bin, for MODEL.PRETRAINED_PATH of the published system",
}


def arguments() -> Namespace:
    parser = Parser(__doc__, prog="python -m models.checkpoints")
    command = parser.add_subparsers(required=True, metavar="export").add_parser(
        "export", help="export a checkpoint for other programs", description=__doc__
    )
    command.add_argument("--checkpoint", required=True, help="checkpoint folder, in our or the published format")
    command.add_argument("--output", required=True, type=Path, help="output folder")
    command.add_argument("--config_file", default="", help="YAML file it was trained with, if it has none of its own")
    command.add_argument("--format", default="pipeline", choices=FORMATS, help="format of the folder (pipeline)")
    return parser.parse_args()


@one_line_errors
def main() -> None:
    options = arguments()
    with large_imports():
        from inference.export import export, export_published
    write = {"pipeline": export, "published": export_published}[options.format]
    write(options.checkpoint, options.output, options.config_file)
    print(f"{options.output}: {FORMATS[options.format]}")


if __name__ == "__main__":
    main()
