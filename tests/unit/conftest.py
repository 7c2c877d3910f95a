"""Settings of the generated examples: as many as a second allows, and no time limit for one, on machines under load."""

from hypothesis import settings

settings.register_profile("unit", deadline=None, max_examples=60)
settings.load_profile("unit")
