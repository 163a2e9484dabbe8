"""The CUDA path on a device made of software; see `device.py`. Each module that runs there says what it checks."""

import socket
from importlib.util import find_spec

import pytest

from tests.cuda.device import NULL, finish, needs_device, run, start
from tests.small import write_small
from tests.test_sharded_training import fsdp_settings
from tests.tiny import folder_of_run

pytestmark = needs_device
COPIES = {"NULL_GPU_COPY": 2**20}  # bytes of the largest copy that is made: full size needs no memory
FSDP = {"ACCELERATE_USE_FSDP": "true", **fsdp_settings()}


def test_counts_and_no_wait_of_a_step_at_full_size():
    assert "training step: " in run("full_size,counting", mode=NULL, **COPIES)


def test_sampling_gives_the_values_of_the_cpu():
    run("sampling")


@pytest.mark.long
def test_the_check_of_a_gpu_the_generator_and_the_page_give_the_values_of_the_cpu():
    run("checking" + ",generating" * bool(find_spec("gradio")))


@pytest.mark.parametrize(
    "sharding",
    [pytest.param({}, marks=pytest.mark.cuda, id="ddp"), pytest.param(FSDP, marks=pytest.mark.long, id="fsdp")],
)
def test_two_devices_train_in_half_precision(sharding, tmp_path):
    config = write_small(tmp_path)
    settings = ["ACCELERATE.MIXED_PRECISION", "fp16", "OPTIMIZER.MAX_GRAD_NORM", "1.0", "OPTIMIZER.EPOCHS", "1"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {"WORLD_SIZE": 2, "NULL_GPUS": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, **sharding}
    processes = [start("two_gpus", config, "two", *settings, **group, RANK=rank, LOCAL_RANK=rank) for rank in range(2)]
    try:
        for process in processes:
            finish(process)
    finally:
        for process in processes:
            process.kill()
    assert "2 process(es) on cuda, precision fp16" in folder_of_run(config, "two").log(0).read_text()


@pytest.mark.cuda
def test_cuda_graphs_of_compiled_blocks():
    run("graphs", mode=NULL)
