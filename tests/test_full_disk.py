"""A disk that is really full: a small file system in memory, while each kind of file is written.

After each one there is one line, no broken file and no temporary one, no process, and the same command goes on
when there is room again.
"""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from datasets import fid_real_images
from evaluation.protocols import PROTOCOLS, Network
from evaluation.real_set import give_real_set
from evaluation.scores import Scorer
from models.checkpoints import __main__ as checkpoints
from tests.evaluation.metrics.networks import Colours
from tests.forked import run
from tests.shared import REPOSITORY
from tests.test_faults import check_files
from tests.tiny import folder_of_run, run_main, short_run, write_tiny
from training import caching
from training.trainer import Trainer

PLENTY = shutil._ntuple_diskusage(2**40, 0, 2**40)


class SmallDisk:
    """A file system of so many KiB."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def size(self, kib: int) -> None:
        subprocess.run(["mount", "-o", f"remount,size={kib}k", self.root], check=True)

    def leave(self, kib: int) -> None:
        """Fill all but so many KiB."""
        with open(self.root / "filler", "wb") as file:
            file.write(bytes(max(0, shutil.disk_usage(self.root).free - 1024 * kib)))


@pytest.fixture
def disk(tmp_path):
    root = tmp_path / "disk"
    root.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", root], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield SmallDisk(root)
    subprocess.run(["umount", "-l", root], check=True)


@pytest.fixture
def tiny(tmp_path):
    return write_tiny(tmp_path)


def no_leftovers(root: Path) -> bool:
    return not [path for path in root.rglob("*") if path.name.endswith((".partial", ".replaced"))]


def train(tiny: Path, disk: SmallDisk, *opts: str, prepare=None) -> tuple[list[int], str]:
    outputs = ["ACCELERATE.OUTPUT_DIR", disk.root / "outputs", "OPTIMIZER.EPOCHS", "1"]
    return run("train", short_run(tiny, "full", *outputs, *opts), tiny.parent, prepare=prepare)


def one_error(output: str) -> str:
    [error] = [line for line in output.splitlines() if "rror" in line]
    assert error.startswith("error: ") and "Traceback" not in output, output
    return error


@pytest.mark.long
def test_checkpoints(tiny, disk):
    disk.size(4000)  # one has 3 MB
    statuses, output = train(tiny, disk, "ACCELERATE.CHECKPOINT_STEPS", "2")
    error = one_error(output)
    assert statuses == [1] and "No space left on device" in error
    assert "the previous checkpoint is intact: make room" in error
    made = folder_of_run(disk.root / "config", "full")
    check_files(made)
    assert made.newest() == made.checkpoint(0, 2) and no_leftovers(disk.root)
    disk.size(64_000)
    statuses, output = train(tiny, disk)
    assert statuses == [0] and "resuming from" in output, output


def fill_before_the_steps(rank: int) -> None:
    """All of the disk is full when the log has begun."""
    begin = Trainer._train

    def filled(self):
        SmallDisk(self.run.root.parents[2]).leave(0)
        return begin(self)

    Trainer._train = filled


def test_logs(tiny, disk):
    opts = ["ACCELERATE.TRACKERS", "['tensorboard']"]
    statuses, output = train(tiny, disk, *opts, prepare=fill_before_the_steps)
    assert statuses == [1] and "make room" in one_error(output), output
    check_files(folder_of_run(disk.root / "config", "full"))
    assert no_leftovers(disk.root)
    (disk.root / "filler").unlink()
    assert train(tiny, disk, *opts)[0] == [0]


def believe_there_is_room(rank: int) -> None:
    """As when another program fills the disk after the look at it."""
    caching.shutil.disk_usage = lambda _: PLENTY


@pytest.mark.parametrize("cache, kib", [("photos", 60), ("latents", 28)])
def test_caches(tiny, disk, cache, kib):
    opts = ["INPUT.CACHE", cache, "INPUT.CACHE_DIR", disk.root / "cache"]
    disk.leave(kib)  # enough for the first of three caches
    statuses, output = train(tiny, disk, *opts, prepare=believe_there_is_room)
    error = one_error(output)
    assert statuses == [1] and "No space left on device" in error and "INPUT.CACHE_DIR" in error, output
    made = list(disk.root.glob("cache/*/*.safetensors"))
    assert no_leftovers(disk.root) and 0 < len(made) < 3 and all(len(load_file(shard)["rows"]) == 5 for shard in made)
    (disk.root / "filler").unlink()
    assert train(tiny, disk, *opts)[0] == [0]
    assert len(list(disk.root.glob("cache/*/*.safetensors"))) == 3


def test_features_of_the_real_set(tiny, disk, monkeypatch):
    """They are only kept to save time."""
    protocol = replace(PROTOCOLS["cfld"], inception=Network(Colours, "colours.pth"))
    monkeypatch.setitem(PROTOCOLS, "cfld", protocol)
    accelerator = Accelerator(cpu=True)
    (disk.root / "colours.pth").touch()
    scorer, paths = Scorer("cpu", disk.root), fid_real_images(tiny.parent / "data")

    def features() -> torch.Tensor:
        scorer.real = None
        give_real_set(scorer, lambda: paths, (64, 56), accelerator, workers=0)
        return scorer.real

    disk.leave(0)
    first = features()
    assert no_leftovers(disk.root) and not list(disk.root.rglob("*.safetensors"))
    (disk.root / "filler").unlink()
    assert torch.equal(features(), first) and len(list(disk.root.rglob("*.safetensors"))) == 1
    assert torch.equal(features(), first)


@pytest.mark.parametrize("layout", ["pipeline", "published"])
def test_exports(disk, capsys, layout):
    demo = REPOSITORY / "pretrained_models" / "demo" / "checkpoint"
    arguments = ["export", "--checkpoint", demo, "--output", disk.root / "exported", "--format", layout]
    disk.leave(20_000)  # the conditioner has 12 MB, the U-Net 28
    assert run_main(checkpoints, *arguments) == 1
    assert "exported: cannot be written (" in one_error(capsys.readouterr().err)
    assert [path.name for path in disk.root.iterdir()] == ["filler"]
    (disk.root / "filler").unlink()
    assert run_main(checkpoints, *arguments) == 0
