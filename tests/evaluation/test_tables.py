"""Tables and files of scores."""

import csv
import json
import math
import sys

import numpy as np
import pytest
from PIL import Image

from evaluation import __main__ as command
from evaluation.tables import (
    confidence_intervals,
    latex_table,
    score_table,
    skipped_lines,
    write_comparison,
    write_per_image,
    write_scores,
)

OURS = {"PSNR": 18.23456, "SSIM": 0.7378, "FID": 6.804, "LPIPS": 0.15191}


def test_table_is_aligned_and_in_order():
    table = score_table({"ours": OURS, "published": {"FID": 16.5}})
    header, ours, published = table.splitlines()
    assert header.split() == ["FID", "↓", "LPIPS", "↓", "SSIM", "↑", "PSNR", "↑"]
    assert ours.split() == ["ours", "6.8040", "0.1519", "0.7378", "18.235"]
    assert published.split() == ["published", "16.5000", "–", "–", "–"]
    assert len({len(line) for line in table.splitlines()}) == 1


def test_written_scores(tmp_path):
    folder = tmp_path / "new" / "folder"
    write_scores(folder, OURS, {"protocol": "cfld", "size": [256, 176], "images": 8570})
    document = json.loads((folder / "metrics.json").read_text())
    assert document == {"scores": OURS, "meta": {"protocol": "cfld", "size": [256, 176], "images": 8570}}
    assert list(document["scores"]) == ["FID", "LPIPS", "SSIM", "PSNR"]
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows == [{"protocol": "cfld", "images": "8570", **{k: str(v) for k, v in OURS.items()}}]
    assert sorted(p.name for p in folder.iterdir()) == ["metrics.csv", "metrics.json"]


def test_infinite_score(tmp_path):
    write_scores(tmp_path, {"PSNR": float("inf")}, {})
    assert json.loads((tmp_path / "metrics.json").read_text())["scores"] == {"PSNR": None}
    assert (tmp_path / "metrics.csv").read_text() == "PSNR\ninf\n"


def test_per_image_table(tmp_path):
    write_per_image(tmp_path, [{"index": 0, "SSIM": 0.1 + 0.2, "PSNR": math.inf}, {"index": 4, "SSIM": 0.25}])
    assert (tmp_path / "metrics_per_image.csv").read_text() == "index,SSIM,PSNR\n0,0.3,inf\n4,0.25,\n"


def run_report(monkeypatch, *rows: str) -> int:
    monkeypatch.setattr(sys, "argv", ["report", *rows])
    try:
        command.main()
    except SystemExit as status:
        return status.code
    return 0


def test_several_tests_in_one_table(tmp_path, monkeypatch, capsys):
    write_scores(tmp_path / "a", {"PSNR": 20.0}, {"images": 3, "baseline_PSNR": 16.0})
    write_scores(tmp_path / "b", {"PSNR": 21.5}, {"baseline_PSNR": 16.0})
    rows = [f"{name}={tmp_path / name / 'metrics.json'}" for name in ("a", "b")]
    for name in ("a", "b"):
        Image.new("RGB", (4 * 36 - 4, 60)).save(tmp_path / name / "grid.png")
    assert run_report(monkeypatch, *rows, "--grid", str(tmp_path / "new" / "both.png")) == 0
    assert Image.open(tmp_path / "new" / "both.png").size == (5 * 36 - 4, 60)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert run_report(monkeypatch, *rows, "--grid", str(tmp_path / "both.jpg")) == 1
    assert "both.jpg, expected a name that ends in .png" in capsys.readouterr().err
    assert lines == [["PSNR", "↑"], ["a", "20.000"], ["b", "21.500"], ["copy", "of", "the", "source", "16.000"]]


def test_baselines_that_differ_have_a_row_each(tmp_path, monkeypatch, capsys):
    for name, copied in (("a", 16.0), ("b", 17.0)):
        write_scores(tmp_path / name, {"PSNR": 20.0}, {"baseline_PSNR": copied})
    assert run_report(monkeypatch, *[f"{name}={tmp_path / name / 'metrics.json'}" for name in ("a", "b")]) == 0
    lines = capsys.readouterr().out.splitlines()[-2:]
    assert [line.split() for line in lines] == [
        ["copy", "of", "the", "source", "of", "a", "16.000"],
        ["copy", "of", "the", "source", "of", "b", "17.000"],
    ]


