"""AdamW with the finite guard, and its moments by parameter name.

A step whose loss or gradient norm is not finite, or whose loss is a spike, changes nothing: on a CPU it is not taken, on a GPU the fused kernel
itself leaves the weights alone, so that no value has to be read back first. Moments are plain tensors named after
their parameters, never a pickle, so that a later run of the line can go on with them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

_NO_DECAY = re.compile(r"bias|norm", re.IGNORECASE)
_PARTS = ("step", "exp_avg", "exp_avg_sq")

Moments = dict[str, Tensor]


class GuardedAdamW(torch.optim.AdamW):
    """Set `watched` to a scalar that is finite only if loss and gradients are, then `step`. Fused: one pass.

    A step whose `loss` is above `loss_limit` changes nothing either.
    """

    def __init__(
        self, named: Iterable[tuple[str, nn.Parameter]], *, lr: float, betas: tuple[float, float], weight_decay: float
    ) -> None:
        self.named = dict(named)
        decayed = [p for name, p in self.named.items() if p.ndim >= 2 and not _NO_DECAY.search(name)]
        kept = {id(p) for p in decayed}
        groups = [
            {"params": decayed, "weight_decay": weight_decay, "is_decayed": True},
            {
                "params": [p for p in self.named.values() if id(p) not in kept],
                "weight_decay": 0.0,
                "is_decayed": False,
            },
        ]
        super().__init__([group for group in groups if group["params"]], lr=lr, betas=betas, fused=True)
        self.watched: Tensor | None = None
        self.loss: Tensor | None = None
        self.loss_limit = math.inf
        self.found_inf: Tensor | None = None
        for parameter in self.named.values():
            self.state[parameter] = {
                "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
                "exp_avg": torch.zeros_like(parameter, memory_format=torch.preserve_format),
                "exp_avg_sq": torch.zeros_like(parameter, memory_format=torch.preserve_format),
            }

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Update the weights unless what is watched is not finite."""
        watched, self.watched = self.watched, None
        assert watched is not None and closure is None, "the guard needs the loss and the norm of this very step"
        is_well = torch.isfinite(watched)
        if self.loss is not None and self.loss_limit < math.inf:
            is_well = is_well & (self.loss <= self.loss_limit)
        if watched.is_cuda:
            self.found_inf = (~is_well).to(torch.float32).reshape(())
            return super().step()
        return super().step() if bool(is_well) else None

    def set_decay(self, weight_decay: float) -> None:
        """Change the weight decay of the parameters that have one."""
        for group in self.param_groups:
            if group["is_decayed"]:
                group["weight_decay"] = weight_decay

    def moments(self) -> Moments:
        """Return the moments by name, `exp_avg.PARAMETER` and so on; the tensors are the live ones."""
        return {f"{part}.{name}": self.state[p][part] for name, p in self.named.items() for part in _PARTS}

    def load_moments(self, moments: Mapping[str, Tensor]) -> None:
        """Go on with these moments; names and shapes must have been checked (`moment_shapes`)."""
        for name, parameter in self.named.items():
            for part in _PARTS:
                mine = self.state[parameter][part]
                self.state[parameter][part] = moments[f"{part}.{name}"].to(mine.device, mine.dtype)


def moment_shapes(named: Iterable[tuple[str, nn.Parameter]]) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes that the moments of these parameters have."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, parameter in named:
        shapes[f"step.{name}"] = ()
        shapes[f"exp_avg.{name}"] = shapes[f"exp_avg_sq.{name}"] = tuple(parameter.shape)
    return shapes


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that are trained, by name; a tied one once."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def clip_gradients(parameters: list[nn.Parameter], max_norm: float) -> Tensor:
    """Scale gradients down to a global norm of `max_norm` and return the norm they had, as a scalar tensor."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients, foreach=True)
    if norm.is_cuda or bool(norm > max_norm):  # reading a CUDA value would wait for the device
        torch.nn.utils.clip_grads_with_norm_(parameters, max_norm, norm, foreach=True)
    return norm
