"""Dynamic evaluation: a model that goes on learning from a text as it is scored (Mikolov et al. 2010, section 3).

The windows are those of protocol `sliding`. What is new in each is scored first and only then learned from, so that no
character is known before it is charged for. The update is Adam's without momentum (Kingma and Ba 2015): as in Krause et
al. 2018 (arXiv:1709.07432, section 4) each gradient is divided by its root mean square. Theirs is measured on training
text; here it is the running one of the text itself, so that model, text and rate alone decide what is learned.
"""

import math
import time
from copy import deepcopy
from dataclasses import replace
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from letterloom.errors import NonFiniteError
from letterloom.evaluation.loss import Evaluation, require_finite, require_own, require_scorable, summary
from letterloom.model.transformer import Transformer
from letterloom.model.window import stride_of, windows_of
from letterloom.text.tokenizers import Tokenizer

WINDOWS = "sliding"
MEMORY = 0.999  # of the mean of squared gradients: what a step keeps of it
FIRST_RATE = 5e-5  # that the search begins with
FACTOR = 2.0  # between rates that are tried next to one another
FURTHEST = 6  # such steps away from the first, the search ends
SEARCHED_WINDOWS = 48  # of training text, read with each of them


def evaluate_dynamic(
    model: Transformer, tokenizer: Tokenizer, ids: NDArray[np.integer], training: NDArray[np.integer]
) -> Evaluation:
    """Measure a model that learns from the text as it goes, at the rate that `training` text asks for.

    Args:
        model: left as it was found; no random number is drawn.
        tokenizer: the one that made `ids`; an end-of-text counts as a character.
        ids: the text, (n,), at least 2.
        training: text that the model was trained with, (m,); the end of it is read.

    Raises:
        CorpusError: the text has fewer than 2 ids.
        DataMismatchError: the tokenizer is not the model's.
        NonFiniteError: the model gives NaN or infinity.
    """
    began = time.perf_counter()
    require_own(tokenizer, model)
    require_scorable(ids)
    rate = choose_rate(model, training)
    nats = dynamic_surprisal(model, ids, rate)
    result = summary(nats, ids, tokenizer, "dynamic", model.config.context_length, began)
    return replace(result, learning_rate=rate)


class DynamicModel:
    """A copy of a model that learns from what it has read.

    Args:
        model: stays as it is; the copy lies on the same device.
        rate: about how far a step moves each weight.
    """

    def __init__(self, model: Transformer, rate: float) -> None:
        self.network = deepcopy(model).eval()
        self._parameters = [parameter.requires_grad_() for parameter in self.network.parameters()]
        self._adam = torch.optim.Adam(self._parameters, lr=rate, betas=(0.0, MEMORY), foreach=True)

    def arrays(self) -> dict[str, NDArray[np.floating]]:
        """The parameters as they are now, by name; they change with what is learned next."""
        return {name: parameter.detach().cpu().numpy() for name, parameter in self.network.named_parameters()}

    def learn(self, window: NDArray[np.integer], new: int) -> NDArray[np.float64]:
        """Score the ids of a window from place `new` on, which is at least 1, then learn from these.

        Returns:
            Nats of each, before it was learned from, (len(window) - new,).

        Raises:
            NonFiniteError: one is NaN or infinite.
        """
        ids = torch.from_numpy(window.astype(np.int64)).to(self._parameters[0].device)
        with torch.enable_grad():
            logits = self.network(ids[None, :-1])[0, new - 1 :]  # (len(window) - new, V)
            nats = F.cross_entropy(logits.float(), ids[new:], reduction="none")
            scored = nats.detach().cpu().numpy().astype(np.float64)
            require_finite(scored)
            self._adam.zero_grad()
            nats.mean().backward()  # type: ignore[no-untyped-call]  # torch's
        self._adam.step()
        return scored


def dynamic_surprisal(model: Transformer, ids: NDArray[np.integer], rate: float) -> NDArray[np.float64]:
    """-ln p(id | all before it), (n,), by a model that has learned from all that came before the window's new ids.

    Args:
        model: left as it was found; no random number is drawn.
        ids: the text, (n,), at least 2. The first is charged ln V.
        rate: see `DynamicModel`.

    Raises:
        CorpusError: the text has fewer than 2 ids.
        NonFiniteError: the model gives NaN or infinity.
    """
    require_scorable(ids)
    dynamic, context = DynamicModel(model, rate), model.config.context_length
    windows = windows_of(len(ids), context, stride_of(WINDOWS, context))
    nats = [dynamic.learn(ids[start:end], new - start) for start, end, new in windows]
    return np.concatenate([[math.log(model.vocab_size)], *nats])


def choose_rate(model: Transformer, training: NDArray[np.integer]) -> float:
    """The rate with which the end of the training text costs least: downhill from `FIRST_RATE` by steps of `FACTOR`.

    The model has learned this text before, some of it by heart, so it gains less from learning it again than from a new
    text, and loses more by a high rate: what is found is too low rather than too high. No other text is looked at.
    """
    context = model.config.context_length
    piece = training[-(context + 1 + (SEARCHED_WINDOWS - 1) * stride_of(WINDOWS, context)) :]
    if len(piece) < 2:
        return FIRST_RATE

    @cache
    def cost(power: int) -> float:
        try:
            return float(dynamic_surprisal(model, piece, FIRST_RATE * FACTOR**power).sum())
        except NonFiniteError:  # so high a rate that the model diverges
            return math.inf

    power = 0
    while abs(power) < FURTHEST and (best := min(power, power + 1, power - 1, key=cost)) != power:
        power = best
    return FIRST_RATE * FACTOR**power
