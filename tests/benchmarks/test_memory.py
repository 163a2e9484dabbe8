import torch

from benchmarks.memory import peak_bytes


def test_only_what_lives_at_the_same_time_counts_and_views_count_once():
    given = torch.zeros(1000)

    def work() -> None:
        x = given + 1  # 4000 bytes
        view = x.view(10, 100)[:5]
        y = view * 2  # 2000 more
        del x, view
        z = y.repeat(2, 1)  # 4000, and y
        del y
        z.add_(1)

    assert peak_bytes(work) == 6000
    assert peak_bytes(lambda: given.view(10, 100)) == 0
