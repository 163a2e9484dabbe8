import io
import re

import pytest
import torch
from safetensors.torch import load_file, save, save_file

from utils.errors import InputError
from utils.weight_files import aligned, read_weights

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


def test_only_weights_in_unaligned_memory_are_copied(tmp_path):
    weights = {"a": torch.arange(3.0), "b": torch.arange(5.0)}
    torch.save(weights, tmp_path / "weights.bin")
    save_file(weights, tmp_path / "weights.safetensors")
    assert all(aligned(x) is x for x in read_weights(tmp_path / "weights.bin").values())
    mapped = load_file(tmp_path / "weights.safetensors")
    assert any(x.data_ptr() % 64 for x in mapped.values())
    copies = {name: aligned(x) for name, x in mapped.items()}
    assert all(torch.equal(x, weights[name]) and not x.data_ptr() % 64 for name, x in copies.items())


def saved(weights: dict, **options) -> bytes:
    buffer = io.BytesIO()
    torch.save(weights, buffer, **options)
    return buffer.getvalue()


WHOLE = {
    "PyTorch": saved({"a": ROW}),
    "older PyTorch": saved({"a": ROW}, _use_new_zipfile_serialization=False),
    "safetensors": save({"a": ROW}),
}


@pytest.mark.parametrize("name", ["weights.bin", "weights.pth", "weights.safetensors"])
def test_a_file_is_read_by_its_content_whatever_its_name(tmp_path, name):
    for content in WHOLE.values():
        (tmp_path / name).write_bytes(content)
        assert torch.equal(read_weights(tmp_path / name)["a"], ROW)


@pytest.mark.parametrize("name", ["weights.bin", "weights.safetensors"])
@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "is empty; download it again"),
        (b'\r\n<!DOCTYPE html>\n<html lang="en">', "is a web page, not weights; download it again"),
        ("<html>Größe</html>".encode("utf-16"), "is a web page, not weights"),
        ("<HTML>网页".encode("gb2312"), "is a web page, not weights"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "is a Git LFS pointer"),
        (b'{"error": "Repository not found"}', 'is JSON that begins with \'{"error": "Repository not found"}\''),
        (b"Access denied", "damaged or not a weight file (text that begins with 'Access denied')"),
        (WHOLE["PyTorch"][:-1], "is truncated; download it again"),
        (WHOLE["PyTorch"][:300], "is truncated; download it again"),
        (WHOLE["older PyTorch"][:-5], "damaged or not a weight file (unexpected EOF"),
        (WHOLE["safetensors"][:-1], "damaged or not a weight file (Error while deserializing header: incomplete"),
        (bytes(1000), "damaged or not a weight file (neither safetensors nor PyTorch's format)"),
        (saved({"a": torch.nn.Linear(1, 1)}), "contains more than tensors (torch.nn.modules.linear.Linear) and is not"),
    ],
)
def test_what_a_file_is_instead_of_weights_is_named(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=re.escape(f"{name}: {reason}")) as error:
        read_weights(tmp_path / name)
    assert "\n" not in str(error.value) and "PyTorch 2.6" not in str(error.value)


@pytest.mark.parametrize(
    "name",
    [
        "module.a.0.b",
        "_orig_mod.a.0.b",
        "module._orig_mod.a.0.b",
        "a._orig_mod.0._orig_mod.b",
        "_orig_mod.module.a.0.b",
    ],
)
def test_names_are_those_of_the_model_that_was_wrapped(tmp_path, name):
    for content in ({name: ROW}, {"model": {name: ROW}}):
        torch.save(content, tmp_path / "weights.bin")
        weights = read_weights(tmp_path / "weights.bin")
        assert weights.get("model", weights).keys() == {"a.0.b"}
