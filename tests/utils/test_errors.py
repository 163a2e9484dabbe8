"""The one-line error."""

import errno
import os
import subprocess
import sys

import pytest

from tests.shared import REPOSITORY
from utils.errors import InputError, one_line_errors


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


@pytest.mark.parametrize(
    "number, places, message",
    [
        (errno.ENOENT, ("a.jpg",), "a.jpg: cannot be used (No such file or directory); check this path"),
        (errno.EACCES, ("a", None, b"b\xe9"), "b\\udce9: cannot be used (Permission denied); check this path"),
        (errno.ENAMETOOLONG, ("a" * 300,), "a: cannot be used (File name too long); check this path"),
        (errno.ENOSPC, ("a",), "a: cannot be written (No space left on device); make room"),
        (errno.ENOSPC, (), "a file: cannot be written (No space left on device); make room"),
    ],
)
def test_errors_of_files_are_one_line(capsys, number, places, message):
    assert run(OSError(number, os.strerror(number), *places)) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1


@pytest.mark.parametrize("bug", [KeyError("bug"), ConnectionRefusedError(111, "refused"), OSError("of a library")])
def test_our_own_bugs_keep_their_traceback(bug):
    @one_line_errors
    def main() -> None:
        raise bug

    with pytest.raises(type(bug)):
        main()


TALKING = """
import sys
from utils.errors import InputError, one_line_errors

@one_line_errors
def main():
    for number in range(20_000):
        print("output", number)
        print("progress", number, file=sys.stderr, flush=True)
    if sys.argv[1] == "bad":
        raise InputError("bad")
    raise SystemExit(int(sys.argv[1]))

main()
"""


@pytest.mark.parametrize("python", ["python", "python -u"])
@pytest.mark.parametrize("pipe", ["| head -1", "2>&1 | head -1", "2>&1 >/dev/null | true"])
@pytest.mark.parametrize("end, status", [("3", 3), ("bad", 1)])
def test_a_pipe_that_nobody_reads_to_its_end_changes_no_status(tmp_path, python, pipe, end, status):
    (tmp_path / "talking.py").write_text(TALKING)
    command = f"{python} {tmp_path}/talking.py {end} {pipe}; exit ${{PIPESTATUS[0]}}"
    path = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PATH": path}
    done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == status and done.stdout.count("\n") <= 1
    assert "BrokenPipe" not in done.stderr and "Exception ignored" not in done.stderr
