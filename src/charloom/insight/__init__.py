"""Why a model learns and why it forgets: numbers, no pictures.

`inspect` gathers everything. Each measurement has a module of its own, which says what it means and stands alone:
`gradient_flow`, `jacobian`, `context`, `gates`, `connectivity`, `units`, `embedding`, `errors`, `verdicts`. `tour` leads from a
text to a prediction. All of it is NumPy; no PyTorch is asked for.
"""

from charloom.insight.inspection import flow_of, inspect
from charloom.insight.plain import plain
from charloom.insight.results import ContextCurve, Inspection, Sizes

__all__ = ["ContextCurve", "Inspection", "Sizes", "flow_of", "inspect", "plain"]
