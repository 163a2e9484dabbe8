"""Launch the web page."""

import re
from argparse import Namespace

from app.network import without_proxies
from inference.pipeline_options import pipeline_of, student_of
from utils.errors import InputError
from utils.files import check_writable

ROOT_PATH = re.compile(r"(https?://[^/\s]+)?(/[^?#\s]*)?")


def launch(options: Namespace) -> None:
    """Load the model and serve the page until it is interrupted.

    Args:
        options: of `pose_transfer_app.py`.

    Raises:
        InputError: an option is invalid, Gradio is not installed, or the address is in use.
    """
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
    pipe, folder = pipeline_of(options), student_of(options)
    student = pipeline_of(options, folder) if folder else None
    for each in filter(None, (pipe, student)):
        each.set_progress_bar_config(disable=True)
    studio = Studio(pipe, options.outputs.resolve(), options.batch_size, options.checkpoint, student)
    try:
        serve(build_page(studio), options.host, options.port, options.root_path)
    except OSError as error:
        if error.filename:
            raise
        address = f"--host {options.host}" + (f" --port {options.port}" if options.port else "")
        raise InputError(f"{address}: cannot listen on this address; choose another or use the default") from None
