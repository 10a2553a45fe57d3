"""An HTTP server for models: OpenAI's completions interface, with all requests decoded together."""

from charloom.serve.limits import Limits
from charloom.serve.served_model import ServedModel, load_models

__all__ = ["Limits", "ServedModel", "load_models"]
