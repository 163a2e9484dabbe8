import sys

import pytest

import pose_transfer_app
from tests.tiny import run_main


@pytest.mark.parametrize(
    "options, message",
    [
        (["--port", "x"], "argument --port: invalid int value"),
        (["--port", "70000"], "--port is 70000, expected 1 to 65535"),
        (["--port", "-5"], "--port is -5"),
        (["--port", "0"], "--port is 0"),
        (["--root-path", "pose"], "--root-path is pose, expected a path such as /pose"),
        (["--checkpoint", "nowhere"], "nowhere: no such folder"),
        (["--device", "cuda:77"], "--device is cuda:77"),
        (["--device", "cpu", "--offload"], "--offload needs a GPU"),
    ],
)
def test_bad_input_is_one_line(capsys, options, message):
    pytest.importorskip("gradio")
    assert run_main(pose_transfer_app, *options) == 1
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_without_gradio_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    for name in [name for name in sys.modules if name.startswith("app.")]:
        monkeypatch.delitem(sys.modules, name)
    assert run_main(pose_transfer_app) == 1
    assert "error: gradio is not installed; pip install -r requirements-app.txt" in capsys.readouterr().err
