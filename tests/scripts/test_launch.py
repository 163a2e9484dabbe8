"""The launch scripts start the right command: a stub `python` records what it is called with."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.scripts.repository import write_stub
from tests.shared import REPOSITORY

STUB = """
import json, os, sys
if "-c" == sys.argv[1] and "device_count" in sys.argv[2]:
    print(os.environ["STUB_GPUS"])
names = ["CUDA_VISIBLE_DEVICES", "ACCELERATE_USE_CPU", "OMP_NUM_THREADS"]
with open(os.environ["STUB_RECORD"], "w") as file:
    json.dump([sys.argv[1:], {name: os.environ.get(name) for name in names}, os.getcwd()], file)
"""
CHECKPOINT = ["MODEL.PRETRAINED_PATH", "outputs/CFLD/no_app/epochs_100/checkpoints"]
QUOTED = ["MODEL.PRETRAINED_PATH", "a folder/with 'quotes', \"more\" and $dollars *"]
DEFAULT = ["--config_file", "configs/fashion_256.yaml"]
RUNNER = ["scripts/run_processes.py", "--nproc_per_node"]
UUID = "8932f937-d72c-4106-c12f-20bd9faed9f6"
DISTILL = ["--config_file", "configs/distill.yaml"]
CHECK = ["--output", "a folder", "--only", "machine"]
NO_APP = ["--config_file", "configs/ablation_study/no_app.yaml"]


@pytest.fixture
def launch(tmp_path):
    """Run a launch script with the stub; gives the process, and the recorded command and environment."""
    stub, record = write_stub(tmp_path / "bin", STUB), tmp_path / "record.json"

    def run(script: str, *arguments: str, gpus: int = 8, **variables: str):
        hidden = (
            "CUDA_VISIBLE_DEVICES",
            "ACCELERATE_USE_CPU",
            "OMP_NUM_THREADS",
            "NNODES",
            "NODE_RANK",
            "MASTER_ADDR",
            "MASTER_PORT",
        )
        environment = {
            name: value for name, value in os.environ.items() if name not in hidden and not name.startswith("SLURM_")
        }
        environment |= {
            "PATH": f"{stub.parent}:{os.environ['PATH']}",
            "STUB_RECORD": str(record),
            "STUB_GPUS": str(gpus),
            **variables,
        }
        process = subprocess.run(
            ["bash", REPOSITORY / "scripts" / script, *arguments],
            check=False,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        command, environment, folder = json.loads(record.read_text()) if record.exists() else ([], {}, None)
        if process.returncode == 0:
            assert Path(folder) == REPOSITORY
        return process, command, environment

    return run


@pytest.mark.parametrize(
    "script, arguments, expected",
    [
        ("single_gpu/pose_transfer_train.sh", ["0"], ["pose_transfer_train.py", *DEFAULT]),
        ("single_gpu/pose_transfer_train.sh", ["3", *NO_APP], ["pose_transfer_train.py", *NO_APP]),
        (
            "single_gpu/pose_transfer_train.sh",
            ["0", "--config_file=a.yaml"],
            ["pose_transfer_train.py", "--config_file=a.yaml"],
        ),
        ("single_gpu/pose_transfer_test.sh", ["0", *CHECKPOINT], ["pose_transfer_test.py", *CHECKPOINT]),
        ("single_gpu/pose_transfer_test.sh", ["0", *QUOTED], ["pose_transfer_test.py", *QUOTED]),
        (
            "single_gpu/pose_transfer_train.sh",
            ["0", *DISTILL, *CHECKPOINT],
            ["pose_transfer_train.py", *DISTILL, *CHECKPOINT],
        ),
        ("multi_gpu/pose_transfer_train.sh", ["5"], ["pose_transfer_train.py", *DEFAULT]),
        ("single_gpu/pose_transfer_test.sh", [f"GPU-{UUID}", *CHECKPOINT], ["pose_transfer_test.py", *CHECKPOINT]),
        ("single_gpu/pose_transfer_test.sh", [f"MIG-GPU-{UUID}/1/0"], ["pose_transfer_test.py"]),
        ("check_gpu.sh", ["0", *CHECK], ["-m", "benchmarks.check_gpu", *CHECK]),
    ],
)
def test_one_gpu_is_plain_python(launch, script, arguments, expected):
    process, command, environment = launch(script, *arguments, gpus=1)
    assert process.returncode == 0, process.stderr
    assert command == expected
    assert environment == {
        "CUDA_VISIBLE_DEVICES": arguments[0],
        "ACCELERATE_USE_CPU": None,
        "OMP_NUM_THREADS": None,
    }


@pytest.mark.parametrize(
    "script, arguments, expected",
    [
        ("multi_gpu/pose_transfer_train.sh", ["0,1,2,3,4,5,6,7"], ["pose_transfer_train.py", *DEFAULT]),
        ("multi_gpu/pose_transfer_train.sh", ["0,1", *NO_APP], ["pose_transfer_train.py", *NO_APP]),
        ("multi_gpu/pose_transfer_test.sh", ["0,1", *CHECKPOINT], ["pose_transfer_test.py", *CHECKPOINT]),
        ("multi_gpu/pose_transfer_train.sh", [f"GPU-{UUID},GPU-6e92"], ["pose_transfer_train.py", *DEFAULT]),
    ],
)
def test_several_gpus_are_as_many_processes(launch, script, arguments, expected):
    count = len(arguments[0].split(","))
    process, command, environment = launch(script, *arguments, gpus=count)
    assert process.returncode == 0, process.stderr
    assert command == [*RUNNER, str(count), "--standalone", *expected]
    assert environment["CUDA_VISIBLE_DEVICES"] == arguments[0]


@pytest.mark.parametrize(
    "script, arguments, expected",
    [
        ("single_gpu/pose_transfer_test.sh", CHECKPOINT, ["pose_transfer_test.py", *CHECKPOINT]),
        ("check_gpu.sh", CHECK, ["-m", "benchmarks.check_gpu", *CHECK]),
    ],
)
def test_cpu(launch, script, arguments, expected):
    process, command, environment = launch(script, "cpu", *arguments, gpus=0)
    assert process.returncode == 0, process.stderr
    assert command == expected
    assert environment == {"CUDA_VISIBLE_DEVICES": "", "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": None}


def test_two_cpu_processes_share_the_cores(launch):
    process, command, environment = launch("multi_gpu/pose_transfer_train.sh", "cpu,cpu", gpus=0)
    assert process.returncode == 0, process.stderr
    assert command == [*RUNNER, "2", "--standalone", "pose_transfer_train.py", *DEFAULT]
    cores = len(os.sched_getaffinity(0))
    assert environment == {
        "CUDA_VISIBLE_DEVICES": "",
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": str(-(-cores // 2)),
    }


def test_several_machines(launch):
    process, command, _ = launch(
        "multi_node/pose_transfer_train.sh", "0", gpus=1, NNODES="2", NODE_RANK="1", MASTER_ADDR="10.0.0.1"
    )
    assert process.returncode == 0, process.stderr
    assert command == [
        *RUNNER,
        "1",
        "--nnodes",
        "2",
        "--rdzv_backend",
        "c10d",
        "--rdzv_id",
        "cfld",
        "--rdzv_endpoint",
        "10.0.0.1:29500",
        "--rdzv_conf",
        "is_host=0",
        "pose_transfer_train.py",
        *DEFAULT,
    ]


def test_several_machines_under_slurm(launch, tmp_path):
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.write_text("#!/bin/sh\nprintf 'node7\\nnode8\\n'\n")
    scontrol.chmod(0o755)
    process, command, _ = launch(
        "multi_node/pose_transfer_test.sh",
        "0,1",
        *CHECKPOINT,
        gpus=2,
        SLURM_JOB_NUM_NODES="2",
        SLURM_NODEID="0",
        SLURM_JOB_NODELIST="node[7-8]",
        MASTER_PORT="3000",
    )
    assert process.returncode == 0, process.stderr
    assert command[3:13] == [
        "--nnodes",
        "2",
        "--rdzv_backend",
        "c10d",
        "--rdzv_id",
        "cfld",
        "--rdzv_endpoint",
        "node7:3000",
        "--rdzv_conf",
        "is_host=1",
    ]


@pytest.mark.parametrize(
    "script, arguments, message",
    [
        ("single_gpu/pose_transfer_train.sh", [], "usage: bash scripts/single_gpu/pose_transfer_train.sh"),
        ("multi_gpu/pose_transfer_test.sh", [""], "usage: bash scripts/multi_gpu/pose_transfer_test.sh"),
        ("multi_gpu/pose_transfer_train.sh", ["1,x"], "'1,x' is not a list of devices"),
        ("multi_gpu/pose_transfer_train.sh", ["0,,1"], "'0,,1' is not a list of devices"),
        ("multi_gpu/pose_transfer_train.sh", ["0,"], "'0,' is not a list of devices"),
        ("multi_gpu/pose_transfer_train.sh", ["cpu,0"], "'cpu,0' is not a list of devices"),
        ("multi_gpu/pose_transfer_train.sh", NO_APP, "'--config_file' is not a list of devices"),
        ("multi_gpu/pose_transfer_train.sh", ["0,1,1"], "'0,1,1' names GPU 1 twice"),
        ("multi_gpu/pose_transfer_train.sh", ["TPU-12"], "'TPU-12' is not a list of devices"),
        ("single_gpu/pose_transfer_train.sh", ["0,1"], "single_gpu expects one device"),
        ("single_gpu/pose_transfer_train.sh", ["9"], "GPU 9: PyTorch sees 0 of 1 GPUs"),
        ("multi_node/pose_transfer_train.sh", ["0"], "multi_node requires NNODES"),
    ],
)
def test_bad_devices_are_one_line(launch, script, arguments, message):
    process, command, _ = launch(script, *arguments, gpus=0)
    assert process.returncode == 1
    assert "pose_transfer" not in " ".join(command)
    assert process.stderr.startswith(f"error: {message}") and process.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "wrong",
    [
        *({"NNODES": value} for value in ("two", "9" * 30)),
        {"NODE_RANK": "2"},
        *({"MASTER_PORT": value} for value in ("http", "65536")),
    ],
)
def test_numbers_of_machines_that_cannot_be(launch, wrong):
    variables = {"NNODES": "2", "NODE_RANK": "1", "MASTER_ADDR": "10.0.0.1", **wrong}
    process, command, _ = launch("multi_node/pose_transfer_train.sh", "0", gpus=1, **variables)
    assert process.returncode == 1 and not command
    [(name, value)] = wrong.items()
    assert f"{name} {value}" in process.stderr and process.stderr.count("\n") == 1


@pytest.fixture
def start(tmp_path):
    """Start a program in two processes on the CPU."""

    def run(text: str, runner: Sequence[str] = (*RUNNER, "2", "--standalone")) -> subprocess.Popen:
        program = tmp_path / "program.py"
        program.write_text(text)
        return subprocess.Popen(
            [sys.executable, *runner, program],
            cwd=REPOSITORY,
            env=os.environ
            | {"ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
            | {"PYTHONPATH": str(REPOSITORY)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return run


@pytest.mark.parametrize("precision", ["no", pytest.param("fp16", marks=pytest.mark.long)])
def test_two_cpu_processes_find_each_other(start, precision):
    """What the scripts rest on: Accelerate takes the processes from run_processes.py, on the CPU too."""
    process = start(
        "import torch\n"
        "from configs import load_config\n"
        "from utils.processes import make_accelerator\n"
        f"opts = ['ACCELERATE.MIXED_PRECISION', '{precision}', 'ACCELERATE.TIMEOUT_MINUTES', '3']\n"
        "accelerator = make_accelerator(load_config(opts=opts))\n"
        "ranks = accelerator.gather(torch.tensor([accelerator.process_index]))\n"
        "assert accelerator.num_processes == 2 and accelerator.device.type == 'cpu'\n"
        "assert ranks.tolist() == [0, 1]\n"
        "gloo = torch.distributed.group.WORLD._get_backend(accelerator.device)\n"
        "assert gloo.options._timeout.total_seconds() == 180\n"
        "del gloo\n"
        "accelerator.end_training()\n"
    )
    errors = process.communicate(timeout=120)[1]
    assert process.returncode == 0, errors


@pytest.mark.parametrize(
    "failure, status, line",
    [
        ("sys.exit(3)", 3, ""),
        ("sys.exit('error: x')", 1, "error: x\n"),
        ("os.kill(os.getpid(), 9)", 137, "error: process 1 was terminated by SIGKILL\n"),
    ],
)
def test_the_processes_speak_for_themselves(start, failure, status, line):
    process = start(f"import os, sys, time\nif os.environ['RANK'] == '1': {failure}\ntime.sleep(60)\n")
    output = process.communicate(timeout=120)
    assert process.returncode == status
    assert output == ("", line)


@pytest.mark.parametrize(
    "options, problem",
    [
        (["--rdzv_backend", "c10d", "--rdzv_endpoint", "localhost:99999"], "port number of the rendezvous endpoint"),
        (["accelerate", "--config_file", "nowhere.yaml"], "file `nowhere.yaml` does not exist"),
        (["accelerate", "--config_file", "tests/scripts/repository.py"], 'in "tests/scripts/repository.py", line '),
    ],
)
def test_what_the_launcher_does_not_take_is_one_line(start, options, problem):
    process = start("", [RUNNER[0], *options])
    output, errors = process.communicate(timeout=120)
    assert (process.returncode, output, errors.count("\n")) == (1, "", 1)
    assert errors.startswith("error: ") and problem in errors


@pytest.mark.skipif(find_spec("deepspeed") is not None, reason="its package is there")
def test_a_launcher_whose_package_is_missing_is_one_line(start, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("{compute_environment: LOCAL_MACHINE, distributed_type: DEEPSPEED, deepspeed_config: {}}")
    process = start("", [RUNNER[0], "accelerate", "--config_file", config, "--num_processes", "2"])
    output, errors = process.communicate(timeout=120)
    assert (process.returncode, output, errors.count("\n")) == (1, "", 1) and errors.startswith("error: DeepSpeed is")


def test_sharded_processes_speak_for_themselves(start):
    process = start(
        "import os, sys, time\n"
        "if os.environ['RANK'] == '1': sys.exit('error: FSDP is ' + os.environ['ACCELERATE_USE_FSDP'])\n"
        "time.sleep(60)\n",
        [RUNNER[0], "accelerate", "--config_file", "configs/accelerate/fsdp.yaml", "--num_processes", "2"],
    )
    output = process.communicate(timeout=120)
    assert process.returncode == 1 and output == ("", "error: FSDP is true\n")


def test_a_signal_reaches_the_processes_which_may_finish(start, tmp_path):
    process = start(
        "import os, pathlib, signal, sys, time\n"
        "folder, rank = pathlib.Path(__file__).parent, os.environ['RANK']\n"
        "def finish(*_):\n"
        "    time.sleep(1)\n"
        "    (folder / f'saved{rank}').touch()\n"
        "    sys.exit(143)\n"
        "signal.signal(signal.SIGTERM, finish)\n"
        "(folder / f'ready{rank}').touch()\n"
        "time.sleep(60)\n"
    )
    end = time.monotonic() + 60
    while len(list(tmp_path.glob("ready*"))) < 2 and time.monotonic() < end:
        time.sleep(0.1)
    process.terminate()
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 143 and len(list(tmp_path.glob("saved*"))) == 2
