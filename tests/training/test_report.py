import json
import re
import shutil

import pytest
from PIL import Image

from tests.tiny import run_main
from training import report
from training.run_folder import RunFolder
from training.run_report import write_report
from utils.errors import InputError


@pytest.fixture
def run(tmp_path):
    run = RunFolder(tmp_path / "project" / "run")
    for epoch, fid, ssim in ((1, 9.0, 0.51), (2, 7.5, 0.502)):
        run.epochs(epoch).mkdir(parents=True)
        scores = {"scores": {"FID": fid, "SSIM": ssim, "PSNR": None}, "meta": {}}
        (run.epochs(epoch) / "metrics.json").write_text(json.dumps(scores))
        Image.new("RGB", (40, 30), "green").save(run.epochs(epoch) / "grid.png")
    run.config.write_text("NAME: <b>me</b>\n")
    run.training_log.write_text('{"step": 1200, "loss": 0.25}\n')
    Image.new("RGB", (60, 20)).save(run.training_curves)
    return run


def test_everything_is_in_one_file(run):
    page = write_report(run).read_text()
    assert "1,200 optimizer steps; the last loss is 0.2500" in page and "<h1>project/run</h1>" in page
    assert page.count('src="data:image/jpeg;base64,') == 3  # curves and two grids
    assert not re.search(r'(src|href)="(?!data:)', page) and "http" not in page
    assert "&lt;b&gt;me&lt;/b&gt;" in page


def test_the_best_scores_are_marked(run):
    page = write_report(run).read_text()
    assert re.findall(r'<td class="best">([\d.]+)</td>', page) == ["0.5100", "7.5000"]
    assert "PSNR" not in page
    newest = [line for line in page.split("<details") if "epochs_002" in line]
    assert newest[-1].startswith(" open")


def test_evaluations_by_two_estimators_are_marked(run):
    for epoch, estimator in ((1, "BlazePose"), (2, "DWPose")):
        document = {"scores": {"PCKh": 0.8}, "meta": {"estimator": estimator}}
        (run.epochs(epoch) / "metrics.json").write_text(json.dumps(document))
    assert (
        "warning: the estimator differs, PCKh cannot be compared (epochs_001: BlazePose"
        in write_report(run).read_text()
    )


def test_the_newest_grid_is_that_of_the_highest_epoch(run):
    for epoch in (999, 1001):
        shutil.copytree(run.epochs(1), run.epochs(epoch))
    page = write_report(run).read_text()
    assert [part.startswith(" open") for part in page.split("<details")[1:-1]] == [False, False, False, True]
    assert re.findall(r"<summary>(epochs_\d+)", page) == ["epochs_001", "epochs_002", "epochs_999", "epochs_1001"]


def test_names_are_no_markup(run):
    shutil.copytree(run.epochs(1), run.root / "<i>epochs")
    run.root.rename(run.root.with_name("<b>&run"))
    page = write_report(RunFolder(run.root.with_name("<b>&run"))).read_text()
    assert "<h1>project/&lt;b&gt;&amp;run</h1>" in page and page.count("&lt;i&gt;epochs") == 2  # scores and grids
    assert "<b>" not in page and "<i>" not in page


def test_a_config_that_is_not_text(run):
    run.config.write_bytes(b"NAME: \xff\n")
    assert "NAME: \ufffd" in write_report(run).read_text()


def test_a_run_that_has_just_begun(tmp_path):
    run = RunFolder(tmp_path)
    run.config.write_text("A: 1\n")
    page = write_report(run).read_text()
    assert "Nothing was logged yet." in page and "Grids" not in page and "<img" not in page


def test_the_command(run, tmp_path, capsys):
    assert run_main(report, run.root) == 0
    assert capsys.readouterr().out.strip() == str(run.report)
    assert run_main(report, tmp_path) == 1
    assert "no config.yaml in it" in capsys.readouterr().err
    (run.epochs(1) / "grid.png").write_bytes(b"half")
    with pytest.raises(InputError, match="grid.png"):
        write_report(run)
