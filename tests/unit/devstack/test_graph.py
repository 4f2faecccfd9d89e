"""The order of things: nothing before what it needs, independent ones together, errors stop it."""

import threading

import pytest

from devstack import graph


def run(order, action):
    abort = threading.Event()
    graph.run_in_order(order, action, abort=abort)
    return abort


def test_each_runs_once_and_after_what_it_needs():
    done: list[str] = []
    run({"c": ("a", "b"), "b": ("a",), "a": ()}, done.append)
    assert done == ["a", "b", "c"]


def test_needs_outside_of_the_selection_are_met_already():
    done: list[str] = []
    run({"b": ("somewhere-else",)}, done.append)
    assert done == ["b"]


def test_independent_actions_run_at_the_same_time():
    together = threading.Barrier(3, timeout=5.0)  # raises unless three wait at once
    run({"a": (), "b": (), "c": ()}, lambda name: together.wait() and None)


def test_the_first_error_is_raised_and_nothing_new_begins():
    done: list[str] = []
    abort = threading.Event()

    def action(name: str) -> None:
        if name == "a":
            raise ValueError("broken")
        done.append(name)

    with pytest.raises(ValueError, match="broken"):
        graph.run_in_order({"a": (), "b": ("a",)}, action, abort=abort)
    assert done == []
    assert abort.is_set()
