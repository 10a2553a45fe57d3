"""The Python API: the verbs as functions, and a trained model as an object.

model = charloom.train("tales.txt", minutes=2)
print(model.sample("Once upon", length=200)[0].text)
print(model.evaluate("other.txt").bits_per_char)
"""

from charloom.api.ensembles import ensemble
from charloom.api.inspection import explain, gradients, inspect
from charloom.api.model import Model, from_torch, load
from charloom.api.training import resume, train

__all__ = ["Model", "ensemble", "explain", "from_torch", "gradients", "inspect", "load", "resume", "train"]
