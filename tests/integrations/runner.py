"""A Runner of mmengine's as the tests need it."""
# pyright: reportMissingImports=false

import copy
from typing import Any


def run(config: Any) -> Any:
    """The Runner of a copy of ``config``, without what takes seconds each."""
    from mmengine.runner import Runner

    class Quick(Runner):
        """Without formatting the config for the log and asking compilers for their versions."""

        def _log_env(self, env_cfg: dict) -> None:
            pass

        def dump_config(self) -> None:
            pass

    config = copy.deepcopy(config)
    # mmengine keeps a visualizer by its name for as long as the process lives, with the folder of the run that made it:
    # that of an earlier test, which is gone
    config.visualizer.name = config.work_dir
    return Quick.from_cfg(config)
