"""Search: optimizers map program states to better ones."""

from declm.optimizers.base import Optimized, Optimizer, Problem
from declm.optimizers.bootstrapping import BootstrapFewShot, LabeledFewShot
from declm.optimizers.capo import CAPO
from declm.optimizers.copro import COPRO
from declm.optimizers.costs import Cost, Limits
from declm.optimizers.gepa import GEPA
from declm.optimizers.mipro import MIPROv2
from declm.optimizers.nearest import KNNFewShot
from declm.optimizers.optimize import aoptimize, optimize
from declm.optimizers.optuna_search import OptunaSearch
from declm.optimizers.random_search import RandomSearch
from declm.optimizers.rules import InferRules
from declm.optimizers.search import JointSearch
from declm.optimizers.simba import SIMBA
from declm.optimizers.together import BetterTogether
from declm.optimizers.trials import Trial

__all__ = [
    "CAPO",
    "COPRO",
    "GEPA",
    "SIMBA",
    "BetterTogether",
    "BootstrapFewShot",
    "Cost",
    "InferRules",
    "JointSearch",
    "KNNFewShot",
    "LabeledFewShot",
    "Limits",
    "MIPROv2",
    "Optimized",
    "Optimizer",
    "OptunaSearch",
    "Problem",
    "RandomSearch",
    "Trial",
    "aoptimize",
    "optimize",
]
