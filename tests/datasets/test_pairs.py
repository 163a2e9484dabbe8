import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.utils.data import DataLoader, default_collate

from datasets import GlobalBatchSampler, MaskSettings, PairSizes, TestPairs, TrainPairs, load_pairs
from datasets.pairs import block_mask, normalize, open_image, random_crop_box, resize_to_tensor, unpack
from tests.datasets.test_layouts import write_tree
from tests.shared import SHARED, needs_shared
from utils.errors import InputError, one_line

GT, COND, POSE, TEST = (64, 64), (32, 32), (48, 40), (64, 44)
SIZES = PairSizes(GT, COND, POSE, frame=(256, 176))
MASK = MaskSettings(patch_size=4, ratios=(0.0, 0.3), ratio_vars=(0.0, 0.2), aspect_ratio=(0.3, 1 / 0.3))


@pytest.fixture
def pairs(tmp_path):
    names = [f"{i}.jpg" for i in range(6)]
    write_tree(tmp_path, names, [(names[i], names[(i + 1) % 6]) for i in range(6)], "train")
    rng = np.random.default_rng(0)
    for name in names:
        noise = rng.integers(0, 256, (110, 75, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "train_highres" / name)
    return load_pairs(tmp_path, "train")


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def unpacked(item):
    """What `unpack` makes of a batch of one item, without the dimension of the batch."""
    return {name: value[0] for name, value in unpack(default_collate([item])).items()}


@needs_shared
def test_transforms_are_the_published_ones():
    functions = SHARED / "parity" / "functions"
    expected = load_file(functions / "tensors.safetensors")
    photo = open_image(functions / "photo.png")
    torch.testing.assert_close(
        normalize(resize_to_tensor(photo, (128, 128))), expected["transform.gt_128"], rtol=0, atol=0
    )
    torch.testing.assert_close(resize_to_tensor(photo, (256, 176)), expected["transform.test_256x176"], rtol=0, atol=0)


def test_train_item(pairs):
    item = TrainPairs(pairs, SIZES, seed=1, mask=MASK)[3]
    assert {key: tuple(value.shape) for key, value in item.items()} == {
        "img_src": (3, *GT),
        "img_tgt": (3, *GT),
        "img_cond": (3, *COND),
        "flip": (),
        "mask": (8, 8),
        "index": (),
        "skeleton_src": (3, *POSE),
        "skeleton_tgt": (3, *POSE),
        "keypoints_src": (18, 2),
        "keypoints_tgt": (18, 2),
    }
    assert item["index"] == 3 and item["mask"].dtype == torch.bool
    assert {item[name].dtype for name in ("img_src", "img_cond", "skeleton_src")} == {torch.uint8}
    whole = unpacked(item)
    assert whole["img_src"].min() < -0.5 and whole["img_src"].max() > 0.5
    assert whole["pose_img_tgt"].shape == (21, *POSE) and whole["mask"].shape == (8, 8)
    assert "mask" not in TrainPairs(pairs, SIZES, seed=1)[3]


def test_test_item(pairs):
    dataset = TestPairs(pairs, SIZES, TEST)
    item = dataset[2]
    assert item["img_gt"].shape == (3, *TEST) and 0 <= item["img_gt"].min() < item["img_gt"].max() <= 1
    photo = open_image(dataset.pairs[2].source_path)
    assert torch.equal(item["img_cond"], normalize(resize_to_tensor(photo, COND)))
    assert same(item, dataset[2]) and len(dataset) == 6


def test_only_the_condition_photo_is_flipped_and_half_of_the_time(pairs):
    dataset, plain = TrainPairs(pairs, SIZES, seed=1), TestPairs(pairs, SIZES, TEST)
    flips = []
    for epoch in range(20):
        dataset.set_epoch(epoch)
        for index in range(2):
            item, reference = unpacked(dataset[index]), plain[index]
            assert torch.equal(item["img_src"], reference["img_src"])
            for name in ("img_tgt", "pose_img_src", "pose_img_tgt"):
                assert torch.equal(item[name], reference[name])
            flips.append(torch.equal(item["img_cond"], reference["img_cond"].flip(-1)))
            assert flips[-1] or torch.equal(item["img_cond"], reference["img_cond"])
    assert 12 < sum(flips) < 28


def test_items_depend_on_seed_epoch_and_index_alone(pairs):
    def dataset(seed, epoch):
        result = TrainPairs(pairs, SIZES, seed=seed, min_scale=0.3, mask=MASK)
        result.set_epoch(epoch)
        return result

    item = dataset(5, 2)[4]
    other = dataset(5, 2)
    other[1], other[4]
    assert same(item, other[4])
    assert not same(item, dataset(5, 3)[4]) and not same(item, dataset(6, 2)[4])


@pytest.mark.parametrize("context, num_workers", [("fork", 2), ("spawn", 1)])
def test_workers_change_nothing_and_hear_of_new_epochs(pairs, context, num_workers):
    def epochs(num_workers):
        dataset = TrainPairs(pairs, SIZES, seed=3, min_scale=0.5, mask=MASK)
        sampler = GlobalBatchSampler(len(dataset), 2, rank=0, world=1, accumulation=1, seed=3)
        loader = DataLoader(
            dataset,
            batch_sampler=sampler,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            multiprocessing_context=context if num_workers else None,
        )
        batches = []
        for epoch in range(2):
            dataset.set_epoch(epoch)
            sampler.set_epoch(epoch)
            batches += [{key: value.clone() for key, value in batch.items()} for batch in loader]
        return batches

    alone, together = epochs(0), epochs(num_workers)
    assert len(alone) == len(together) == 6
    assert all(map(same, alone, together))


def test_random_crops_cover_the_wanted_part():
    rng = np.random.default_rng(0)
    for _ in range(300):
        top, left, height, width = random_crop_box((110, 75), (0.4, 1.0), (0.75, 4 / 3), rng)
        assert 0 <= top <= 110 - height and 0 <= left <= 75 - width
        assert 0.38 < height * width / (110 * 75) <= 1 and 0.7 < width / height < 1.4
    assert random_crop_box((100, 10), (1.0, 1.0), (0.75, 4 / 3), rng) == (43, 0, 13, 10)


@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.9])
def test_block_mask_covers_about_the_ratio(ratio):
    rng = np.random.default_rng(0)
    covered = [block_mask((16, 12), ratio, (0.3, 1 / 0.3), rng).mean() for _ in range(200)]
    assert max(covered) <= ratio
    assert np.mean(covered) > 0.75 * ratio


