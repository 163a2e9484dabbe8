import pytest

from configs.arguments import parse_arguments
from utils.errors import InputError


def test_arguments_in_any_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, batch in (("a b.yaml", 2), ("c.yaml", 3)):
        (tmp_path / name).write_text(f"INPUT: {{BATCH_SIZE: {batch}}}")
    for arguments in (
        ["--config_file", "a b.yaml", "--config_file", "c.yaml", "TEST.NUM_PAIRS", "1", "OPTIMIZER.LR", "-1"],
        ["TEST.NUM_PAIRS", "1", "--config_file", "a b.yaml", "OPTIMIZER.LR", "-1", "--config_file", "c.yaml"],
    ):
        parsed = parse_arguments("", arguments)
        assert parsed.config_file == [("a b.yaml", [("INPUT.BATCH_SIZE", 2)]), ("c.yaml", [("INPUT.BATCH_SIZE", 3)])]
        assert parsed.opts == ["TEST.NUM_PAIRS", "1", "OPTIMIZER.LR", "-1"]
    with pytest.raises(InputError, match="command line"):
        parse_arguments("", ["--config_file"])


@pytest.mark.parametrize("arguments", [["--config_file", "missing.yaml"], ["X", "1"], ["INPUT.BATCH_SIZE", "two"]])
def test_files_and_settings_are_checked_with_the_command_line(arguments):
    with pytest.raises(InputError, match="missing.yaml|unknown setting 'X'|expected int"):
        parse_arguments("", arguments)
