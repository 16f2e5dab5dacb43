"""How much the properties are tried: little in a normal run, much in a campaign.

SKAE_HYPOTHESIS_PROFILE=campaign tries hundreds of examples of each, other ones each
time; SKAE_HYPOTHESIS_EXAMPLES says how many.
"""

import os

import pytest
from hypothesis import HealthCheck, Verbosity, settings

pytest.register_assert_rewrite("promises")

common = {
    "database": None,
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
    "print_blob": False,
}
settings.register_profile("quick", derandomize=True, max_examples=8, **common)
settings.register_profile(
    "campaign",
    max_examples=int(os.environ.get("SKAE_HYPOTHESIS_EXAMPLES", "500")),
    verbosity=Verbosity.normal,
    report_multiple_bugs=True,
    **common,
)
settings.load_profile(os.environ.get("SKAE_HYPOTHESIS_PROFILE", "quick"))
