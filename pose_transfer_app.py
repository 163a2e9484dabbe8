"""Serve a web page that generates images from your photos and shows training runs.

    python pose_transfer_app.py
    python pose_transfer_app.py --checkpoint outputs/CFLD/run/epochs_100/checkpoints --port 8080
    python pose_transfer_app.py --host 0.0.0.0        serve other machines in your network too, without a password
    python pose_transfer_app.py --root-path /pose     behind a reverse proxy that serves it as https://HOST/pose/

It requires `pip install -r requirements-app.txt`. The default checkpoint is the demo, which is trained on drawn people
only.
"""

from argparse import Namespace
from pathlib import Path

from inference.options import add_model_options
from utils.command_line import Parser
from utils.errors import one_line_errors
from utils.imports import large_imports


def arguments() -> Namespace:
    parser = Parser(__doc__)
    add_model_options(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, help="port to listen on (default: the first free port from 7860)")
    parser.add_argument("--root-path", metavar="PATH", help="path or full address of the page at a reverse proxy")
    parser.add_argument("--outputs", type=Path, default=Path("outputs"), help="folder of training runs (outputs)")
    return parser.parse_args()


@one_line_errors
def main() -> None:
    options = arguments()
    with large_imports():
        from app.launch import launch
    launch(options)


if __name__ == "__main__":
    main()
