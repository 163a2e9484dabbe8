import pytest

from configs import InputError, load_config
from configs.files import write_text
from training.run_folder import RunFolder, new_folder


@pytest.fixture
def run(tmp_path):
    return RunFolder(tmp_path)


def save(run, epoch, text="", step=0):
    folder = run.checkpoint(epoch, step)
    with new_folder(folder) as partial:
        (partial / "weights").write_text(text)
    run.set_newest(folder)
    return folder


def test_the_paths_of_the_user():
    run = RunFolder.of(load_config(opts=["ACCELERATE.RUN_NAME", "no_app"]))
    assert str(run.checkpoint(100)) == "outputs/CFLD/no_app/epochs_100/checkpoints"
    assert str(run.generated([512, 352])) == "outputs/CFLD/no_app/generated/512x352"
    assert run.checkpoint(3, 12) != run.checkpoint(3)


def test_newest_and_best_are_kept(run):
    assert run.newest() is None and run.best() is None
    folders = [save(run, epoch) for epoch in range(1, 4)]
    run.set_best(folders[0], "SSIM", 0.5)
    run.prune()
    assert run.newest() == folders[2] and run.best()["value"] == 0.5
    assert [folder.is_dir() for folder in folders] == [True, False, True]


def test_a_failed_save_leaves_what_was_there(run):
    folder = save(run, 1, "old")
    with pytest.raises(RuntimeError), new_folder(folder) as partial:
        (partial / "weights").write_text("ne")
        raise RuntimeError
    assert [path.name for path in folder.parent.iterdir()] == ["checkpoints"]
    assert (run.newest() / "weights").read_text() == "old"
    assert (save(run, 1, "new") / "weights").read_text() == "new"
    assert [path.name for path in folder.parent.iterdir()] == ["checkpoints"]


def test_a_kill_between_the_renames_loses_nothing(run):
    folder = save(run, 1, "old")
    folder.rename(folder.with_name("checkpoints.replaced"))
    assert (run.newest() / "weights").read_text() == "old"
    save(run, 1, "new")
    run.prune()
    assert (run.newest() / "weights").read_text() == "new"


def test_a_checkpoint_that_is_gone(run):
    save(run, 1).joinpath("weights").unlink()
    run.checkpoint(1).rmdir()
    with pytest.raises(InputError, match="epochs_001/checkpoints: no such folder"):
        run.newest()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"checkpoint"'])
def test_a_damaged_pointer(run, text):
    write_text(run.root / "newest_checkpoint.json", text)
    with pytest.raises(InputError, match="newest_checkpoint.json: damaged"):
        run.newest()


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be made"):
        RunFolder(tmp_path / "file" / "run").make()
