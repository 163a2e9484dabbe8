import numpy as np
import pytest
from PIL import Image

from benchmarks import likeness
from tests.tiny import run_main


@pytest.fixture
def folder(tmp_path):
    """A function that writes two images, with so much added to every pixel, and gives their folder."""
    pixels = np.random.default_rng(0).integers(0, 200, (2, 64, 48, 3), dtype=np.uint8)

    def write(name: str, added: int):
        (tmp_path / name).mkdir()
        for number, image in enumerate(pixels):
            Image.fromarray(image + np.uint8(added)).save(tmp_path / name / f"{number}_vis.png")
        return tmp_path / name

    return write


def test_scores_are_between_the_folders(folder, capsys):
    reference, near, far = folder("reference", 0), folder("near", 1), folder("far", 16)
    assert run_main(likeness, reference, f"near={near}", f"far={far}") == 0
    head, *lines = capsys.readouterr().out.splitlines()
    column = [word for word in head.split() if word != "↑" and word != "↓"].index("PSNR") + 1
    values = {line.split()[0]: float(line.split()[column]) for line in lines}
    assert values["near"] == pytest.approx(20 * np.log10(255), abs=0.01)
    assert values["far"] == pytest.approx(20 * np.log10(255 / 16), abs=0.01)


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda folder: (folder / "1_vis.png").unlink(), "of the same names as the 2 in"),
        (lambda folder: (folder / "1_vis.png").write_bytes(b"no"), "cannot be read as an image"),
        (lambda folder: Image.new("RGB", (48, 32)).save(folder / "1_vis.png"), "(32, 48) pixels, in"),
    ],
)
def test_mistakes_are_one_line(folder, spoil, message, capsys):
    reference, other = folder("reference", 0), folder("other", 1)
    spoil(other)
    assert run_main(likeness, reference, f"other={other}") == 1
    error = capsys.readouterr().err.split("\r")[-1]
    assert message in error
    assert run_main(likeness, reference, other) == 1
    assert "expected LABEL=FOLDER" in capsys.readouterr().err
    assert run_main(likeness, reference, f"a={other}", f"a={reference}") == 1
    assert "a is given twice" in capsys.readouterr().err
