"""The options of programs that load a pipeline, on a GPU that is not there."""

import argparse
import weakref

import pytest
import torch

from inference import pipeline_options
from inference.options import add_model_options
from inference.pipeline_options import check_model_options, enough_memory, pipeline_of, student_of
from utils.errors import InputError


class Pipe:
    """Keeps what is asked of it."""

    def __init__(self) -> None:
        self.asked = []

    def to(self, where):
        self.asked.append(where)
        return self

    def enable_model_cpu_offload(self, device):
        self.asked.append(f"one part at a time on {device}")


@pytest.mark.parametrize(
    "options, asked",
    [
        ([], ["cuda:0"]),
        (["--half"], [torch.float16, "cuda:0"]),
        (["--half", "--offload"], [torch.float16, "one part at a time on cuda:0"]),
    ],
)
def test_the_pipeline_is_where_the_options_want_it(monkeypatch, options, asked):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(pipeline_options, "load_pipeline", lambda *_: Pipe())
    parser = argparse.ArgumentParser()
    add_model_options(parser)
    assert pipeline_of(parser.parse_args(["--device", "cuda:0", *options])).asked == asked


def test_a_student_keeps_its_own_config(monkeypatch, tmp_path):
    loaded = []
    monkeypatch.setattr(pipeline_options, "load_pipeline", lambda *arguments: loaded.append(arguments) or Pipe())
    parser = argparse.ArgumentParser()
    add_model_options(parser)
    (tmp_path / "student").mkdir()
    options = parser.parse_args(["--device", "cpu", "--checkpoint", str(tmp_path), "--config_file", "teacher.yaml"])
    for student in (None, student_of(options)):
        pipeline_of(options, student)
    assert loaded == [(str(tmp_path), "teacher.yaml"), (tmp_path / "student",)]


@pytest.mark.parametrize("device", ["meta", "mps", "xpu", "cpu:3", "cuda:x", "cuda:01", "gpu", ""])
def test_devices_that_are_none_of_ours(device):
    parser = argparse.ArgumentParser()
    add_model_options(parser)
    with pytest.raises(InputError, match=f"--device is {device}, expected cpu, cuda, or cuda:N"):
        check_model_options(parser.parse_args(["--device", device]))


class Large:
    pass


def test_a_gpu_without_memory_is_one_line_and_what_filled_it_is_let_go():
    held = []

    @enough_memory()
    def work():
        large = Large()
        held.append(weakref.ref(large))
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(InputError, match="not enough GPU memory; use --half, --offload, or a smaller --batch-size"):
        work()
    assert held[0]() is None
