"""Settings: four frozen dataclasses, each field declared once with its default, meaning and bounds.

A field's check, flag, help and documentation are derived from the metadata that `setting` attaches. This
package opens no file and imports no library.
"""

from charloom.config.convert import (
    can_be_off,
    from_dict,
    setting_names,
    stored_text_config,
    to_dict,
    unknown_key,
    with_settings,
    without_dropout,
)
from charloom.config.declare import check_bounds, nearest_name, setting
from charloom.config.effect import without_effect, without_effect_on_samples
from charloom.config.model import ModelConfig
from charloom.config.plan import format_plan, parse_plan
from charloom.config.sampling import SampleConfig
from charloom.config.separators import NAMED_SEPARATORS, parse_replacements, unescaped
from charloom.config.text import TextConfig
from charloom.config.training import DECOUPLED_DECAY, DYNAMIC_SETTINGS, TrainConfig

__all__ = [
    "DECOUPLED_DECAY",
    "DYNAMIC_SETTINGS",
    "NAMED_SEPARATORS",
    "ModelConfig",
    "SampleConfig",
    "TextConfig",
    "TrainConfig",
    "can_be_off",
    "check_bounds",
    "format_plan",
    "from_dict",
    "nearest_name",
    "parse_plan",
    "parse_replacements",
    "setting",
    "setting_names",
    "stored_text_config",
    "to_dict",
    "unescaped",
    "unknown_key",
    "with_settings",
    "without_dropout",
    "without_effect",
    "without_effect_on_samples",
]