def test_results_of_two_estimators_are_not_compared_silently(tmp_path, monkeypatch, capsys):
    for label, estimator in (("a", "BlazePose"), ("b", "DWPose"), ("c", "DWPose"), ("d", None)):
        meta = {"protocol": "cfld", "truth_PCKh": 0.98} | ({"estimator": estimator} if estimator else {})
        write_scores(tmp_path / label, {"PCKh": 0.8} if estimator else {"PSNR": 20.0}, meta)

    def report(labels: str) -> list[str]:
        assert run_report(monkeypatch, *[f"{label}={tmp_path / label / 'metrics.json'}" for label in labels]) == 0
        return capsys.readouterr().out.splitlines()

    assert report("bcd")[-3:] == ["ground truth       –  0.9800", "protocol: cfld", "estimator: DWPose"]
    assert report("d")[-1] == "protocol: cfld"
    assert report("abcd")[-1] == (
        "warning: the estimator differs, PCKh cannot be compared (a: BlazePose, b: DWPose, c: DWPose)"
    )
    write_scores(tmp_path / "d", {"PSNR": 20.0}, {"protocol": "pidm"})
    assert report("bd")[-2] == "warning: the protocol differs, scores cannot be compared (b: cfld, d: pidm)"


@pytest.mark.parametrize(
    "labels, message",
    [("aa", "a is given twice"), (["copy of the source"], "another label"), (["ground truth"], "another label")],
)
def test_two_rows_of_one_name_are_one_line(tmp_path, monkeypatch, capsys, labels, message):
    write_scores(tmp_path, {"PSNR": 20.0}, {})
    assert run_report(monkeypatch, *[f"{label}={tmp_path / 'metrics.json'}" for label in labels]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


@pytest.mark.parametrize(
    "content",
    [None, "[", "[" * 10**5, "[]", "{}", '{"scores": 1, "meta": {}}', '{"scores": {"SSIM": "x"}, "meta": {}}'],
)
def test_something_else_than_scores_is_one_line(content, tmp_path, monkeypatch, capsys):
    path = tmp_path / "metrics.json"
    if content is not None:
        path.write_text(content)
    assert run_report(monkeypatch, f"a={path}") == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_latex_table():
    text = latex_table({"ours_1": {"PSNR": 18.2, "KID": 0.01}, "R&D": {"PSNR": 17}})
    assert r"\begin{tabular}{lcc}" in text and r"Method & KID $\downarrow$ & PSNR $\uparrow$ \\" in text
    assert r"{ours\_1} & 0.01000 & 18.200 \\" in text and r"{R\&D} & -- & 17.000 \\" in text


LATEX = {  # how the characters that mean something in LaTeX are written as text
    "\\": r"\textbackslash ",
    "~": r"\textasciitilde ",
    "^": r"\textasciicircum ",
    **{character: "\\" + character for character in "&%$#_{}"},
}


@pytest.mark.parametrize("label", [r"a~^\x", r"\&%$#_{}~^", r"100% of {a}_b & c\d", 'x|y,"z"', "*x", "[x]", *LATEX])
def test_any_label_is_text_in_latex_and_csv(label, tmp_path):
    write_comparison(tmp_path, {label: {"PSNR": 18.2}})
    text = (tmp_path / "comparison.tex").read_text()
    escaped = "".join(LATEX.get(character, character) for character in label)
    assert f"\n{{{escaped}}} & 18.200 \\\\\n" in text
    with (tmp_path / "comparison.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == [{"method": label, "PSNR": "18.2"}]


def test_tables_without_scores():
    assert score_table({"a": {}, "b": {}}) == "no scores" and "{a} \\\\" in latex_table({"a": {}})


def test_confidence_intervals_hold_the_mean_and_narrow():
    rng = np.random.default_rng(0)
    rows = [{"index": i, "PSNR": value} for i, value in enumerate(rng.normal(20, 2, 400))]
    low, high = confidence_intervals(rows)["PSNR"]
    mean = np.mean([row["PSNR"] for row in rows])
    assert low < mean < high and high - low == pytest.approx(2 * 1.96 * 2 / 20, rel=0.15)
    assert confidence_intervals(rows) == confidence_intervals(rows)
    assert confidence_intervals(rows[:1]) == {} == confidence_intervals([{"PSNR": np.inf}, {"PSNR": 1.0}])


def test_reasons_are_said_once():
    assert skipped_lines({"FID": "no file", "LPIPS": "b", "KID": "no file"}) == [
        "FID, KID left out: no file",
        "LPIPS left out: b",
    ]