def test_block_mask_uses_the_logarithm_of_the_aspect_ratio():
    rng = np.random.default_rng(0)
    log_ratios = []
    for _ in range(500):
        rows, columns = np.nonzero(block_mask((90, 90), 0.12, (0.25, 4.0), rng))
        if len(rows):
            log_ratios.append(math.log((np.ptp(rows) + 1) / (np.ptp(columns) + 1)))
    assert abs(np.mean(log_ratios)) < 0.2


@pytest.mark.parametrize("content, num_workers", [(b"", 0), (b"not an image", 0), (None, 0), (None, 1)])
def test_an_unreadable_image_is_named(pairs, content, num_workers):
    path = pairs[0].source_path
    path.write_bytes(path.read_bytes()[:500] if content is None else content)
    loader = DataLoader(TestPairs(pairs, SIZES, TEST), num_workers=num_workers)
    with pytest.raises(InputError) as error:
        list(loader)
    assert one_line(error.value).startswith(f"{path}: cannot be read as an image")


def micro_batches(world, accumulation, epoch, n=103, batch=24, skip=0):
    """(steps, accumulation, world) lists of indices."""
    ranks = []
    for rank in range(world):
        sampler = GlobalBatchSampler(n, batch, rank, world, accumulation, seed=9)
        sampler.set_epoch(epoch)
        sampler.skip(skip)
        assert len(sampler) == n // batch * accumulation
        ranks.append(list(sampler))
    by_micro_batch = list(zip(*ranks, strict=True))
    return [by_micro_batch[i : i + accumulation] for i in range(0, len(by_micro_batch), accumulation)]


def flatten(step):
    return [index for micro_batch in step for part in micro_batch for index in part]


@pytest.mark.parametrize("world", [1, 2, 4])
@pytest.mark.parametrize("accumulation", [1, 2, 3])
def test_every_arrangement_sees_the_same_global_batches(world, accumulation):
    for epoch in range(2):
        steps = micro_batches(world, accumulation, epoch)
        sizes = {len(part) for step in steps for micro_batch in step for part in micro_batch}
        assert sizes == {24 // world // accumulation}
        assert [flatten(step) for step in steps] == [flatten(step) for step in micro_batches(1, 1, epoch)]


def test_an_epoch_uses_a_pair_once_and_epochs_differ():
    first, second = (sum(map(flatten, micro_batches(2, 2, epoch)), []) for epoch in range(2))
    assert len(first) == len(set(first)) == 96 and set(first) <= set(range(103))
    assert first != second


def test_skip_goes_on_where_a_run_stopped():
    assert micro_batches(2, 2, epoch=1, skip=3) == micro_batches(2, 2, epoch=1)[3:]
    assert micro_batches(2, 2, epoch=1, skip=4) == []
    sampler = GlobalBatchSampler(103, 24, 0, 1, 1, seed=9)
    sampler.skip(2)
    assert len(list(sampler)) == 2
    sampler.set_epoch(1)
    assert len(list(sampler)) == 4


@pytest.mark.parametrize(
    "n, batch, world, accumulation, message",
    [
        (100, 10, 4, 1, "10 .*4 processes x 1 accumulation"),
        (100, 0, 1, 1, "a batch of 0"),
        (7, 8, 2, 2, "7 pairs .* 8"),
    ],
)
def test_batches_that_do_not_divide(n, batch, world, accumulation, message):
    with pytest.raises(InputError, match=message):
        GlobalBatchSampler(n, batch, 0, world, accumulation, seed=0)


def test_keypoints_reach_the_pose_map(pairs):
    item = TestPairs(pairs, replace(SIZES, pose=SIZES.frame), TEST)[0]
    assert all(item["pose_img_src"][3 + i, i, i] == 1 for i in range(15))  # 15 / 176 * 176 is less than 15
