"""What a stack says of itself without a server running."""

import json
from pathlib import Path

from devstack.stack import Stack


def test_a_part_that_an_older_devstack_knew_does_no_harm(tmp_path: Path) -> None:
    known = {"version": 1, "stackId": "", "bind": "", "ports": {}, "parts": ["gone-long-ago"]}
    (tmp_path / "state.json").write_text(json.dumps(known))
    stack = Stack(tmp_path, public_port=0)
    assert stack.env() == {}
    assert stack.status() == []
