"""The learning rate as a function of the step and of the share of the run that is done."""

import math

from letterloom.config import OptimizerConfig


def learning_rate_factor(config: OptimizerConfig, step: int, progress: float) -> float:
    """What the peak learning rate is multiplied by in the update after `step` finished ones.

    Args:
        config: the schedule, its warm-up and where it ends.
        step: finished steps; the warm-up rises linearly over the first `warmup_steps`.
        progress: share of the run that is done, in [0, 1]; the decay is a function of it alone, so that it
            ends where the run ends, whether steps, epochs or minutes limit it.
    """
    warmup = min(1.0, (step + 1) / (config.warmup_steps + 1))
    progress = min(max(progress, 0.0), 1.0)
    if config.schedule == "linear":
        decay = 1.0 - progress
    elif config.schedule == "cosine":  # Loshchilov and Hutter 2017, section 3
        decay = 0.5 * (1.0 + math.cos(math.pi * progress))
    elif config.schedule == "wsd":  # warm-up, stable, decay: Hu et al. 2024, section 4
        decay = min(1.0, (1.0 - progress) / config.decay_share)
    else:
        decay = 1.0
    return warmup * (config.final_fraction + (1.0 - config.final_fraction) * decay)
