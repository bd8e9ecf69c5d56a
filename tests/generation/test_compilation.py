"""The kernels are compiled when they are first called, which is told, and then taken from the disk."""

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import logging, sys
import numpy as np
from letterloom.config import ModelConfig
from letterloom.generation.compiled.engine import CompiledEngine
from letterloom.generation.compiled.weights import parameter_shapes

logging.basicConfig(format="%(message)s")
config = ModelConfig(context_length=2, d_model=2, n_heads=1, n_layers=1)
parameters = {name: np.zeros(shape, np.float32) for name, shape in parameter_shapes(config, 2).items()}
assert CompiledEngine(parameters, config, 2).begin(np.array([0])).logits().tolist() == [[0, 0]]
"""
QUANTIZED = """
from pathlib import Path
from letterloom.generation.compiled.drawing import draw
from letterloom.runs.quantized import choose, quantize, read_quantized

assert len(draw.signatures) == 1  # the kernels for quantized weights are others, and not made before they are called
narrow = read_quantized(quantize(parameters, choose(8, None)), config, Path("model.safetensors"))
assert CompiledEngine(narrow, config, 2).begin(np.array([0])).logits().tolist() == [[0, 0]]
assert len(draw.signatures) == 2
"""


def test_where_nothing_can_be_kept_the_kernels_are_compiled_anyway() -> None:
    nowhere = "from numba.core import caching; caching.CacheImpl._locator_classes = []\n"
    told = subprocess.run([sys.executable, "-c", nowhere + PROGRAM], capture_output=True, text=True, check=True).stderr
    assert "NUMBA_CACHE_DIR" in told


def test_compiling_is_told_once_a_machine(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    told = [
        subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
        for program in (PROGRAM, PROGRAM, PROGRAM + QUANTIZED, PROGRAM + QUANTIZED)
    ]
    for first, again in (told[:2], told[2:]):
        assert first.stderr.count("\n") == 1
        assert "compiling" in first.stderr
        assert again.stderr == ""
