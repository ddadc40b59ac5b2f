"""A Django application: commands, checks, tags for projects that list it in INSTALLED_APPS; and what a host knows of
Django. Only what lies here imports Django.

Names are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skerry.faces import lazily

if TYPE_CHECKING:
    from skerry.hosting.django.project import host_project as host_project
    from skerry.hosting.django.sessions import by_session as by_session
    from skerry.hosting.django.testing import LiveServer as LiveServer
    from skerry.hosting.django.testing import LiveServerTestCase as LiveServerTestCase

_HOME = {
    "LiveServer": "skerry.hosting.django.testing",
    "LiveServerTestCase": "skerry.hosting.django.testing",
    "host_project": "skerry.hosting.django.project",
    "by_session": "skerry.hosting.django.sessions",
}

__all__ = sorted(_HOME)
__getattr__ = lazily(__name__, _HOME)
