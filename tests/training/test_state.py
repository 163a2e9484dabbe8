from dataclasses import asdict

import pytest
import torch
from torch.amp import GradScaler

from configs import InputError
from training.ema import EMA
from training.state import TENSORS, Position, TrainingState, load_training_state


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
    with pytest.raises(InputError, match="other parameters"):
        load_training_state(tmp_path, fewer, torch.optim.Adam(fewer.values()), None, None)


def test_training_on_does_not_change_a_copy(tmp_path):
    model, parameters, optimizer, ema = setup(0, 0.9)
    step(model, optimizer, ema, 0)
    state = TrainingState.of(parameters, optimizer, None, ema, position=asdict(Position(0, 1, 7)))
    before = {name: value.clone() for name, value in state.tensors.items()}
    step(model, optimizer, ema, 1)
    assert len(before) == 4 * 4 and all(torch.equal(before[name], state.tensors[name]) for name in before)
