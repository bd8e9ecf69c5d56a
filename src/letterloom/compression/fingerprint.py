"""Who can decompress a file: the same model, computed in the same way. Digests tell whether that is so."""

import hashlib
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from llvmlite import binding

from letterloom.compression.prediction import Parameters, walk
from letterloom.compression.quantization import Counts
from letterloom.config import ModelConfig
from letterloom.text.tokenizers import Tokenizer

if TYPE_CHECKING:
    from letterloom.evaluation.dynamic import DynamicModel

SIZE = 8  # bytes of a digest
PROBE = 64  # ids of the text whose numbers are looked at
_ROOT = Path(__file__).parents[1]
_SOURCES = (
    *("compression/*.py", "generation/compiled/*.py", "model/*.py", "text/tokenizers.py", "accounting.py"),
    *("evaluation/dynamic.py", "training/kernels.py"),  # where the model learns
)


def model_digest(parameters: Parameters, config: ModelConfig, tokenizer: Tokenizer) -> bytes:
    """Of weights, architecture and vocabulary, (8,)."""
    digest = hashlib.sha256(f"{config.model_dump_json()}\n{tokenizer.to_json()}".encode())
    for name, parameter in sorted(parameters.items()):
        digest.update(f"{name} {parameter.dtype} {parameter.shape}\n".encode())
        digest.update(np.ascontiguousarray(parameter).tobytes())
    return digest.digest()[:SIZE]


def build_digest(
    parameters: Parameters, config: ModelConfig, vocab_size: int, dynamic: "DynamicModel | None" = None
) -> bytes:
    """Of what computes the model, (8,): code, libraries, processor, and what they make of a short text and a step.

    Args:
        parameters: the model's.
        config: its architecture.
        vocab_size: ids it knows.
        dynamic: where the model learns, one that may; it has learned something afterwards.
    """
    packages = ["numpy", "numba", "llvmlite", "constriction", *(["torch"] if dynamic else [])]
    told = [f"{package} {version(package)}" for package in packages]
    features = binding.get_host_cpu_features()
    told += [binding.get_host_cpu_name(), *sorted(feature for feature, there in features.items() if there)]
    digest = hashlib.sha256("\n".join(told).encode())
    for path in sorted(path for pattern in _SOURCES for path in _ROOT.glob(pattern)):
        digest.update(path.read_bytes())

    text = np.arange(PROBE) * 7919 % vocab_size  # a prime, so that neighbours differ
    ids = iter(text.tolist())

    def code(counts: Counts) -> int:
        digest.update(counts.tobytes())
        return next(ids)

    if dynamic:
        dynamic.learn(np.resize(text, config.context_length + 1), 1)
        parameters = dynamic.arrays()
    walk(np.empty(PROBE, np.int64), parameters, config, vocab_size, protocol="sliding", escape=1, code=code)
    return digest.digest()[:SIZE]
