"""The task that the demo's appearance encoder is pretrained on."""

import torch

from configs import load_config
from demo.attributes import ATTRIBUTES, UNKNOWN
from demo.encoder_pretraining import AttributeReader, EncoderPretraining
from models import build_model


def task(labels: torch.Tensor) -> EncoderPretraining:
    """Of the demo's model and of photos of one colour each."""
    model = build_model(load_config("configs/demo.yaml", ["MODEL.RANDOM_WEIGHTS", "True"])).train()
    return EncoderPretraining(
        model, torch.randint(0, 256, (len(labels), 3, 1, 1)).byte().repeat(1, 1, 128, 128), labels
    )


def some_labels() -> torch.Tensor:
    labels = torch.full((4, len(ATTRIBUTES)), UNKNOWN)
    labels[:, 0] = torch.arange(4)
    return labels


def test_a_reader_answers_every_attribute():
    answers = AttributeReader(tokens=5, width=8)(torch.rand(2, 5, 8))
    assert answers.shape == (2, len(ATTRIBUTES), max(attribute.classes for attribute in ATTRIBUTES))


def test_encoder_and_decoder_learn_and_nothing_else():
    torch.manual_seed(0)
    pretraining = task(some_labels())
    pretraining(4).backward()
    assert all(parameter.grad is not None for parameter in pretraining.parameters())
    names = {name.split(".")[0] for name, _ in pretraining.named_parameters()}
    assert names == {"encoder", "decoder", "prompt_reader", "map_reader"}


def test_the_loss_falls():
    torch.manual_seed(0)
    pretraining = task(some_labels())
    optimizer = torch.optim.Adam(pretraining.parameters(), lr=1e-3)
    losses = []
    for _ in range(24):
        loss = pretraining(4)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
