"""scripts/download_pretrained.sh against a server on this machine."""

import shutil
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from tests.scripts.repository import copy_scripts, run_bash

STABLE_DIFFUSION = "/huggingface.co/stable-diffusion-v1-5/stable-diffusion-v1-5/resolve/main"
UNET = f"{STABLE_DIFFUSION}/unet/diffusion_pytorch_model.safetensors"
SWIN_RELEASE = "/github.com/SwinTransformer/storage/releases/download/v1.0.0"
SWIN = f"{SWIN_RELEASE}/swin_base_patch4_window12_384_22kto1k.pth"
INCEPTION = "/download.pytorch.org/models/inception_v3_google-0cc3c7bd.pth"
DETECTOR = "/huggingface.co/yzd-v/DWPose/resolve/main/yolox_l.onnx"
WEIGHTS = save({"weight": np.arange(5000, dtype=np.float32)})


class Server(ThreadingHTTPServer):
    """Serves `files`, with `ranges` from the byte that a client asks for, and notes the requests."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.ranges = True
        self.requests: list[tuple[str, str | None]] = []


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append((self.path, self.headers["Range"]))
        content = self.server.files.get(self.path)
        wanted = self.headers["Range"] if self.server.ranges else None
        start = int((wanted or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        if content is None or start >= len(content):
            self.send_error(404 if content is None else 416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        self.wfile.write(content[start:])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def download(tmp_path, server):
    root = copy_scripts(tmp_path / "a folder", "PyYAML>=6")

    def run(*parts: str, mirror: str = f"http://127.0.0.1:{server.server_port}", **variables: str):
        return run_bash(root, "scripts/download_pretrained.sh", *parts, CFLD_DOWNLOAD_MIRROR=mirror, **variables)

    run.folder = root / "pretrained_models"
    return run


def unet_file(folder: Path) -> Path:
    return folder / "unet" / "diffusion_pytorch_model.safetensors"


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_file_is_fetched_once(download, server):
    server.files[UNET] = WEIGHTS
    process = download("unet")
    assert process.returncode == 0, process.stderr
    assert unet_file(download.folder).read_bytes() == WEIGHTS
    assert files_below(download.folder) == [unet_file(download.folder)]

    process = download("unet")
    assert process.returncode == 0 and "here already" in process.stdout
    assert len(server.requests) == 1


def test_a_broken_off_download_goes_on(download, server):
    server.files[UNET] = WEIGHTS
    part = unet_file(download.folder).with_suffix(".safetensors.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(WEIGHTS[:7000])
    assert download("unet").returncode == 0
    assert server.requests == [(UNET, "bytes=7000-")]
    assert unet_file(download.folder).read_bytes() == WEIGHTS and not part.exists()


def test_a_server_that_cannot_go_on_with_a_part_sends_the_whole_file(download, server):
    server.files[UNET], server.ranges = WEIGHTS, False
    part = unet_file(download.folder).with_suffix(".safetensors.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(WEIGHTS[:7000])
    process = download("unet")
    assert process.returncode == 0, process.stderr
    assert server.requests == [(UNET, "bytes=7000-"), (UNET, None)]
    assert files_below(download.folder) == [unet_file(download.folder)]


@pytest.mark.parametrize("content, requests", [(WEIGHTS, 0), (b"\xff" * 2 * len(WEIGHTS), 2)])
def test_a_part_no_shorter_than_the_file(download, server, content, requests):
    """A whole one is taken, of another one nothing."""
    server.files[UNET] = WEIGHTS
    part = unet_file(download.folder).with_suffix(".safetensors.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(content)
    process = download("unet")
    assert process.returncode == 0, process.stderr
    assert len(server.requests) == requests
    assert unet_file(download.folder).read_bytes() == WEIGHTS and not part.exists()


@pytest.mark.parametrize(
    "part, address, content, message",
    [
        ("unet", UNET, WEIGHTS[:-1], "it is cut off, or no safetensors file (Error while"),
        ("unet", UNET, b"<html>not found</html>", "it is cut off, or no safetensors file"),
        ("swin", SWIN, b"<html>not found</html>", "PyTorch cannot load it"),
        ("metrics", INCEPTION, WEIGHTS, "expected 0cc3c7bd"),
        ("pose", DETECTOR, WEIGHTS, "expected 7860ae79de6c89a3"),
    ],
)
def test_a_damaged_file_is_not_kept(download, server, part, address, content, message):
    server.files[address] = content
    process = download(part)
    assert process.returncode == 1
    assert process.stderr.startswith("error: ") and message in process.stderr
    assert process.stderr.count("\n") == 1
    assert files_below(download.folder) == []


def test_a_damaged_file_of_the_user_is_named_and_left(download, server):
    unet_file(download.folder).parent.mkdir(parents=True)
    unet_file(download.folder).write_bytes(WEIGHTS[:-4])
    process = download("unet")
    assert process.returncode == 1 and "delete it and run this again" in process.stderr
    assert unet_file(download.folder).read_bytes() == WEIGHTS[:-4] and server.requests == []


@pytest.mark.parametrize("mirror", [None, "http://127.0.0.1:9"])
def test_without_the_file_or_a_network_one_line_says_what_to_do(download, mirror):
    process = download("unet", **{"mirror": mirror} if mirror else {})
    assert process.returncode == 1
    assert process.stderr.startswith("error: cannot download pretrained_models/unet/diffusion_pytorch_model")
    assert UNET in process.stderr and process.stderr.count("\n") == 1
    assert files_below(download.folder) == []


def test_without_curl_one_line_says_so(download, tmp_path):
    commands = tmp_path / "bin"
    commands.mkdir()
    for name in ("bash", "dirname", "mkdir"):
        (commands / name).symlink_to(shutil.which(name))
    process = download("unet", PATH=f"{Path(sys.executable).parent}:{commands}")
    assert process.returncode == 1 and process.stderr.count("\n") == 1
    assert process.stderr.endswith(".safetensors without curl; on Debian and Ubuntu: apt-get install curl\n")


def test_an_unknown_part_is_one_line(download):
    process = download("unet", "vgg")
    assert (process.returncode, process.stdout) == (1, "")
    assert process.stderr == "error: unknown part 'vgg'; expected all, unet, vae, swin, clip, metrics or pose\n"
