import torch

from models.generation import to_uint8


def test_values_are_cut_to_8_bits():
    values = torch.tensor([-1.0, 0.0, 0.999 / 255, 1 / 255, 254.9 / 255, 1.0, 2.0])
    expected = torch.tensor([0, 0, 0, 1, 254, 255, 255], dtype=torch.uint8)
    image = values.view(1, 1, 1, -1).expand(1, 3, 4, -1)
    assert torch.equal(to_uint8(image, (4, 7))[0, 0, 0], expected)
