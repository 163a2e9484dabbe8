import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from torch.amp import GradScaler

from models.checkpoints import published_name, trained_parameters
from tests.parity import load_case
from tests.shared import SHARED, needs_shared
from training.state import EMA, TENSORS, Position, TrainingState, load_first_moments, load_training_state
from utils import files
from utils.errors import InputError


def setup(seed, decay):
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
    parameters = dict(model.named_parameters())
    return (
        model,
        parameters,
        torch.optim.Adam(parameters.values(), 0.1),
        EMA(parameters, decay) if decay else None,
    )


def save(folder, parameters, optimizer, scaler, ema, position):
    TrainingState.of(parameters, optimizer, scaler, ema, position=asdict(position), more=1).write(folder)


def step(model, optimizer, ema, number):
    torch.manual_seed(number)
    model(torch.randn(5, 3)).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()
    if ema:
        ema.update(number)


@pytest.mark.parametrize("decay", [0, 0.9])
def test_going_on_is_the_same_to_the_last_bit(tmp_path, decay):
    model, parameters, optimizer, ema = setup(0, decay)
    other_model, other_parameters, other_optimizer, other_ema = setup(1, decay)
    for number in range(3):
        step(model, optimizer, ema, number)
    scaler = GradScaler("cpu", init_scale=64.0)
    save(tmp_path, parameters, optimizer, scaler, ema, Position(2, 1, 7))
    averages = ema.average if ema else {name: p.detach() for name, p in parameters.items()}
    other_model.load_state_dict({name: value.clone() for name, value in averages.items()})
    other_scaler = GradScaler("cpu")
    position, facts = load_training_state(tmp_path, other_parameters, other_optimizer, other_scaler, other_ema)
    assert facts["more"] == 1
    assert position == Position(2, 1, 7) and position.total_steps == 15
    assert other_scaler.get_scale() == 64.0
    step(model, optimizer, ema, 3)
    step(other_model, other_optimizer, other_ema, 3)
    assert all(torch.equal(parameters[name], other_parameters[name]) for name in parameters)
    assert not ema or all(torch.equal(ema.average[name], other_ema.average[name]) for name in parameters)


def test_the_average_spans_a_share_of_the_training():
    parameter, steps, width = torch.nn.Parameter(torch.zeros(400)), 400, 0.1
    ema = EMA({"p": parameter}, 0.0, width)
    for number in range(steps):
        with torch.no_grad():
            parameter.copy_(torch.eye(steps)[number])  # the average becomes the weights of the steps
        ema.update(number)
    weights, step = ema.average["p"].double(), torch.arange(1, steps + 1)
    mean = (weights * step).sum()
    spread = (weights * (step - mean) ** 2).sum().sqrt()
    assert abs(weights.sum() - 1) < 1e-5 and abs(spread / steps - width) < 0.001


def test_a_damaged_state_is_named(tmp_path):
    _, parameters, optimizer, _ = setup(0, 0)
    save(tmp_path, parameters, optimizer, None, None, Position(1, 0, 2))
    (tmp_path / TENSORS).write_bytes(b"half")
    with pytest.raises(InputError, match="cannot be read .* another ACCELERATE.RUN_NAME"):
        load_training_state(tmp_path, parameters, optimizer, None, None)


def test_a_state_of_other_parameters(tmp_path):
    model, parameters, optimizer, _ = setup(0, 0)
    step(model, optimizer, None, 0)
    save(tmp_path, parameters, optimizer, None, None, Position(1, 0, 2))
    fewer = {"0.weight": parameters["0.weight"]}
    with pytest.raises(InputError, match="parameters that this config does not train"):
        load_training_state(tmp_path, fewer, torch.optim.Adam(fewer.values()), None, None)


def test_training_on_does_not_change_a_copy(tmp_path):
    model, parameters, optimizer, ema = setup(0, 0.9)
    step(model, optimizer, ema, 0)
    state = TrainingState.of(parameters, optimizer, None, ema, position=asdict(Position(0, 1, 7)))
    before = {name: value.clone() for name, value in state.tensors.items()}
    step(model, optimizer, ema, 1)
    assert len(before) == 4 * 4 and all(torch.equal(before[name], state.tensors[name]) for name in before)


