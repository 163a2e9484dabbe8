"""A web page for photos, poses and runs, on this machine.

    python pose_transfer_app.py
    python pose_transfer_app.py --checkpoint outputs/CFLD/run/epochs_100/checkpoints --port 8080
    python pose_transfer_app.py --host 0.0.0.0        others in your network can use it too: there is no password
    python pose_transfer_app.py --root-path /pose     behind a reverse proxy that shows it as https://HOST/pose/

It needs `pip install -r requirements-app.txt`. Without --checkpoint the demo weights are used, which know drawn
people only.
"""

import re
from argparse import Namespace
from pathlib import Path

from app.network import without_proxies
from inference.pipeline_options import add_model_options, pipeline_of
from utils.command_line import Parser
from utils.errors import InputError, one_line_errors
from utils.files import check_writable

ROOT_PATH = re.compile(r"(https?://[^/\s]+)?(/[^?#\s]*)?")


def arguments() -> Namespace:
    parser = Parser(__doc__)
    add_model_options(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1: this machine alone)")
    parser.add_argument("--port", type=int, help="port to listen on (the first free one from 7860)")
    parser.add_argument("--root-path", metavar="PATH", help="path or whole address that a reverse proxy shows it under")
    parser.add_argument("--outputs", type=Path, default=Path("outputs"), help="folder of the training runs (outputs)")
    return parser.parse_args()


@one_line_errors
def main() -> None:
    options = arguments()
    if options.port is not None and not 1 <= options.port <= 65535:
        raise InputError(f"--port is {options.port}, expected 1 to 65535")
    if options.root_path and not ROOT_PATH.fullmatch(options.root_path):
        raise InputError(f"--root-path is {options.root_path}, expected a path such as /pose or https://HOST/pose")
    try:
        with without_proxies():
            from app.page import UPLOADS, build_page, serve
            from app.studio import Studio
    except ModuleNotFoundError as error:
        raise InputError(f"{error.name} is not installed; pip install -r requirements-app.txt") from None
    check_writable(UPLOADS, "GRADIO_TEMP_DIR")
    pipe = pipeline_of(options)
    pipe.set_progress_bar_config(disable=True)
    studio = Studio(pipe, options.outputs.resolve(), options.batch_size)
    try:
        serve(build_page(studio), options.host, options.port, options.root_path)
    except OSError as error:
        if error.filename:
            raise
        where = f"--host {options.host}" + (f" --port {options.port}" if options.port else "")
        raise InputError(f"{where}: cannot listen there; choose another, or leave it out") from None


if __name__ == "__main__":
    main()
