"""The one-line error."""

import pytest

from configs.errors import InputError, one_line_errors


def run(error: BaseException) -> int:
    @one_line_errors
    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as status:
        main()
    return status.value.code


def test_input_errors_are_one_line_and_status_1(capsys):
    assert run(InputError("file.csv, row 3: expected 18 numbers")) == 1
    assert capsys.readouterr().err == "error: file.csv, row 3: expected 18 numbers\n"


def test_an_error_from_a_loader_worker_is_its_last_line(capsys):
    wrapped = InputError(
        "Caught InputError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
        '  File "x.py"\nconfigs.errors.InputError: a.jpg: cannot be read'
    )
    assert run(wrapped) == 1
    assert capsys.readouterr().err == "error: a.jpg: cannot be read\n"


def test_an_interrupt_is_status_130(capsys):
    assert run(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_name_that_is_no_text_is_printed_escaped(capsys):
    one_line_errors(print)("caf\udce9.jpg")
    assert capsys.readouterr().out == "caf\\udce9.jpg\n"


def test_our_own_bugs_keep_their_traceback():
    @one_line_errors
    def main() -> None:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        main()
