"""The pretraining of the demo's appearance encoder."""

import torch

from configs import load_config
from demo.attributes import ATTRIBUTES, CLASSES, UNKNOWN
from demo.encoder_pretraining import AttributeClassifier, EncoderPretraining
from models import build_model


def pretraining_on(labels: torch.Tensor) -> EncoderPretraining:
    """Pretraining of the demo's model on images of one color each."""
    model = build_model(load_config("configs/demo.yaml", ["MODEL.RANDOM_WEIGHTS", "True"])).train()
    return EncoderPretraining(
        model, torch.randint(0, 256, (len(labels), 3, 1, 1)).byte().repeat(1, 1, 128, 128), labels
    )


def some_labels() -> torch.Tensor:
    labels = torch.full((4, len(ATTRIBUTES)), UNKNOWN)
    labels[:, 0] = torch.arange(4)
    return labels


def test_a_classifier_has_logits_for_every_attribute():
    logits = AttributeClassifier(tokens=5, width=8)(torch.rand(2, 5, 8))
    assert logits.shape == (2, len(ATTRIBUTES), CLASSES)


def test_encoder_and_decoder_learn_and_nothing_else():
    torch.manual_seed(0)
    pretraining = pretraining_on(some_labels())
    pretraining(4).backward()
    assert all(parameter.grad is not None for parameter in pretraining.parameters())
    names = {name.split(".")[0] for name, _ in pretraining.named_parameters()}
    assert names == {"encoder", "decoder", "prompt_classifier", "map_classifier"}


def test_the_loss_falls():
    torch.manual_seed(0)
    pretraining = pretraining_on(some_labels())
    optimizer = torch.optim.Adam(pretraining.parameters(), lr=1e-3)
    losses = []
    for _ in range(24):
        loss = pretraining(4)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
