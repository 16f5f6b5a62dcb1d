"""What `--launcher ray` says where Ray is not there."""

from __future__ import annotations

import sys

import pytest

import search
from data.errors import UserError
from search.supervisor.prepare import open_cluster


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "search.supervisor.ray_launch", raising=False)
    monkeypatch.delattr(search, "ray_launch", raising=False)  # What another test imported stays an attribute.
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"--launcher ray: .*sieve-search\[ray\]"):
        open_cluster("auto", 1.0)
