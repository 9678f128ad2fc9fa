"""Options and skips that all tests share."""

import pytest
from hypothesis import settings

# A deadline is a wall-clock assertion, and fails on a busy machine only.
settings.register_profile("tailrace", deadline=None, print_blob=True)
settings.load_profile("tailrace")


def pytest_addoption(parser):
    parser.addoption("--soak", action="store_true", help="also run the long tests")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--soak"):
        return
    skip = pytest.mark.skip(reason="long run; ask for it with --soak")
    for item in items:
        if "soak" in item.keywords:
            item.add_marker(skip)
