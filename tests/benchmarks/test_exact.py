import pytest
import torch

from benchmarks import exact
from tests.tiny import write_tiny


def test_both_arms_agree_before_a_ratio_is_printed(tmp_path, capsys):
    exact.main(["--config_file", str(write_tiny(tmp_path)), "--pairs", "1", "--rounds", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[1:]] == ["training step", "sampling"]
    assert all(line.endswith("times as fast") for line in lines[1:])


def test_arms_that_differ_give_no_ratio():
    with pytest.raises(AssertionError):
        exact.compare("step", {"published": lambda: torch.zeros(1), "ours": lambda: torch.ones(1)}, rounds=1)
