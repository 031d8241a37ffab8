"""Looks at every state that can be reached, and asks whether all of them can still end well."""

from __future__ import annotations

from collections import defaultdict

from tests.property.protocol import Broken, Protocol, State, check, final


def explore(protocol: Protocol, start: State) -> int:
    """Visit every state that can be reached from this one; return how many there are.

    Raises:
        Broken: a step or a state breaks a promise; with the shortest way that leads to it.
    """
    came_from: dict[State, tuple[State, str] | None] = {start: None}
    leads_here: dict[State, list[State]] = defaultdict(list)  # by what the system does itself
    waiting = [start]
    for state in waiting:
        try:
            check(state)
            for itself, what, after in protocol.steps(state):
                if itself:
                    leads_here[after].append(state)
                if after not in came_from:
                    came_from[after] = (state, what)
                    waiting.append(after)
        except Broken as broken:
            raise Broken(f"{broken}: {_way(came_from, state)}") from None
    stuck = set(waiting) - _can_end(waiting, leads_here)
    if stuck:
        first = next(state for state in waiting if state in stuck)
        raise Broken(f"a question never gets its result: {_way(came_from, first)}")
    return len(waiting)


def _can_end(states: list[State], leads_here: dict[State, list[State]]) -> set[State]:
    waiting = [state for state in states if final(state)]
    found = set(waiting)
    while waiting:
        for before in leads_here[waiting.pop()]:
            if before not in found:
                found.add(before)
                waiting.append(before)
    return found


def _way(came_from: dict[State, tuple[State, str] | None], state: State) -> str:
    steps = []
    at = came_from[state]
    while at is not None:
        state, what = at
        steps.append(what)
        at = came_from[state]
    return ", ".join(reversed(steps))
