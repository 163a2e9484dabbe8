"""The Slurm example starts training on every machine, and has itself queued again when that helps."""

import os
import subprocess

import pytest

from tests.shared import REPOSITORY


@pytest.mark.parametrize("status, queued", [(0, False), (143, True), (75, True), (137, True), (1, False)])
def test_slurm_example(tmp_path, status, queued):
    for name, text in {"srun": f'echo "srun $*"; exit {status}', "scontrol": 'echo "scontrol $*"'}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    variables = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_SUBMIT_DIR": str(REPOSITORY)}
    variables |= {"SLURM_JOB_ID": "17", "SLURM_CPUS_PER_TASK": "48"}
    process = subprocess.run(
        ["bash", REPOSITORY / "scripts/multi_node/slurm_example.sh", "OPTIMIZER.EPOCHS", "3"],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=60,
    )
    lines = process.stdout.splitlines()
    assert process.returncode == status and "pose_transfer_train.sh 0,1" in lines[0]
    assert lines[0].startswith("srun ") and " --cpus-per-task=48 bash " in lines[0]
    assert lines[0].endswith("OPTIMIZER.EPOCHS 3") and lines[1:] == ["scontrol requeue 17"] * queued
