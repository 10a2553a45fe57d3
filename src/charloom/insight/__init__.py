"""Why a model learns and why it forgets, in numbers; NumPy only, without PyTorch.

`inspect` runs every measurement. Each has its own independent module, which defines it: `gradient_flow`,
`jacobian`, `context`, `gates`, `connectivity`, `units`, `embedding`, `error_analysis`, `verdicts`. `tour` leads
from a text to a prediction.
"""

from charloom.insight.inspection import flow_of, inspect
from charloom.insight.json_values import json_ready
from charloom.insight.results import ContextCurve, Inspection, Sizes

__all__ = ["ContextCurve", "Inspection", "Sizes", "flow_of", "inspect", "json_ready"]
