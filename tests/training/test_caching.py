"""Caches of a tiny training set: the same batches and loss, built once, mended and kept up to date."""

import json
import os
import shutil
from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from torch.utils.data import default_collate

from configs import load_config
from datasets import pair_inputs
from datasets.loaders import training_pairs
from datasets.pairs import unpack
from datasets.row_cache import RowCache
from models import build_model
from models.vae import posterior
from tests.forked import CONTEXT, LIMIT
from tests.tiny import write_tiny
from training import caching
from training.caching import cached_inputs
from utils.errors import InputError
from utils.files import sha256


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("caching")
    return folder, write_tiny(folder), Accelerator(cpu=True)


@pytest.fixture(scope="module")
def model(tiny):
    torch.manual_seed(0)
    return build_model(load_config(tiny[1])).eval()


def dataset(tiny, vae, cache, place="cache", *opts):
    """The training pairs with caches in a folder `place`, or without."""
    folder, config, accelerator = tiny
    cfg = load_config(config, ["INPUT.CACHE", cache, "INPUT.CACHE_DIR", str(folder / place), *opts])
    pairs = training_pairs(cfg)
    if cache != "off":
        pairs.inputs = cached_inputs(cfg, accelerator, pairs, vae)
    return pairs


def batch_of(pairs):
    return unpack(default_collate([pairs[index] for index in (0, 7, 3)]))


def test_cached_photos_change_nothing(tiny, model):
    raw, cached = (batch_of(dataset(tiny, model.vae, cache)) for cache in ("off", "photos"))
    assert raw.keys() == cached.keys() and "pose_img_tgt" in raw
    for name in raw:
        assert torch.equal(raw[name], cached[name]), name


@pytest.mark.parametrize("cache", ["off", "latents"])
def test_without_reconstruction_items_hold_nothing_of_the_source_but_the_condition(tiny, model, cache):
    whole = batch_of(dataset(tiny, model.vae, cache))
    without = batch_of(dataset(tiny, model.vae, cache, "cache", "MODEL.RECONSTRUCT_SOURCE", "False"))
    assert without.keys() == {name for name in whole if not name.endswith("_src")} < whole.keys()
    for name in without:
        assert torch.equal(whole[name], without[name]), name


def test_cached_latents_have_the_same_posterior_and_loss(tiny, model):
    raw, cached = (batch_of(dataset(tiny, model.vae, cache)) for cache in ("off", "latents"))
    assert not {"img_src", "img_tgt"} & cached.keys()
    for name in cached.keys() & raw.keys():
        assert torch.equal(raw[name], cached[name]), name
    losses = []
    for batch in (raw, cached):
        batch["seed"] = torch.tensor([5, 6, 7])
        losses.append(model(batch))
    for side in ("src", "tgt"):
        with torch.no_grad():
            moments = posterior(model.vae, raw[f"img_{side}"])
        torch.testing.assert_close(cached[f"posterior_{side}"].float(), moments, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-4, atol=0)
    cached["seed"] = torch.tensor([8, 9, 10])
    assert model(cached) != losses[1]  # other samples of the same posteriors
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.isfinite(model(cached))


def test_built_once_mended_and_made_anew(tiny, model, monkeypatch, capsys):
    folder, place = tiny[0], "once"
    monkeypatch.setattr(caching, "QUIET_SECONDS", 0)
    expected = batch_of(dataset(tiny, model.vae, "latents", place))
    shards = sorted((folder / place).rglob("*.safetensors"))
    assert len(shards) == 3 and "INPUT.CACHE: writing 0.00 GiB" in capsys.readouterr().err

    def refuse(*_):
        raise AssertionError("a photo was read")

    with monkeypatch.context() as patch:
        patch.setattr("datasets.pair_inputs.open_image", refuse)
        patch.setattr("datasets.pair_inputs.skeleton_image", refuse)
        assert torch.equal(batch_of(dataset(tiny, model.vae, "latents", place))["img_cond"], expected["img_cond"])
    for shard in shards:
        shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    mended = batch_of(dataset(tiny, model.vae, "latents", place))
    assert all(torch.equal(mended[name], expected[name]) for name in expected)
    for index in ("[1]", json.dumps({str(path.resolve()): 3 for path in tiny[0].rglob("*.jpg")})):
        (folder / place / "files.json").write_text(index)
        again = batch_of(dataset(tiny, model.vae, "latents", place))
        assert all(torch.equal(again[name], expected[name]) for name in expected)
    other = build_model(load_config(tiny[1]))
    assert not torch.equal(
        batch_of(dataset(tiny, other.vae, "latents", place))["posterior_src"], expected["posterior_src"]
    )


def build_beside_another(folder, config, meeting):
    """Build the caches; whatever is written is written when the other process writes it too."""
    alone = RowCache.write

    def write(cache, shard, rows):
        meeting.wait(LIMIT)
        alone(cache, shard, rows)

    RowCache.write = write
    torch.manual_seed(0)
    vae = build_model(load_config(config)).vae
    pairs = dataset((folder, config, Accelerator(cpu=True)), vae, "latents", "together")
    assert all(torch.isfinite(value).all() for value in batch_of(pairs).values() if value.is_floating_point())


