"""Which chain of solvers is for which failures: rules one by one, and those that plugins bring.

Not here: which of several rules is nearest (`policy.choose`), running a chain (`supervisor`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from skerry.supervision.failure import Failure, SupervisionError
from skerry.supervision.policy import Rule, choose
from skerry.supervision.solvers import Solver, log, mend

DEFAULTS: tuple[Rule[Solver], ...] = (Rule(BaseException, (log, mend)),)


class SolverPlugin(Protocol):
    """A bundle of rules: `supervisor.plug(plugin)`."""

    def rules(self) -> Iterable[tuple[type[BaseException], tuple[Solver, ...]]]:
        """Classes of exceptions and their solver chains."""
        ...


class Rules:
    """The rules of one supervisor, in the order of registration. Wrong ones raise SupervisionError."""

    def __init__(self) -> None:
        self._rules: list[Rule[Solver]] = []
        self._plugged: dict[int, tuple[SolverPlugin, list[Rule[Solver]]]] = {}

    def __len__(self) -> int:
        return len(self._rules)

    def add(self, kind: type[BaseException], solvers: tuple[Solver, ...]) -> Rule[Solver]:
        """For exceptions of `kind` and below: this chain."""
        made = _rule(kind, solvers)
        self._rules.append(made)
        return made

    def remove(self, rule: Rule[Solver]) -> None:
        """Forget exactly this rule."""
        self._rules = [one for one in self._rules if one is not rule]

    def plug(self, plugin: SolverPlugin) -> None:
        """Add a plugin's rules; all of them or, when one is wrong, none."""
        if id(plugin) in self._plugged:
            raise SupervisionError(f"{plugin!r} is plugged in already")
        try:
            rules = [_rule(kind, solvers) for kind, solvers in plugin.rules()]
        except Exception as error:
            raise SupervisionError(f"plugin {plugin!r} failed: {error}") from error
        self._plugged[id(plugin)] = plugin, rules
        self._rules.extend(rules)

    def unplug(self, plugin: SolverPlugin) -> None:
        """Take a plugin's rules out again."""
        _, gone = self._plugged.pop(id(plugin), (None, []))
        self._rules = [one for one in self._rules if not any(one is other for other in gone)]

    def chain(self, failure: Failure) -> tuple[Solver, ...]:
        """What the nearest rule says is done about a failure."""
        rule = choose(self._rules, failure) or choose(DEFAULTS, failure)
        return (log,) if rule is None else rule.solvers

    def take_whole(self, error: BaseException) -> bool:
        """Whether there is a rule for an exception group as such."""
        return any(isinstance(error, r.kind) for r in self._rules if issubclass(r.kind, BaseExceptionGroup))


def _rule(kind: type[BaseException], solvers: tuple[Solver, ...]) -> Rule[Solver]:
    given: object = kind
    if not (isinstance(given, type) and issubclass(given, BaseException)):
        raise SupervisionError(f"a rule is for a class of exceptions, not {kind!r}")
    if not solvers or not all(map(callable, solvers)):
        raise SupervisionError(f"the rule for {kind.__name__} needs solvers, got {solvers!r}")
    return Rule(kind, tuple(solvers))
