"""Going on where a run of several processes stopped, with as many processes or another number."""

import json
import os
import signal
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from configs import load_config
from datasets import GlobalBatchSampler
from tests.forked import Program, run, wait_for
from tests.small import write_small
from tests.tiny import SHORT, folder_of_run, short_run
from training.run_folder import RunFolder
from training.trainer import Trainer

EVALUATED = ["ACCELERATE.EVAL_PERIOD", "2"]
ALL = [
    *["ACCELERATE.GRADIENT_ACCUMULATION_STEPS", "2", "OPTIMIZER.EMA_DECAY", "0.9", "INPUT.NUM_WORKERS", "2"],
    *["OPTIMIZER.MAX_GRAD_NORM", "0.5", "MODEL.COND_STAGE_CONFIG.DROP_PATH_RATE", "0.5"],
    *["OPTIMIZER.MUON_RATE", "0.5"],
]


@pytest.fixture
def tiny(tmp_path):
    return write_small(tmp_path)


def arguments(config: Path, name: str, *more: str) -> list:
    return short_run(config, name, *EVALUATED, *more)


def two_cores(rank: int) -> None:
    """As many loader processes as asked for, on any machine."""
    os.sched_getaffinity = lambda _: {0, 1}


def stop_in_step(number: int, rank: int) -> None:
    """Send SIGTERM to the last process alone, in its optimizer step `number` of the run."""
    two_cores(rank)
    step = Trainer._step

    def stopped(self, batches, epoch, index):
        if rank == self.accelerator.num_processes - 1 and epoch * self.steps_per_epoch + index + 1 == number:
            signal.raise_signal(signal.SIGTERM)
        with open(Path(self.run.root) / f"pairs_{rank}.txt", "a") as file:
            result = step(self, (_noted(batch, epoch, file) for batch in batches), epoch, index)
        return result

    Trainer._step = stopped


def _noted(batch: dict, epoch: int, file):
    file.write(json.dumps([epoch, batch["index"].tolist()]) + "\n")
    return batch


def stop_in_3(rank: int) -> None:
    stop_in_step(3, rank)


def stop_in_8(rank: int) -> None:
    stop_in_step(8, rank)


def never_stop(rank: int) -> None:
    stop_in_step(-1, rank)


def state(run: RunFolder) -> dict[str, torch.Tensor]:
    files = [load_file(run.newest() / name) for name in ("model.safetensors", "training_state.safetensors")]
    return {f"{number}/{name}": value for number, file in enumerate(files) for name, value in file.items()}


def test_two_processes_go_on_to_the_last_bit(tiny):
    assert run("train", arguments(tiny, "whole", *ALL), tiny.parent, 2, two_cores)[0] == [0, 0]
    statuses, output = run("train", arguments(tiny, "parts", *ALL), tiny.parent, 2, stop_in_8)
    assert statuses == [143, 143] and "stopped by a signal; run again to resume from" in output, output
    assert folder_of_run(tiny, "parts").newest() == folder_of_run(tiny, "parts").checkpoint(1, 3)
    assert run("train", arguments(tiny, "parts", *ALL), tiny.parent, 2, two_cores)[0] == [0, 0]
    whole, parts = state(folder_of_run(tiny, "whole")), state(folder_of_run(tiny, "parts"))
    assert whole.keys() == parts.keys() and [name for name in whole if not torch.equal(whole[name], parts[name])] == []


@pytest.mark.long
def test_another_number_of_processes_goes_on_with_the_same_pairs(tiny):
    unet = tiny.parent / "parts" / "unet" / "config.json"
    counts = ((2, stop_in_3, 143), (1, stop_in_8, 143), (4, never_stop, 0))
    for count, prepare, status in counts:
        statuses, output = run("train", arguments(tiny, "parts"), tiny.parent, count, prepare)
        assert statuses == [status] * count, output
        assert ("will not be bit-identical" in output) == (count != 2)
        assert ("unet: the files differ from those the checkpoint was trained with" in output) == (count == 4)
        if count == 1:
            unet.write_text(unet.read_text() + "\n")
    assert (
        "is resumed with changed settings: the number of processes 1 -> 4; the run trains on the same pairs" in output
    )
    run_of_parts = folder_of_run(tiny, "parts")
    seen = Counter()
    for path in run_of_parts.root.glob("pairs_*.txt"):
        for epoch, indices in map(json.loads, path.read_text().splitlines()):
            seen.update((epoch, index) for index in indices)
    cfg = load_config(tiny, [*SHORT, *EVALUATED])
    sampler = GlobalBatchSampler(20, 4, 0, 1, 1, cfg.ACCELERATE.SEED)
    expected = {(epoch, int(index)) for epoch in (0, 1) for index in sampler.global_batches(epoch).flat}
    assert seen == Counter(expected)  # none is left out, none comes twice
    assert run("train", arguments(tiny, "whole"), tiny.parent)[0] == [0]
    whole, parts = state(folder_of_run(tiny, "whole")), state(run_of_parts)
    for name in whole:
        torch.testing.assert_close(whole[name], parts[name], rtol=0, atol=1e-3)