def test_two_runs_may_build_one_cache_at_once(tiny, model):
    folder, config, _ = tiny
    meeting = CONTEXT.Barrier(2)
    runs = [CONTEXT.Process(target=build_beside_another, args=(folder, config, meeting)) for _ in range(2)]
    for run in runs:
        run.start()
    for run in runs:
        run.join(LIMIT)
    assert [run.exitcode for run in runs] == [0, 0]
    files = {path: path.stat().st_mtime_ns for path in (folder / "together").rglob("*") if path.is_file()}
    assert sorted(path.suffix for path in files) == [".json", *[".safetensors"] * 3]  # and nothing half-written
    expected, found = (batch_of(dataset(tiny, model.vae, "latents", place)) for place in ("cache", "together"))
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert {path: path.stat().st_mtime_ns for path in files} == files  # whole: nothing was made again


def test_a_changed_photo_is_cached_anew(tiny, model):
    before, photo = dataset(tiny, model.vae, "photos", "changed"), None
    photo = before.pairs[0].source_path
    kept = photo.read_bytes(), photo.stat().st_mtime_ns
    try:
        Image.new("RGB", (75, 110), "red").save(photo)
        after = dataset(tiny, model.vae, "photos", "changed")
        assert not torch.equal(after[0]["img_cond"], before[0]["img_cond"])
        assert torch.equal(after[0]["img_tgt"], before[0]["img_tgt"])
    finally:
        photo.write_bytes(kept[0])
        os.utime(photo, ns=(kept[1], kept[1]))


def test_processes_may_find_the_dataset_at_different_places(tiny, monkeypatch, tmp_path):
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        for image in "abc":
            (tmp_path / folder / image).write_text(image)
    here, there = ([tmp_path / folder / image for image in "abc"] for folder in ("here", "there"))
    elsewhere = [caching._entry(path, None) for path in there[1::2]]
    monkeypatch.setattr(caching, "gather_object", lambda own: [*own, elsewhere])
    accelerator = SimpleNamespace(process_index=0, num_processes=2, is_main_process=True)
    monkeypatch.setattr(caching, "on_main", lambda _, function: function())
    assert caching.file_digests(here, tmp_path, accelerator) == [sha256(path) for path in here]


def test_what_stops_building_is_one_line(tiny, model, monkeypatch):
    monkeypatch.setattr(caching.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 0))
    with pytest.raises(InputError, match="0 MiB free on the disk"):
        dataset(tiny, model.vae, "photos", "full")
    monkeypatch.undo()
    monkeypatch.setattr("training.caching.BATCH_SIZE", 1)
    pairs = training_pairs(load_config(tiny[1]))
    photo = pairs.pairs[0].source_path
    content = photo.read_bytes()
    try:
        photo.write_bytes(content[:100])
        with pytest.raises(InputError, match=f"{photo.name}: cannot be read as an image"):
            dataset(tiny, model.vae, "photos", "damaged")
    finally:
        photo.write_bytes(content)


def test_auto_reads_files_where_the_disk_has_no_room(tiny, model, monkeypatch):
    folder, config, accelerator = tiny
    cfg = load_config(config, ["INPUT.CACHE_DIR", str(folder / "auto")])
    pairs = training_pairs(cfg)
    raw = batch_of(pairs)
    needed = 5 * (2 * 3 * 32 * 32 + 2 * 4 * 4 * 8 * 8)  # two 8-bit images, and a posterior in float32

    def inputs(free, wanted="INPUT.CACHE auto: reading image files, which is slower: "):
        monkeypatch.setattr(caching.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(free, 0, free))
        pairs.inputs, note = caching.training_inputs(cfg, accelerator, pairs, model.vae)
        assert note.startswith(wanted), note
        return batch_of(pairs), note

    without, note = inputs(2 * needed - 1)
    assert all(torch.equal(without[name], raw[name]) for name in raw) and "MiB free on the disk" in note
    with monkeypatch.context() as patch:  # the disk fills after the look at it
        write = RowCache.write

        def fill_at_the_second(cache, shard, rows):
            if any((folder / "auto").rglob("*.safetensors")):
                raise OSError(28, "No space left on device")
            write(cache, shard, rows)

        patch.setattr(RowCache, "write", fill_at_the_second)
        without, note = inputs(2 * needed)
        assert all(torch.equal(without[name], raw[name]) for name in raw) and "No space left" in note
    assert not list((folder / "auto").rglob("*.safetensors"))  # the room is free again
    cached, note = inputs(2 * needed, f"caches of 5 images: {folder / 'auto'}, 0.00 GiB; INPUT.CACHE off reads")
    assert "posterior_src" in cached and len(list((folder / "auto").rglob("*.safetensors"))) == 3
    inputs(0, "caches of 5 images")  # complete caches need no room
    cfg = load_config(config, ["INPUT.CACHE_DIR", "/dev/null/x"])
    assert "/dev/null/x: cannot be written" in inputs(2 * needed)[1]


def test_an_image_is_decoded_once_for_all_its_rows_and_for_an_item(tiny, model, monkeypatch):
    opened, open_image = [], pair_inputs.open_image
    monkeypatch.setattr(pair_inputs, "open_image", lambda path: opened.append(path.name) or open_image(path))
    pairs = dataset(tiny, model.vae, "latents", "decoded")
    assert sorted(opened) == sorted({pair.source for pair in pairs.pairs})
    opened.clear()
    pair = pairs.pairs[3]
    dataset(tiny, model.vae, "off")[3]
    assert opened == [pair.source, pair.target]
