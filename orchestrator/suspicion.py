"""Whether the node is to blame or the trial, when trials come to harm: what sets a node aside, and what lifts that."""

from collections.abc import Sequence

ENOUGH = 2
"""Deaths in a row on one node, or trials that came to harm there and ended well elsewhere."""


class Suspicions:
    """Of each node what happened there since a trial last ended well on it.

    A trial that comes to harm on a second node is itself to blame, and counts against none.
    """

    def __init__(self) -> None:
        self._last: dict[str, str] = {}
        """Key -> the node on which it last came to harm."""
        self._deaths: dict[str, list[str]] = {}
        self._failures: dict[str, list[str]] = {}
        self._marked: dict[str, list[str]] = {}
        """By node, keys; of a node that is set aside, those that say so."""

    def shunned(self, key: str) -> str | None:
        """The node on which the trial is not to be tried again, if there is another."""
        return self._last.get(key)

    def harmed(self, key: str, node: str, *, died: bool) -> None:
        """A trial came to harm: by a death, an error, or a results directory that was away."""
        if self._last.get(key, node) != node:
            for keys in (*self._deaths.values(), *self._marked.values()):
                keys[:] = [each for each in keys if each != key]
        elif died:
            self._deaths.setdefault(node, []).append(key)
        self._last[key] = node

    def ended_well(self, key: str, node: str) -> None:
        self._deaths.pop(node, None)
        self._failures.pop(node, None)
        if (before := self._last.pop(key, node)) != node:
            self._failures.setdefault(before, []).append(key)

    def culprits(self) -> dict[str, tuple[str, str]]:
        """Node -> why it is to be set aside, and the key of the last trial that says so; not those that are."""
        found: dict[str, tuple[str, str]] = {}
        for said, keys in (("died there in a row", self._deaths), ("failed there and not elsewhere", self._failures)):
            for node, of in keys.items():
                if len(of) >= ENOUGH and node not in self._marked:
                    found[node] = (f"{len(of)} trials {said}", of[-1])
        return found

    def mark(self, node: str) -> None:
        """The node is set aside."""
        self._marked[node] = list(self._deaths.get(node) or self._failures.get(node, ()))

    def lifted(self) -> Sequence[str]:
        """Nodes that were set aside for trials that turned out to be to blame themselves."""
        gone = [node for node, keys in self._marked.items() if len(keys) < ENOUGH]
        for node in gone:
            del self._marked[node]
        return gone