def test_bad_input_of_two_processes_is_one_line(tiny):
    program = Program("train", arguments(tiny, "bad", "OPTIMIZER.EPOCHS", "many"), tiny.parent, 2)
    program.processes[0].join()
    program.kill(signal.SIGTERM, rank=1)  # as the launcher does
    assert program.statuses() == [1, -signal.SIGTERM]
    assert program.output(0).startswith("error: command line: OPTIMIZER.EPOCHS is 'many'")
    assert program.output(0).count("\n") == 1 and program.output(1) == ""
    assert not folder_of_run(tiny, "bad").root.exists()


def in_a_folder_of_its_own(parent: Path, rank: int) -> None:
    """As on two machines that share no folder; OUTPUT_DIR is relative to the working directory."""
    folder = parent / f"machine{rank}"
    folder.mkdir(exist_ok=True)
    os.chdir(folder)


@pytest.mark.long
def test_two_machines_that_share_no_folder(tiny):
    prepare = partial(in_a_folder_of_its_own, tiny.parent)
    own = [tiny.parent / f"machine{rank}" for rank in (0, 1)]
    opts = [*arguments(tiny, "apart", "OPTIMIZER.EPOCHS", "1"), "ACCELERATE.OUTPUT_DIR", "outputs"]
    statuses, output = run("train", opts, tiny.parent, 2, prepare)
    assert statuses == [0, 0], output
    checkpoint = RunFolder(own[0] / "outputs" / "tiny" / "apart").newest()
    program = Program("train", opts, tiny.parent, 2, prepare)
    assert program.statuses() == [1, 1]
    for rank in (0, 1):
        assert "outputs must be on a file system that all machines share" in program.output(rank)
        assert program.output(rank).count("error: ") == 1
    test = ["MODEL.PRETRAINED_PATH", checkpoint, "TEST.NUM_PAIRS", "5", "ACCELERATE.RUN_NAME", "test"]
    statuses, output = run("test", test, tiny.parent, 2, prepare)
    assert statuses == [0, 0] and "5 images (5 sampled in this run)" in output, output
    made = [{path.name for path in folder.rglob("*_vis.png")} for folder in own]
    assert [len(names) for names in made] == [3, 2] and made[0].isdisjoint(made[1])


def wait_in(method: str, folder: Path, rank: int) -> None:
    """Go on with a method of the trainer when the file `go_on` is there, and say so."""
    work = getattr(Trainer, method)

    def waiting(self):
        (folder / "waits").touch()
        wait_for((folder / "go_on").exists, "no sign to go on")
        return work(self)

    setattr(Trainer, method, waiting)


def waiting_program(tiny: Path, method: str) -> tuple[Program, Path]:
    """A run that waits before a method of its trainer, and its folder for signs."""
    signs = tiny.parent / method
    signs.mkdir()
    program = Program("train", arguments(tiny, "one"), signs, prepare=partial(wait_in, method, signs))
    wait_for((signs / "waits").exists, program.output())
    return program, signs


def test_a_run_of_two_programs_is_the_first_ones(tiny):
    late, signs_of_late = waiting_program(tiny, "_begin")  # finds nothing yet
    first, signs = waiting_program(tiny, "_train")
    folder = folder_of_run(tiny, "one")
    folder.epochs(1).mkdir()
    (folder.epochs(1) / "checkpoints.partial").mkdir()  # as the first one writes it
    before = {path: path.read_bytes() for path in folder.root.rglob("*") if path.is_file()}
    (signs_of_late / "go_on").touch()
    second = run("train", arguments(tiny, "one", "ACCELERATE.RESUME", "False"), tiny.parent)
    for statuses, output in ((late.statuses(), late.output()), second):
        assert statuses == [1] and output.count("\n") == 1, output
        assert f"{folder.root}: process {first.processes[0].pid} on " in output
        assert "choose another ACCELERATE.RUN_NAME" in output
    assert before == {path: path.read_bytes() for path in folder.root.rglob("*") if path.is_file()}
    assert (folder.epochs(1) / "checkpoints.partial").is_dir()
    (signs / "go_on").touch()
    assert first.statuses() == [0], first.output()
    assert run("train", arguments(tiny, "one"), tiny.parent)[0] == [0]


def test_a_killed_run_can_be_gone_on_with_at_once(tiny):
    opts = ["OPTIMIZER.EPOCHS", "1", "INPUT.NUM_WORKERS", "1"]
    program = Program("train", arguments(tiny, "one", "ACCELERATE.CHECKPOINT_STEPS", "1", *opts), tiny.parent)
    wait_for(lambda: folder_of_run(tiny, "one").newest(), program.output())
    program.kill(signal.SIGKILL)
    program.processes[0].join()  # its loader processes may still be there
    statuses, output = run("train", arguments(tiny, "one", *opts), tiny.parent)
    assert statuses == [0] and "resuming from" in output, output
