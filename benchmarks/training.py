"""Speed of training, beside the speed of matrix products in the same minute.

The machine may be shared, and its clock changes, so products and steps take turns in many short rounds, and a share is
one of the same round. The peak is that of a square fp32 product of 1024^3 on the threads that train, computed two
ways: by `torch.mm`, which is what PyTorch's linear layers call and the target is held against, and by oneDNN (as a
1 x 1 convolution), on an AMD EPYC with AVX-512 twice as fast. Neither is the processor's theoretical peak.
"""

import numpy as np
import torch
import torch.nn.functional as F

from letterloom import accounting
from letterloom.text.batches import batch
from letterloom.training.learner import Learner
from measurement import Measurement, seconds, tell
from nanogpt import TOKENIZER, nanogpt_on_cpu

IDS = 1_000_000
SIZE = 1024
REPETITIONS = 10  # in a round


def measure_training(quick: bool) -> list[Measurement]:
    """Characters trained on in a second (recipe `nanogpt-cpu`, batch included), and the share of the products' speed.

    Limit: operations; `accounting.training_flops` a sequence (all pairs of attention counted, AdamW not) at the peak.
    """
    config = nanogpt_on_cpu()
    model, training = config.model, config.training
    vocabulary = TOKENIZER.vocab_size
    learner = Learner(config, vocabulary)
    ids = np.random.default_rng(0).integers(vocabulary, size=IDS, dtype=np.uint8)  # which ids makes no difference
    a, b = torch.randn(SIZE, SIZE), torch.randn(SIZE, SIZE)
    image, kernel = as_convolution(a, b)
    step = 0

    def train() -> None:
        nonlocal step
        x, y = batch(ids, seed=0, step=step, batch_size=training.batch_size, context_length=model.context_length)
        learner.update(x, y, step, factor=1.0)
        step += 1

    product = 2 * SIZE**3
    step_flops = training.batch_size * accounting.training_flops(model, vocabulary, model.context_length)
    work = {
        "step": (train, step_flops),
        "mm": (lambda: torch.mm(a, b), product),
        "oneDNN": (lambda: F.conv2d(image, kernel), product),
    }
    speed: dict[str, list[list[float]]] = {name: [] for name in work}  # GFLOP/s, by round and repetition
    rounds = 8 if quick else 40
    for i in range(-1, rounds):  # the first one warms up
        tell(f"training, round {i + 1} of {rounds}")
        for name, (once, flops) in work.items():
            speeds = [flops / 1e9 / seconds(once) for _ in range(REPETITIONS)]
            if i >= 0:
                speed[name].append(speeds)

    step_speed, mm, onednn = (np.median(speeds, axis=1) for speeds in speed.values())  # of each round
    best_step, best_mm, _ = (np.max(speeds) for speeds in speed.values())
    characters = training.batch_size * model.context_length * 1e9 / step_flops  # a GFLOP
    return [
        Measurement("training", "characters/s", tuple(step_speed * characters)),
        Measurement("training, best step", "characters/s", (best_step * characters,)),
        Measurement("product, torch.mm", "GFLOP/s", tuple(mm)),
        Measurement("product, oneDNN", "GFLOP/s", tuple(onednn)),
        Measurement("training, share of torch.mm", "%", tuple(100 * step_speed / mm), ">= 65"),
        Measurement("the same, best against best", "%", (100 * best_step / best_mm,), ">= 65"),
        Measurement("training, share of oneDNN", "%", tuple(100 * step_speed / onednn)),
    ]


def as_convolution(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Image (16, K, 1, M / 16), channels last, and kernel (N, K, 1, 1) whose convolution holds a (M, K) @ b (K, N).

    PyTorch gives convolutions to oneDNN, with one thread only from 16 images on.
    """
    return a.reshape(16, -1, a.shape[1]).transpose(1, 2).unsqueeze(2), b.t().contiguous()[:, :, None, None]
