"""All that a training step changes: weights, optimizer state, averaged weights, loss scale."""

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from letterloom.config import RunConfig
from letterloom.errors import NonFiniteError
from letterloom.model.transformer import Transformer
from letterloom.runs.checkpoint import Checkpoint
from letterloom.runs.tensors import load_parameters
from letterloom.training.hardware import autocast
from letterloom.training.kernels import quicken
from letterloom.training.lowrank import add_factors, factors, frozen, merged, trained
from letterloom.training.optimizers import (
    build_optimizers,
    load_optimizer_tensors,
    optimizer_tensors,
    set_learning_rate,
)
from letterloom.training.ranks import ALONE, Ranks

log = logging.getLogger("letterloom")

RAW = "weights/"  # where other weights are worth using, those being trained are stored beside the optimizer's state


class Learner:
    """A model in training. Randomness is a function of (seed, step, micro-batch, rank), never a stream."""

    def __init__(self, config: RunConfig, vocab_size: int, ranks: Ranks = ALONE) -> None:
        self.config, self.ranks = config, ranks
        self.device = torch.device(config.training.device)
        torch.manual_seed(config.training.seed)
        self.model = Transformer(config.model, vocab_size).to(self.device)
        quicken(self.model, config.training)
        if config.training.lora_rank:
            add_factors(self.model, config.training.lora_rank)
        self._drops = any((config.model.dropout, config.model.attention_dropout, config.model.mlp_dropout))
        self._parameters = list(trained(self.model).values())  # finding them takes longer than clipping them
        self.optimizers = build_optimizers(config.optimizer, self.model)
        decay = config.training.ema_decay
        update_average = get_ema_multi_avg_fn(decay) if decay else None  # type: ignore[no-untyped-call]  # torch's
        self.average = AveragedModel(self.model, multi_avg_fn=update_average) if decay else None
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=config.training.precision == "fp16")
        network: nn.Module = self.model
        if bits := config.training.weight_bits:
            from letterloom.training.rounding import ThroughRounding  # it brings torch's compiler, which takes seconds

            network = ThroughRounding(self.model, bits)
        self._forward = ranks.replicated(_compiled(network, config, ranks) if config.training.compile else network)

    @property
    def best_model(self) -> Transformer:
        """The weights to evaluate, sample and keep: averaged, merged with factors or rounded, where that is asked."""
        if self.config.training.lora_rank:
            return merged(self.model)
        if self.config.training.weight_bits:
            from letterloom.training.rounding import rounded

            return rounded(self.model, self.config.training.weight_bits)
        return cast(Transformer, self.average.module) if self.average else self.model

    def update(self, x: NDArray[np.int64], y: NDArray[np.int64], step: int, factor: float) -> tuple[float, float]:
        """One optimizer step on this rank's share of a batch, (B, T) ids and targets.

        Returns:
            Of the whole batch, the mean loss (nats an id) and the gradient norm.

        Raises:
            NonFiniteError: loss or gradient is not finite, in any rank; nothing was updated.
        """
        training = self.config.training
        self.model.train()
        parts = min(training.micro_batches, len(x))
        loss = torch.zeros((), device=self.device)
        for part, (ids, targets) in enumerate(zip(np.array_split(x, parts), np.array_split(y, parts), strict=True)):
            if self._drops:  # seeding takes a share of a small model's step that can be measured
                torch.manual_seed(_dropout_seed(training.seed, step, part, self.ranks.rank))
            with self.ranks.averaging(self._forward, now=part == parts - 1):
                with autocast(self.config):
                    logits = self._forward(torch.from_numpy(ids).to(self.device))
                    part_loss = F.cross_entropy(
                        logits.flatten(0, 1).float(), torch.from_numpy(targets).to(self.device).flatten()
                    )
                share = part_loss * (len(ids) / len(x))  # parts may differ by one sequence
                torch.autograd.backward(self.scaler.scale(share))
            loss += share.detach()
        for optimizer in self.optimizers:
            self.scaler.unscale_(optimizer)  # type: ignore[arg-type]  # it asks for `param_groups`, and below `step`
        clip = self.config.optimizer.gradient_clip
        norm = nn.utils.clip_grad_norm_(self._parameters, math.inf if clip is None else clip, foreach=True)
        own_loss, gradient_norm = torch.stack([loss, norm.float()]).tolist()  # the one wait for the device in a step
        mean_loss = self.ranks.mean(own_loss)
        self._require_finite(mean_loss, gradient_norm, step)
        set_learning_rate(self.optimizers, factor)
        for optimizer in self.optimizers:
            self.scaler.step(optimizer)  # type: ignore[arg-type]
        self.scaler.update()
        for parameter in self._parameters:
            parameter.grad = None
        if self.average:
            self.average.update_parameters(self.model)
        return mean_loss, gradient_norm

    def tensors(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """What to save: the weights worth using, and everything else training needs to go on."""
        best, others = self.best_model, optimizer_tensors(self.optimizers, self.model)
        if best is not self.model:
            others |= {RAW + name: p for name, p in trained(self.model).items()}
        return dict(best.named_parameters()), others

    def state(self) -> dict[str, Any]:
        """The numbers beside the tensors."""
        return {"scaler": self.scaler.state_dict(), "averaged": int(self.average.n_averaged) if self.average else 0}

    def begin(self, tensors: Mapping[str, Tensor], source: Path) -> None:
        """Put weights in the place of those that were drawn, before the first step; factors stay as they were drawn.

        Raises:
            DataMismatchError: the tensors do not fit this model.
        """
        for model in [self.model, *([self.best_model] if self.average else [])]:
            load_parameters(model, {**factors(model), **tensors}, source)

    def load(self, checkpoint: Checkpoint) -> None:
        """Continue from what `tensors` and `state` gave a checkpoint.

        Raises:
            DataMismatchError: the tensors do not fit this model.
        """
        state, others = checkpoint.state["learner"], checkpoint.tensors("optimizer")
        raw = {name.removeprefix(RAW): others.pop(name) for name in list(others) if name.startswith(RAW)}
        whole = frozen(checkpoint) if self.config.training.lora_rank else checkpoint.tensors("model")
        load_parameters(self.model, whole | raw, checkpoint.path)
        if self.average:
            load_parameters(self.best_model, checkpoint.tensors("model"), checkpoint.path)
            self.average.n_averaged.fill_(state["averaged"])
        load_optimizer_tensors(self.optimizers, self.model, others)
        self.scaler.load_state_dict(state["scaler"])

    def _require_finite(self, loss: float, gradient_norm: float, step: int) -> None:
        """Stop before the update that would spread a NaN; an fp16 overflow is the scaler's to handle."""
        if np.isfinite(loss) and (np.isfinite(gradient_norm) or self.scaler.is_enabled()):
            return
        precise = "" if self.config.training.precision == "fp32" else ", or use training.precision fp32"
        with self.ranks.alike():  # all have the same numbers
            raise NonFiniteError(
                f"step {step + 1}: loss {loss}, gradient norm {gradient_norm}; stopped before the update, which no "
                f"checkpoint has in it; lower optimizer.learning_rate or gradient_clip{precise}"
            )


def _dropout_seed(seed: int, step: int, part: int, rank: int) -> int:
    return int(np.random.SeedSequence([seed, step, part, rank]).generate_state(1, np.uint64)[0])


def _compiled(model: nn.Module, config: RunConfig, ranks: Ranks) -> nn.Module:
    """The compiled model; where compiling fails, the model itself, and a line that says so."""
    training = config.training
    compiled = torch.compile(model)
    try:
        ids = torch.zeros(training.micro_batch(ranks.world), config.model.context_length, dtype=torch.long)
        with autocast(config):
            compiled(ids.to(training.device)).sum().backward()
        return compiled  # type: ignore[return-value]  # a callable module
    except Exception as error:  # any failure of a compiler is a reason to go on without it
        log.warning("training.compile: compiling failed (%s), going on without it", str(error).splitlines()[0])
        return model
    finally:
        model.zero_grad(set_to_none=True)
