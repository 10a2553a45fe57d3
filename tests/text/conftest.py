"""Property tests have no deadline: tables are built on first use, and the machine may be busy."""

from hypothesis import settings

settings.register_profile("text", deadline=None, max_examples=80)
settings.load_profile("text")
