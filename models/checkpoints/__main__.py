"""Turn a checkpoint into a folder that diffusers reads, with a model card:

python -m models.checkpoints export --checkpoint outputs/CFLD/baseline/epochs_100/checkpoints --output exported
python -m models.checkpoints export --checkpoint published --config_file configs/fashion_256.yaml --output exported
"""

from pathlib import Path

from configs.arguments import Parser
from configs.errors import one_line_errors
from models.export import export


@one_line_errors
def main() -> None:
    parser = Parser(__doc__, prog="python -m models.checkpoints")
    command = parser.add_subparsers(required=True, metavar="export").add_parser(
        "export", help="write a pipeline folder", description=__doc__
    )
    command.add_argument("--checkpoint", required=True, help="folder of a checkpoint, ours or published")
    command.add_argument("--output", required=True, type=Path, help="folder to make")
    command.add_argument("--config_file", default="", help="YAML file it was trained with, where it has none itself")
    arguments = parser.parse_args()
    export(arguments.checkpoint, arguments.output, arguments.config_file)
    print(f"{arguments.output}: a pipeline; README.md there says how to use it")


if __name__ == "__main__":
    main()
