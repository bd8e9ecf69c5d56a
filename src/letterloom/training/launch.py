"""How this process was started; needs no torch, so that the command line can ask before it knows the command."""

import os


def rank_of_environment() -> int | None:
    """The rank of this process among the several that `torchrun` started; None for a process alone."""
    several = "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ["WORLD_SIZE"]) > 1
    return int(os.environ["RANK"]) if several else None
