"""Letterloom: train, measure and ship character-level language models from your own text."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from letterloom.api import Model, Run, compare, finetune, load, resume, train
    from letterloom.study import Study, run_study

__version__ = "0.1.0"
__all__ = ["Model", "Run", "Study", "compare", "finetune", "load", "resume", "run_study", "train"]


def __getattr__(name: str) -> Any:
    """Import the Python face only when it is used: it brings torch, which takes seconds."""
    if name in ("Study", "run_study"):
        from letterloom import study

        return getattr(study, name)
    if name in __all__:
        from letterloom import api

        return getattr(api, name)
    raise AttributeError(f"module 'letterloom' has no attribute {name!r}")
