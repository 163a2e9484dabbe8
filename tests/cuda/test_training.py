"""A file of its own, so that `scripts/test.sh` runs it beside `test_cuda.py`."""

from tests.cuda.device import needs_device, run


@needs_device
def test_training_and_testing():
    run("training")
