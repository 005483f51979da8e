"""Runs a stage with its weights sharded on CPU; tests launch it by Accelerate with training/launch/fsdp.yaml.

Accelerate reads that configuration only beside an accelerator: on CPU its state would be MULTI_CPU, without a plugin.
This makes it what it is on GPUs. All else, from Accelerate's preparation to PyTorch's shards and gloo, is as it is.
"""

import importlib
import sys
from pathlib import Path

from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType


def allow_shards_on_cpu() -> None:
    start = AcceleratorState.__init__

    def start_sharded(state, *arguments, fsdp_plugin=None, **options):
        start(state, *arguments, fsdp_plugin=fsdp_plugin, **options)
        if fsdp_plugin is not None:
            state.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP
            state.fsdp_plugin = fsdp_plugin
            if state._mixed_precision != "no":
                fsdp_plugin.set_mixed_precision(state._mixed_precision)

    AcceleratorState.__init__ = start_sharded


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))  # where `training` is
    allow_shards_on_cpu()
    importlib.import_module(f"training.train_{sys.argv.pop(1)}").main()
