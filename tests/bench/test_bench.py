"""The benchmarks that take less than a minute, and their goals: a regression is a failure."""

import pytest

from tailrace_sim.cli.bench import benches, load, page

#: What is well within its goal and is to stay there: values that must not be exceeded.
BOUNDS = {"frame end to MSI-X, 64 B": 92}


@pytest.mark.parametrize("name", ["virtio_net"])
def test_goals(name):
    entries = load(benches()[name]).measure()
    judged = [entry for entry in entries if entry["goal"] is not None]
    assert len(judged) >= 8, "goals are missing"
    for entry in judged:
        assert entry["met"], entry
        assert entry["value"] <= BOUNDS.get(entry["measure"], entry["value"]), entry


def test_page():
    rows = [
        {"bench": "x", "measure": "a", "value": 1.5, "unit": "u", "goal": 2, "met": True},
        {"bench": "x", "measure": "b", "value": 3, "unit": "u", "goal": 2, "met": False},
    ]
    text = page({"x": ("Title.\n\nSays ``what``.", rows)})
    assert "## x\n\nTitle.\n\nSays `what`.\n\n| measure" in text
    assert "| a | 1.5 | u | 2 | yes |" in text
    assert "| b | 3 | u | 2 | **no** |" in text
