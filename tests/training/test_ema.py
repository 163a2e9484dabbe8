import torch

from training.ema import EMA


def test_average_and_swap():
    weight = torch.nn.Parameter(torch.zeros(3))
    ema = EMA({"w": weight}, decay=0.5)
    expected = torch.zeros(3)
    for step in range(30):
        with torch.no_grad():
            weight += 1
        ema.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * weight.detach()
    torch.testing.assert_close(ema.average["w"], expected)
    with ema.swapped_in():
        torch.testing.assert_close(weight.detach(), expected)
    assert weight.tolist() == [30] * 3
