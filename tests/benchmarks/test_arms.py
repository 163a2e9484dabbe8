import numpy as np
import pytest
import torch

from benchmarks import arms
from configs import load_config
from utils.processes import make_accelerator


def work(value: float):
    """Calls that count up from a value."""
    calls = iter(range(1000))
    return lambda: torch.tensor([value + next(calls)])


def test_an_arm_works_in_processes_of_its_own_and_hands_on_what_goes_wrong():
    arm = arms.Arm(2, threads=1)
    try:
        assert arm(arms.prepare, work, 5.0) > 0 and arms.WORK == {}
        assert arm(arms.median_seconds, 3) > 0
        assert np.array_equal(arm(arms.result), [8.0])
        assert arm(arms.peak_memory) > 0.01
        assert arm(torch.get_num_threads) == 1
        with pytest.raises(TypeError):
            arm(arms.prepare, work)
    finally:
        arm.close()


def doubled(value: torch.Tensor) -> torch.Tensor:
    return 2 * value


def compiled_work(size: int):
    call = torch.compile(doubled, backend="eager", dynamic=False)
    return lambda: call(torch.ones(size))


def test_work_is_compiled_however_much_was_compiled_before(monkeypatch):
    monkeypatch.setattr(arms, "WORK", {})
    with torch._dynamo.config.patch(recompile_limit=1, fail_on_recompile_limit_hit=True):
        for size in (2, 3):
            arms.prepare(compiled_work, size)


def test_the_matrix_rate_is_that_of_a_product():
    assert 1e-4 < arms.matrix_rate("no") < 100


def processes() -> int:
    return make_accelerator(load_config("configs/demo.yaml", [])).num_processes


def test_processes_of_an_arm_work_together():
    arm = arms.Arm(2, threads=1)
    try:
        assert arm(processes) == 2
    finally:
        arm.close()
