"""A whole sweep takes longer than any other test."""

from typing import List

import pytest


def pytest_collection_modifyitems(items: List[pytest.Item]) -> None:
    """It begins first: nobody waits for it at the end, and no idle worker takes some of its tests and sweeps again."""
    items.sort(key=lambda item: "finished" not in getattr(item, "fixturenames", ()))
