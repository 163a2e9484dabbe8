"""The optimizer of a config: Adam, or Adam and Muon as one."""

from torch import Tensor, nn
from torch.optim import Adam, Muon, Optimizer
from yacs.config import CfgNode

from models.checkpoints import trained_parameters


class AdamAndMuon(Optimizer):
    """Optimizers of one parameter group each, as one with one state."""

    skip: Tensor | bool = False  # whether `step` changes nothing

    def __init__(self, parts: list[Optimizer]) -> None:
        self.parts = parts
        super().__init__([group for part in parts for group in part.param_groups], {})

    def step(self, closure: None = None) -> None:
        if self.skip:
            return
        for part, group in zip(self.parts, self.param_groups):
            part.param_groups, part.state = [group], self.state  # `load_state_dict` makes new ones
            part.step()


def matrices(model: nn.Module) -> list[nn.Parameter]:
    """Return the trained weights of the linear layers. All others are embeddings, norms, biases or convolutions."""
    layers = (module for module in model.modules() if isinstance(module, nn.Linear))
    return [layer.weight for layer in layers if layer.weight.requires_grad]


def build_optimizer(config: CfgNode, model: nn.Module) -> Optimizer:
    """Return the optimizer of the OPTIMIZER settings for the trained parameters of a model.

    It is Adam, or, with MUON_RATE, Muon for `matrices` and Adam for the rest. Updates by Muon have the root mean square
    of updates by Adam (Liu et al. 2025, arXiv 2502.16982, Sec. 2.2), so both follow one learning rate, each times the
    `rate` of its group. A step changes nothing if the attribute `skip`, a tensor, is not 0.
    """
    by_muon = set(matrices(model)) if config.MUON_RATE else set()
    others = [p for p in trained_parameters(model).values() if p not in by_muon]
    adam = [Adam([{"params": others, "rate": 1.0}], fused=True)] if others else []  # fused Adam can skip a step
    if by_muon:
        group = {"params": matrices(model), "rate": config.MUON_RATE}
        return AdamAndMuon([*adam, Muon([group], weight_decay=0.0, adjust_lr_fn="match_rms_adamw")])
    adam[0].register_step_pre_hook(_skip_bad_step)
    return adam[0]


def _skip_bad_step(adam: Adam, *_: object) -> None:
    """Make fused Adam skip the step, with a gradient scaler, which sees no norm, too."""
    adam.found_inf = adam.skip


def kinds(optimizer: Optimizer) -> dict[nn.Parameter, str]:
    """Return which optimizer updates each parameter, `adam` or `muon`, in the order of its state dict."""
    groups = optimizer.param_groups
    return {p: "muon" if "ns_steps" in group else "adam" for group in groups for p in group["params"]}
