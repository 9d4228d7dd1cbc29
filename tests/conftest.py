"""What all tests share: no test fails because the machine is slow."""

from hypothesis import settings

settings.register_profile("solfa", deadline=None)
settings.load_profile("solfa")
