"""Search: optimizers map program states to better ones."""

from declm.optimizers.base import Optimized, Optimizer, Problem
from declm.optimizers.optimize import aoptimize, optimize
from declm.optimizers.search import JointSearch
from declm.optimizers.trials import Trial

__all__ = ["JointSearch", "Optimized", "Optimizer", "Problem", "Trial", "aoptimize", "optimize"]
