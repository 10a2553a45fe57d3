"""What is read from a file is parsed within limits and checked by its schema before anything uses it.

    bytes → json_value, toml_value → plain values → Schema(document, fault).check → the same values

`documents` declares every document that charloom reads.
"""

from charloom.schema.check import Schema, unknown_note
from charloom.schema.plain import MalformedError, json_value, toml_value

__all__ = ["MalformedError", "Schema", "json_value", "toml_value", "unknown_note"]
