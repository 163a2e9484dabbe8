"""DeepSpeed's ZeRO-2: every process keeps the moments of a share of the weights, and the weights whole."""

from collections.abc import Mapping

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from accelerate.utils import DistributedType
from torch import nn
from yacs.config import CfgNode

from configs.errors import InputError

MOMENTS = ("exp_avg", "exp_avg_sq")


def is_zero(accelerator: Accelerator) -> bool:
    """Whether training runs under DeepSpeed."""
    return accelerator.distributed_type == DistributedType.DEEPSPEED


def configure_zero(accelerator: Accelerator, cfg: CfgNode) -> None:
    """Give DeepSpeed the settings of a run: it steps and clips by itself.

    Weights stay in float32 and `torch_autocast` computes in 16 bit, as without DeepSpeed.

    Raises:
        InputError: it is configured for something else than ZeRO-2 on the devices, or for fp16.
    """
    plugin, precision = accelerator.state.deepspeed_plugin, cfg.ACCELERATE.MIXED_PRECISION
    if not plugin.hf_ds_config.is_zero2() or plugin.hf_ds_config.is_offload() or precision == "fp16":
        raise InputError(
            "DeepSpeed is supported as ZeRO-2 without offloading, with ACCELERATE.MIXED_PRECISION bf16 or no: see "
            "configs/accelerate/deepspeed_zero2.yaml"
        )
    accumulation = cfg.ACCELERATE.GRADIENT_ACCUMULATION_STEPS
    plugin.deepspeed_config |= {
        "train_micro_batch_size_per_gpu": cfg.INPUT.BATCH_SIZE // (accumulation * accelerator.num_processes),
        "gradient_accumulation_steps": accumulation,
        "gradient_clipping": cfg.OPTIMIZER.MAX_GRAD_NORM,
        "torch_autocast": {"enabled": precision == "bf16", "dtype": "bfloat16", "lower_precision_safe_modules": []},
    }


class ZeroAdam:
    """The Adam within DeepSpeed's optimizer, whose state looks like that of an Adam that is not sharded.

    Args:
        optimizer: as Accelerate prepared it.
        parameters: the trained parameters by name, in the order in which Adam got them.
    """

    def __init__(self, optimizer: AcceleratedOptimizer, parameters: Mapping[str, nn.Parameter]) -> None:
        self.zero, self.parameters = optimizer.optimizer, list(parameters.values())
        self.adam = self.zero.optimizer

    @property
    def _state(self) -> dict[str, torch.Tensor]:
        """Of this process' share, which is one tensor; empty before the first step."""
        [share] = self.adam.param_groups[0]["params"]
        return self.adam.state[share]

    def state_dict(self) -> dict:
        """The state of `torch.optim.Adam`; all processes must call this."""
        from deepspeed.utils import safe_get_full_optimizer_state

        state = {
            index: {"step": self._state["step"], **{key: safe_get_full_optimizer_state(p, key) for key in MOMENTS}}
            for index, p in enumerate(self.parameters if self._state else ())
        }
        return {"state": state, "param_groups": self.adam.state_dict()["param_groups"]}

    def load_state_dict(self, state_dict: Mapping) -> None:
        """Take up such a state, after the weights were loaded."""
        from deepspeed.utils import safe_set_full_optimizer_state

        self.zero.refresh_fp32_params()
        moments = state_dict["state"]
        if not self._state:
            [share] = self.adam.param_groups[0]["params"]
            self._state["step"] = torch.zeros((), device=share.device)
            self._state.update({key: torch.zeros_like(share) for key in MOMENTS})
            self.zero._lazy_init_hp_params_optimizer_state()  # as after the first step
        for index, parameter in enumerate(self.parameters if moments else ()):
            self._state["step"].copy_(moments[index]["step"])
            for key in MOMENTS:
                safe_set_full_optimizer_state(parameter, moments[index][key].to(parameter.device), key)
