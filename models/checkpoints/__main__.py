"""Export a checkpoint to a folder for diffusers with a model card, or to the published format:

python -m models.checkpoints export --checkpoint outputs/CFLD/baseline/epochs_100/checkpoints --output exported
python -m models.checkpoints export --checkpoint published --config_file configs/fashion_256.yaml --output exported
python -m models.checkpoints export --checkpoint outputs/CFLD/baseline/epochs_100/checkpoints --output for_published \\
    --format published
"""

from pathlib import Path

from inference.export import export, export_published
from models.checkpoints import PUBLISHED
from utils.command_line import Parser
from utils.errors import one_line_errors

FORMATS = {  # the function that writes each, and its description
    "pipeline": (export, "a pipeline; see its README.md"),
    "published": (export_published, f"{' and '.join(PUBLISHED[0])}, for MODEL.PRETRAINED_PATH of the published system"),
}


@one_line_errors
def main() -> None:
    parser = Parser(__doc__, prog="python -m models.checkpoints")
    command = parser.add_subparsers(required=True, metavar="export").add_parser(
        "export", help="export a checkpoint for other programs", description=__doc__
    )
    command.add_argument("--checkpoint", required=True, help="checkpoint folder, in our or the published format")
    command.add_argument("--output", required=True, type=Path, help="output folder")
    command.add_argument("--config_file", default="", help="YAML file it was trained with, if it has none of its own")
    command.add_argument("--format", default="pipeline", choices=FORMATS, help="format of the folder (pipeline)")
    arguments = parser.parse_args()
    write, written = FORMATS[arguments.format]
    write(arguments.checkpoint, arguments.output, arguments.config_file)
    print(f"{arguments.output}: {written}")


if __name__ == "__main__":
    main()
