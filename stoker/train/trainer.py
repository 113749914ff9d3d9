"""Hugging Face's Trainer, thin: its loop, our batches, loss, clipping and guard.

Everything that Trainer does per step beside training is switched off or overridden where it costs time (it counts
parameters for FLOPs, walks modules for train mode, wraps the loader): our conductor, a callback, does the rest.
Overridden methods are the ones meant for it, and `_clip_grad_norm`, whose norm the guard needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainingArguments
from transformers.trainer_callback import PrinterCallback, TrainerCallback

from stoker.faults import fault_factor
from stoker.mailbox.row_losses import RowLoss
from stoker.model.device import Hardware
from stoker.model.loss import Loss, label_losses
from stoker.train.optimizer import GuardedAdamW, clip_gradients
from stoker.train.row_losses import row_losses
from stoker.train.steps import StepBatch, StepLoader


class SegmentTrainer(Trainer):  # type: ignore[misc]
    """Trains the steps of `loader`. `before_first` runs right before the first forward pass: it sets the generators.

    `loss_and_norm` holds the last step's loss and gradient norm, on the device, `_nll_of_parts` the NLL of its labels.
    `before_clipping` is called with a step's number (from 1) while its whole gradient is in place.
    """

    def __init__(
        self,
        model: nn.Module,
        loader: StepLoader,
        optimizer: GuardedAdamW,
        scheduler: torch.optim.lr_scheduler.LambdaLR,
        loss: Loss,
        *,
        args: TrainingArguments,
        conductor: TrainerCallback,
        before_first: Callable[[], None],
    ) -> None:
        super().__init__(model, args, callbacks=[conductor], optimizers=(optimizer, scheduler))
        self.remove_callback(PrinterCallback)
        self._loader, self._loss, self._guard = loader, loss, optimizer
        self._before_first: Callable[[], None] | None = before_first
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self.loss_and_norm: Tensor = torch.zeros(2)
        self._nll_of_parts: list[Tensor | None] = []
        self._owners: list[tuple[int, str, int]] = []
        self.before_clipping: Callable[[int], None] = lambda step: None

    def read_loss_and_norm(self) -> tuple[float, float]:
        """Return the last step's loss per trained token and its gradient norm; waits for the device."""
        loss, norm = self.loss_and_norm.tolist()
        return loss, norm

    def read_row_losses(self) -> list[RowLoss]:
        """Return dataset, row, summed NLL and labels of each row of the last step; [] where labels were not scored one by one."""
        nll = [part for part in self._nll_of_parts if part is not None]
        return row_losses(self._owners, torch.cat(nll).cpu().numpy()) if len(nll) == len(self._nll_of_parts) else []

    def get_train_dataloader(self) -> Any:
        return self._loader

    def get_batch_samples(
        self, epoch_iterator: Iterator[StepBatch], num_batches: int, device: Any
    ) -> tuple[list[StepBatch], None]:
        """Take one step; the batch itself knows how many tokens it trains."""
        batch = next(epoch_iterator, None)
        return ([] if batch is None else [batch]), None

    def training_step(self, model: nn.Module, inputs: StepBatch, num_items_in_batch: Any = None) -> Tensor:
        """Accumulate the gradient of a whole optimizer step over its parts; return its loss per trained token."""
        if self._before_first is not None:
            model.train()
            self._before_first()
            self._before_first = None
            self.optimizer = self._guard  # accelerate's wrapper searches the disk for a package in every step
        whole: Tensor | None = None
        self._owners, self._nll_of_parts = inputs.owners, []
        factor = fault_factor("step.loss")
        for part in inputs.parts:
            loss = self.compute_loss(model, part, num_items_in_batch=inputs.num_items)
            if factor is not None:
                loss = loss * factor
            self._nll_of_parts.append(label_losses(self._loss))
            self.accelerator.backward(loss)
            whole = loss.detach() if whole is None else whole + loss.detach()
        assert whole is not None
        if whole.is_cuda:
            self._loader.make_next(inputs.step + 1)
        self._step_loss, self._step = whole, inputs.step + 1
        return whole

    def compute_loss(
        self, model: nn.Module, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the part's share of the step's mean loss per trained token."""
        return self._loss(model, inputs, num_items_in_batch)

    def _clip_grad_norm(self, model: nn.Module) -> Tensor:
        self.before_clipping(self._step)
        norm = clip_gradients(self._parameters, self.args.max_grad_norm)
        self._guard.watched, self._guard.loss = self._step_loss + norm, self._step_loss.float()
        self.loss_and_norm = torch.stack([self._step_loss.float(), norm.float()])
        return norm

    def floating_point_ops(self, inputs: Any) -> int:
        """Return 0: the count walks every parameter in every step, and nothing reads it."""
        return 0


def training_arguments(
    folder: Path, hardware: Hardware, *, num_steps: int, max_grad_norm: float, seed: int, use_cache: bool
) -> TrainingArguments:
    """Return arguments with which Trainer logs, saves, evaluates and reports nothing by itself.

    Precision stays "no": the loss enters autocast itself, and accelerate's wrapper would copy all outputs to fp32.
    """
    args = TrainingArguments(
        output_dir=str(folder),
        max_steps=num_steps,
        per_device_train_batch_size=1,
        max_grad_norm=max_grad_norm,
        seed=seed,
        use_cpu=not hardware.is_cuda,
        use_cache=use_cache,
        logging_strategy="no",
        logging_nan_inf_filter=False,
        save_strategy="no",
        eval_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        remove_unused_columns=False,
        bf16=False,
    )
    _ = args.n_gpu  # sets up the device; then one GPU, or Trainer would wrap the model in DataParallel
    args._n_gpu = min(1, args._n_gpu)
    return args
