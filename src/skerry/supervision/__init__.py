"""Handling of failures: failures as values, rules that choose solvers, supervisors that run them.

Names are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skerry.faces import lazily

if TYPE_CHECKING:
    from skerry.supervision.children import Child as Child
    from skerry.supervision.children import TaskChild as TaskChild
    from skerry.supervision.failure import ChildEnded as ChildEnded
    from skerry.supervision.failure import Failure as Failure
    from skerry.supervision.failure import IntensityExceeded as IntensityExceeded
    from skerry.supervision.failure import SupervisionError as SupervisionError
    from skerry.supervision.policy import Intensity as Intensity
    from skerry.supervision.policy import Rule as Rule
    from skerry.supervision.policy import Strategy as Strategy
    from skerry.supervision.rules import SolverPlugin as SolverPlugin
    from skerry.supervision.solvers import Hands as Hands
    from skerry.supervision.solvers import Solver as Solver
    from skerry.supervision.solvers import destroy as destroy
    from skerry.supervision.solvers import do_nothing as do_nothing
    from skerry.supervision.solvers import escalate as escalate
    from skerry.supervision.solvers import log as log
    from skerry.supervision.solvers import mend as mend
    from skerry.supervision.solvers import recreate as recreate
    from skerry.supervision.solvers import restart as restart
    from skerry.supervision.solvers import resume as resume
    from skerry.supervision.solvers import retry as retry
    from skerry.supervision.solvers import start as start
    from skerry.supervision.solvers import stop as stop
    from skerry.supervision.supervisor import Supervisor as Supervisor

_HOME = {
    "Child": "skerry.supervision.children",
    "ChildEnded": "skerry.supervision.failure",
    "Failure": "skerry.supervision.failure",
    "Hands": "skerry.supervision.solvers",
    "Intensity": "skerry.supervision.policy",
    "IntensityExceeded": "skerry.supervision.failure",
    "Rule": "skerry.supervision.policy",
    "Solver": "skerry.supervision.solvers",
    "SolverPlugin": "skerry.supervision.rules",
    "Strategy": "skerry.supervision.policy",
    "SupervisionError": "skerry.supervision.failure",
    "Supervisor": "skerry.supervision.supervisor",
    "TaskChild": "skerry.supervision.children",
    "destroy": "skerry.supervision.solvers",
    "do_nothing": "skerry.supervision.solvers",
    "escalate": "skerry.supervision.solvers",
    "log": "skerry.supervision.solvers",
    "mend": "skerry.supervision.solvers",
    "recreate": "skerry.supervision.solvers",
    "restart": "skerry.supervision.solvers",
    "resume": "skerry.supervision.solvers",
    "retry": "skerry.supervision.solvers",
    "start": "skerry.supervision.solvers",
    "stop": "skerry.supervision.solvers",
}

__all__ = sorted(_HOME)
__getattr__ = lazily(__name__, _HOME)