@pytest.fixture(scope="module", params=["default", "ape"])
def published(request, tmp_path_factory):
    """A model of the parity cases, and a published checkpoint with the moments of a step of Adam.

    The optimizer gets the parameters in the order in which the published program lists its gradients.
    """
    case, folder = SHARED / "parity" / "tiny" / request.param, tmp_path_factory.mktemp("published")
    _, model, _, _ = load_case(case)
    for file in (case / "checkpoint").iterdir():
        (folder / file.name).symlink_to(file)
    names = json.loads((case / "meta.json").read_text())["grad_norms"]
    ours = trained_parameters(model)
    by_name = {
        ("unet." if name.startswith("unet.") else "model.") + published_name(name, model): p for name, p in ours.items()
    }
    optimizer = torch.optim.Adam([by_name[name] for name in names])
    before = {name: p.detach().clone() for name, p in ours.items()}
    torch.manual_seed(0)
    for parameter in ours.values():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    with torch.no_grad():
        for name, parameter in ours.items():
            parameter.copy_(before[name])
    torch.save(optimizer.state_dict(), folder / "optimizer.bin")
    return model, folder


def first_moments(published):
    """The line about them, and those of an optimizer of ours by parameter."""
    model, folder = published
    parameters = trained_parameters(model)
    adam = torch.optim.Adam(parameters.values())
    line = load_first_moments(folder, model, parameters, adam)
    return line, adam.state


@needs_shared
def test_moments_of_the_published_system_come_to_their_parameters(published):
    line, state = first_moments(published)
    parameters = trained_parameters(published[0])
    assert line == f"Adam starts with the moments of {published[1]}/optimizer.bin ({len(parameters)} parameters)"
    for name, parameter in parameters.items():
        torch.testing.assert_close(state[parameter]["exp_avg"], 0.1 * parameter.grad, msg=name)
        torch.testing.assert_close(state[parameter]["exp_avg_sq"], 0.001 * parameter.grad**2, msg=name)
        assert state[parameter]["step"] == 1


@needs_shared
def test_moments_in_this_project_are_found_from_another_folder(published, tmp_path, monkeypatch):
    model, folder = published
    monkeypatch.setattr(files, "CHECKOUT", folder.parent)
    monkeypatch.chdir(tmp_path)
    line, state = first_moments((model, Path(folder.name)))
    assert line.startswith(f"Adam starts with the moments of {folder}") and state


def fewer(content):
    content["param_groups"][0]["params"].pop()
    return content


def of_another_shape(content):
    content["state"][3]["exp_avg"] = torch.zeros(1)
    return content


def without_one(content):
    del content["state"][3]
    return content


@needs_shared
@pytest.mark.parametrize(
    "change, reason",
    [
        (fewer, r"holds \d+ parameters, but this run trains \d+"),
        (of_another_shape, r"exp_avg of backbone.patch_embed.norm.weight has shape \(1,\), expected \(16,\)"),
        (without_one, "does not hold the moments of every parameter of an Adam optimizer"),
        (lambda content: [1], "does not hold the moments of every parameter of an Adam optimizer"),
        (lambda content: {**content, "code": pytest.fail}, "contains more than tensors"),
        (lambda content: None, "is a web page"),
    ],
)
def test_moments_that_do_not_fit_are_not_loaded(published, tmp_path, change, reason):
    model, folder = published
    for file in folder.iterdir():
        (tmp_path / file.name).symlink_to(file)
    content = change(torch.load(folder / "optimizer.bin", weights_only=True))
    (tmp_path / "optimizer.bin").unlink()
    if content is None:
        (tmp_path / "optimizer.bin").write_text("<html></html>")
    else:
        torch.save(content, tmp_path / "optimizer.bin")
    line, state = first_moments((model, tmp_path))
    assert re.fullmatch(f"Adam starts without moments: {tmp_path}/optimizer.bin: .*{reason}.*", line) and not state


@needs_shared
def test_without_a_file_of_moments_there_is_a_line(published, tmp_path):
    model, folder = published
    assert f"of {tmp_path}, a new run takes the weights alone" in first_moments((model, tmp_path))[0]
    for name in ("pytorch_model.bin", "pytorch_model_1.bin"):
        (tmp_path / name).symlink_to(folder / name)
    assert first_moments((model, tmp_path)) == (
        f"Adam starts without moments: {tmp_path}/optimizer.bin: no such file",
        {},
    )


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
