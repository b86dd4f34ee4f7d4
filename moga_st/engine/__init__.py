"""Training: the loop (train.py), one update of it (update.py), the run's folder (run.py), signals (signals.py)."""

from moga_st.engine.config import RunConfig, Runtime
from moga_st.engine.train import train

__all__ = ["RunConfig", "Runtime", "train"]
