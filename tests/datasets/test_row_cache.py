import pickle

import pytest
import torch

from datasets.row_cache import RowCache, digest, tensors_digest

KEYS = [f"photo {i}" for i in range(7)]
ROWS = torch.arange(7 * 6, dtype=torch.uint8).view(7, 2, 3)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr("datasets.row_cache.SHARD_ROWS", 3)


def filled(folder, keys=KEYS):
    cache = RowCache(folder, keys)
    for shard in range(len(cache.shards)):
        cache.write(shard, ROWS[cache.rows(shard).start : cache.rows(shard).stop])
    return cache


def whole(cache):
    return [cache.is_whole(shard) for shard in range(len(cache.shards))]


def test_rows_come_back_also_in_another_process(tmp_path):
    cache = filled(tmp_path)
    assert [list(cache.rows(shard)) for shard in range(3)] == [[0, 1, 2], [3, 4, 5], [6]]
    for number in (6, 0, 4):
        assert torch.equal(cache[number], ROWS[number])
    assert torch.equal(pickle.loads(pickle.dumps(cache))[5], ROWS[5])
    assert len(cache) == 7 and whole(cache) == [True] * 3


def test_a_changed_key_leaves_the_other_shards(tmp_path):
    filled(tmp_path)
    assert whole(RowCache(tmp_path, [*KEYS[:4], "another photo", *KEYS[5:]])) == [True, False, True]
    assert whole(RowCache(tmp_path / "elsewhere", KEYS)) == [False] * 3


@pytest.mark.parametrize("damage", [lambda data: data[:-2], lambda data: data[:-1] + b"\xff", lambda data: b""])
def test_damage_is_found(tmp_path, damage):
    cache = filled(tmp_path)
    path = cache.shards[1]
    path.write_bytes(damage(path.read_bytes()))
    assert whole(cache) == [True, False, True]


def test_digests_tell_apart():
    assert digest(["a", "bc"]) != digest(["ab", "c"])
    first = [("weight", torch.ones(2)), ("bias", torch.zeros(1))]
    assert tensors_digest(first) == tensors_digest(first)
    assert tensors_digest(first) != tensors_digest([("weight", torch.ones(2)), ("bias", torch.ones(1))])
    assert tensors_digest(first) != tensors_digest([("weight", torch.ones(2)), ("biases", torch.zeros(1))])
