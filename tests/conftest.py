"""Options and skips that all tests share."""

import pytest
from hypothesis import settings

# A deadline is a wall-clock assertion, and fails on a busy machine only.
settings.register_profile("tailrace", deadline=None, print_blob=True)
settings.load_profile("tailrace")


def pytest_addoption(parser):
    parser.addoption("--soak", action="store_true", help="also run the long tests")


def _early(items):
    """One test with the large model first, so that it is made while the others run; the rest of
    its kind last, so that they don't wait for it."""
    large = [item for item in items if "large" in item.keywords]
    first = [item for item in large if "soak" not in item.keywords][:1]
    others = [item for item in items if "large" not in item.keywords]
    return [*first, *others, *(item for item in large if item not in first)]


def pytest_collection_modifyitems(config, items):
    items[:] = _early(items)
    if config.getoption("--soak"):
        return
    skip = pytest.mark.skip(reason="long run; ask for it with --soak")
    for item in items:
        if "soak" in item.keywords:
            item.add_marker(skip)
