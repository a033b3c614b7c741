"""Predictors: modules that call an LM."""

from declm.predictors.functions import PredictedFunction, fill, predict
from declm.predictors.predict import Predict
from declm.predictors.think import ChainOfThought

__all__ = ["ChainOfThought", "Predict", "PredictedFunction", "fill", "predict"]
