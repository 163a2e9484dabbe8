"""Turn a checkpoint into a folder that diffusers reads, with a model card, or into one of the published system:

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

FORMATS = {  # what writes each, and what it has written
    "pipeline": (export, "a pipeline; README.md there says how to use it"),
    "published": (export_published, f"{' and '.join(PUBLISHED[0])}, for MODEL.PRETRAINED_PATH of the published system"),
}


@one_line_errors
def main() -> None:
    parser = Parser(__doc__, prog="python -m models.checkpoints")
    command = parser.add_subparsers(required=True, metavar="export").add_parser(
        "export", help="write a folder for other programs", description=__doc__
    )
    command.add_argument("--checkpoint", required=True, help="folder of a checkpoint, ours or published")
    command.add_argument("--output", required=True, type=Path, help="folder to make")
    command.add_argument("--config_file", default="", help="YAML file it was trained with, where it has none itself")
    command.add_argument("--format", default="pipeline", choices=FORMATS, help="of the folder (pipeline)")
    arguments = parser.parse_args()
    write, written = FORMATS[arguments.format]
    write(arguments.checkpoint, arguments.output, arguments.config_file)
    print(f"{arguments.output}: {written}")


if __name__ == "__main__":
    main()
