import errno
import fcntl
import json
import multiprocessing
import shutil

import pytest

from configs import load_config
from training.run_folder import RunFolder
from utils.errors import InputError
from utils.files import LOCK, file_records, lock_folder, new_folder, write_text


@pytest.fixture
def run(tmp_path):
    return RunFolder(tmp_path)


def save(run, epoch, text="", step=0):
    folder = run.checkpoint(epoch, step)
    with new_folder(folder) as partial:
        (partial / "weights").write_text(text)
        (partial / "checkpoint.json").write_text(json.dumps({"files": file_records(partial, [partial / "weights"])}))
    run.set_newest(folder, keep=2)
    return folder


def test_the_paths_of_the_user():
    run = RunFolder.of(load_config(opts=["ACCELERATE.RUN_NAME", "no_app"]))
    assert str(run.checkpoint(100)) == "outputs/CFLD/no_app/epochs_100/checkpoints"
    assert str(run.generated([512, 352])) == "outputs/CFLD/no_app/generated/512x352"
    assert run.checkpoint(3, 12) != run.checkpoint(3)


def test_the_newest_two_and_the_best_are_kept(run):
    assert run.newest() is None and run.best() is None
    folders = [save(run, epoch) for epoch in range(1, 5)]
    step = save(run, 4, step=7)
    run.set_best(folders[0], 0.5, score="SSIM")
    (run.epochs(2) / "grid.png").touch()
    run.prune()
    assert run.newest() == step and run.best()["value"] == 0.5
    assert [folder.is_dir() for folder in folders] == [True, False, False, True]
    assert run.epochs(2).is_dir() and not run.epochs(3).exists()  # nothing but the checkpoint was there
    again = save(run, 4, step=7)
    assert json.loads((run.root / "newest_checkpoint.json").read_text()) == {
        "checkpoint": "epochs_004_step_00007/checkpoints",
        "before": ["epochs_004/checkpoints"],
    }
    assert run.newest() == again


def cut_short(folder):
    (folder / "weights").write_text("hal")


def change(folder):
    (folder / "weights").write_text("gnat")


def remove_file(folder):
    (folder / "weights").unlink()


def remove_facts(folder):
    (folder / "checkpoint.json").unlink()


@pytest.mark.parametrize("damage", [cut_short, change, remove_file, remove_facts, shutil.rmtree])
def test_a_damaged_newest_one_is_passed_over(run, damage):
    first, second = save(run, 1, "have"), save(run, 2, "gnus")
    damage(second)
    assert run.newest() == first and len(run.damaged) == 1 and str(second) in run.damaged[0]
    run.drop_newer_than(first)
    assert run.newest() == first and run.damaged == []
    assert (save(run, 2, "bees") / "weights").read_text() == "bees" and run.newest() == second
    damage(first)
    damage(second)
    with pytest.raises(InputError, match="names no other checkpoint") as error:
        run.newest()
    assert "\n" not in str(error.value)


def test_a_failed_save_leaves_what_was_there(run):
    folder = save(run, 1, "old")
    with pytest.raises(RuntimeError), new_folder(folder) as partial:
        (partial / "weights").write_text("ne")
        raise RuntimeError
    assert [path.name for path in folder.parent.iterdir()] == ["checkpoints"]
    assert (run.newest() / "weights").read_text() == "old"
    assert (save(run, 1, "new") / "weights").read_text() == "new"
    assert [path.name for path in folder.parent.iterdir()] == ["checkpoints"]


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    folder = tmp_path / "folder"
    with pytest.raises(InputError) as error, new_folder(folder, "make room") as partial:
        (partial / "part").mkdir()
        raise OSError(errno.ENOSPC, "No space left on device")
    assert str(error.value) == f"{folder}: cannot be written ([Errno 28] No space left on device); make room"
    assert not list(tmp_path.iterdir())
    with new_folder(folder) as partial:
        (partial / "part").mkdir()
        (partial / "part" / "weights").touch()
    assert [path.relative_to(folder).as_posix() for path in folder.rglob("*")] == ["part", "part/weights"]


def test_a_kill_between_the_renames_loses_nothing(run):
    folder = save(run, 1, "old")
    folder.rename(folder.with_name("checkpoints.replaced"))
    assert (run.newest() / "weights").read_text() == "old"
    save(run, 1, "new")
    run.prune()
    assert (run.newest() / "weights").read_text() == "new"


def test_a_checkpoint_that_is_gone(run):
    shutil.rmtree(save(run, 1))
    with pytest.raises(InputError, match="epochs_001/checkpoints: no such folder"):
        run.newest()


@pytest.mark.parametrize("text", ["[" * 10**5, "null", '{"checkpoint": "epochs_001/checkpoints"}', '{"score": []}'])
def test_a_damaged_record_of_the_best(run, text):
    write_text(run.root / "best_checkpoint.json", text)
    with pytest.raises(InputError, match="best_checkpoint.json: .*; correct or remove it"):
        run.best()


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"checkpoint"', '{"checkpoint": "../x"}', '{"checkpoint": "/x"}', '{"checkpoint": 3}']
)
def test_a_damaged_pointer(run, text):
    write_text(run.root / "newest_checkpoint.json", text)
    with pytest.raises(InputError, match="newest_checkpoint.json: .*; correct or remove it"):
        run.newest()


def test_what_interrupted_writes_left_is_removed(run):
    folder = save(run, 1)
    for place in (run.root, run.epochs(1), folder):
        (place / ".config.yaml.17.partial").touch()
    run.begin("", folder)
    assert not list(run.root.rglob("*.partial")) and run.newest() == folder


def test_a_run_that_starts_again_does_not_report_the_scores_of_the_one_before(run):
    save(run, 1)
    for name in ("metrics.json", "metrics_per_image.csv", "grid.png"):
        (run.epochs(1) / name).touch()
    run.begin("", None)
    assert [path.name for path in run.epochs(1).iterdir()] == ["checkpoints"] and run.newest() is None


def hold(folder, connection):
    lock_folder(folder)
    connection.send("held")
    connection.recv()


def test_a_folder_belongs_to_one_process_until_it_ends(tmp_path):
    here, there = multiprocessing.Pipe()
    other = multiprocessing.get_context("spawn").Process(target=hold, args=(tmp_path, there))
    other.start()
    assert here.recv() == "held"
    with pytest.raises(
        InputError, match=f"{tmp_path}: process {other.pid} on .* is writing to this folder; wait until"
    ):
        lock_folder(tmp_path)
    other.kill()
    other.join()
    lock_folder(tmp_path)
    lock_folder(tmp_path)


def test_a_file_system_without_locks(run, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", unsupported)
    run.lock()
    assert (run.root / LOCK).exists()
    RunFolder(run.root / "new").lock()
    assert not (run.root / "new").exists()
