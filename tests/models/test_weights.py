import pytest
import torch

from configs.errors import InputError
from models.weights import read_weights

ROW = torch.ones(2)


@pytest.mark.parametrize(
    "weights, found",
    [
        ({"a": ROW, 3: ROW}, "3: torch.float32"),
        ({"a": 3}, "'a': int"),
        ({"a": ROW.to_sparse()}, "'a': torch.float32, torch.sparse_coo, cpu"),
        ({"a": ROW.to("meta")}, "'a': torch.float32, torch.strided, meta"),
        ({"a": ROW.to(torch.int8)}, "'a': torch.int8, torch.strided, cpu"),
        ({"model": {"a": ROW.to(torch.int8)}}, "'a': torch.int8"),
    ],
)
def test_what_are_no_weights_is_named(tmp_path, weights, found):
    torch.save(weights, tmp_path / "weights.bin")
    with pytest.raises(InputError, match=f"weights.bin: expected dense floating-point tensors by name, found {found}"):
        read_weights(tmp_path / "weights.bin")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_any_precision_and_buffers_that_are_not_read(tmp_path, dtype):
    weights = {"a": ROW.to(dtype), "layers.0.attn.relative_position_index": torch.arange(4)}
    for content in (weights, {"model": weights}):
        torch.save(content, tmp_path / "weights.bin")
        assert read_weights(tmp_path / "weights.bin").keys() == content.keys()
