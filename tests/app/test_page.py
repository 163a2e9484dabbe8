"""The page as a program: started, looked at through HTTP, and ended; the model is none."""

import json
import os
import re
import subprocess
import sys
import threading
from argparse import Namespace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from urllib.parse import urljoin
from urllib.request import ProxyHandler, Request, build_opener

import pytest
from PIL import Image

import pose_transfer_app
from app import launch
from datasets.keypoints import FRAME
from inference.estimators import ESTIMATORS
from inference.placement import Placement
from inference.pose_library import library
from inference.sampling_settings import SamplingSettings
from tests.app.finder import Finder
from tests.shared import REPOSITORY
from tests.tiny import run_main

gr = pytest.importorskip("gradio")

DIRECT = build_opener(ProxyHandler({}))
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


def get(address: str, data: bytes | None = None, **headers: str) -> str:
    with DIRECT.open(Request(address, data, headers), timeout=10) as answer:
        return answer.read().decode()


@pytest.fixture
def started(monkeypatch, tmp_path):
    """Run the program with options; `look` is called with its address while it runs."""
    pipe = Namespace(
        pose_frame=FRAME, placement=Placement.default(FRAME), sampling=SamplingSettings(50),
        config=Namespace(trained_on="drawn people only"), set_progress_bar_config=lambda **_: None,
    )  # fmt: skip
    monkeypatch.setattr(launch, "pipeline_of", lambda *_: pipe)
    pose = library()["standing_front"]
    monkeypatch.setitem(ESTIMATORS, "blazepose", partial(Finder, pose, pose * 0.5 + (100, 300)))
    monkeypatch.setitem(ESTIMATORS, "dwpose", ESTIMATORS["blazepose"])
    monkeypatch.chdir(tmp_path)

    def run(look, *options: str) -> int:
        def block_thread(page) -> None:
            look(page.local_url.rstrip("/"))
            page.close()

        monkeypatch.setattr(gr.Blocks, "block_thread", block_thread)
        return run_main(pose_transfer_app, *options)

    return run


class Refusing(BaseHTTPRequestHandler):
    """A proxy that lets nothing through."""

    def do_GET(self) -> None:
        self.send_error(403)

    do_HEAD = do_CONNECT = do_GET

    def log_message(self, *_) -> None:
        pass


class Prefix(BaseHTTPRequestHandler):
    """A reverse proxy that shows the server `behind` under /pose/."""

    behind = ""

    def do_GET(self) -> None:
        if not self.path.startswith("/pose/"):
            self.send_error(404)
            return
        data = self.rfile.read(int(self.headers.get("Content-Length", 0))) or None
        headers = {"Content-Type": self.headers["Content-Type"]} if data else {}
        body = get(self.behind + self.path.removeprefix("/pose"), data, Host=self.headers["Host"], **headers).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET
    log_message = Refusing.log_message


@pytest.fixture
def server():
    """Start a server of a handler; gives its address."""
    servers = []

    def start(handler: type) -> str:
        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield start
    for each in servers:
        each.shutdown()
        each.server_close()


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "refusing", "nonsense://x", "socks5://127.0.0.1:9"])
def test_a_proxy_in_the_environment(started, server, monkeypatch, proxy):
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in PROXIES[:3]:
        monkeypatch.setenv(name, server(Refusing) if proxy == "refusing" else proxy)
    pages = []
    assert started(lambda address: pages.append(get(address))) == 0
    assert "window.gradio_config" in pages[0] and "no_proxy" not in os.environ


@pytest.mark.long
def test_gradio_is_imported_without_proxies_and_writes_where_it_can():
    """The folder of uploads is looked at after the import, and before anything is loaded."""
    environment = {**os.environ, "ALL_PROXY": "socks5://127.0.0.1:9", "GRADIO_TEMP_DIR": "/dev/null/x"}
    program = [sys.executable, REPOSITORY / "pose_transfer_app.py", "--checkpoint", "nowhere"]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, check=False)
    reason = "cannot be written (Not a directory); choose another location"
    assert (done.returncode, done.stderr) == (1, f"error: GRADIO_TEMP_DIR /dev/null/x: {reason}\n")


def test_behind_a_reverse_proxy(started, server):
    def look(address: str) -> None:
        Prefix.behind = address
        shown = server(Prefix) + "/pose"
        page = get(f"{shown}/")
        config = json.loads(re.search(r"window.gradio_config = (\{.*?\});</script>", page)[1])
        assert config["root"] == shown and "trained on drawn people only" in page
        scripts = set(re.findall(r'<script[^>]* src="([^"]*\.js)"', page))
        assert scripts and all(len(get(urljoin(f"{shown}/", script))) > 100 for script in scripts)
        site = Site(config)
        photo = BytesIO()
        Image.new("RGB", (500, 300)).save(photo, "PNG")
        file = {"path": site.upload("us.png", photo.getvalue()), "meta": {"_type": "gradio.FileData"}}
        assert file["path"].endswith("us.png")
        view, number, pose, status = site.call("show", [file, "person"])
        assert json.loads(view)["number"] == 1 and len(json.loads(pose)) == 18 and "2 people found" in status
        view, *_ = site.call("clicked", [file, "person"], {"number": 2})
        assert json.loads(view)["number"] == 2

    assert started(look, "--root-path", "/pose") == 0


class Site:
    """What a browser sends to the page of a config."""

    def __init__(self, config: dict) -> None:
        self.api = config["root"] + config["api_prefix"]
        self.functions = {function["api_name"]: function["id"] for function in config["dependencies"]}

    def upload(self, name: str, content: bytes) -> str:
        head = f'--x\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
        form = {"Content-Type": "multipart/form-data; boundary=x"}
        [path] = json.loads(get(f"{self.api}/upload", head.encode() + content + b"\r\n--x--\r\n", **form))
        return path

    def call(self, name: str, data: list, event: dict | None = None) -> list:
        """Return the last values of the outputs of an event handler."""
        order = {"data": data, "event_data": event, "fn_index": self.functions[name], "session_hash": "me"}
        get(f"{self.api}/queue/join", json.dumps(order).encode(), **{"Content-Type": "application/json"})
        lines = get(f"{self.api}/queue/data?session_hash=me").splitlines()
        messages = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
        return [message for message in messages if message["msg"] == "process_completed"][-1]["output"]["data"]
