"""Run by `manage.py test`: system checks, template tags, which target the project is, and a live server."""

from __future__ import annotations

import json
from typing import Any, ClassVar
from unittest import mock
from urllib.request import Request, urlopen

from django.conf import settings
from django.contrib.auth.models import Group
from django.contrib.staticfiles.testing import StaticLiveServerTestCase
from django.core.checks import run_checks
from django.core.signals import request_started
from django.template import Context, Template
from django.test import SimpleTestCase, override_settings
from django.urls import set_script_prefix

from skerry import Position
from skerry.errors import SettingsError
from skerry.hosting.django import LiveServer, LiveServerTestCase
from skerry.hosting.django.checks import exposed
from skerry.hosting.django.project import host_arguments, kept_arguments, tars_arguments

SQLITE = "django.db.backends.sqlite3"
POSTGRES = "django.db.backends.postgresql"


def ours() -> set[str]:
    return {str(each.id) for each in run_checks() if str(each.id).startswith("skerry.")}


class Checks(SimpleTestCase):  # type: ignore[misc]
    def test_a_good_project_hears_nothing(self) -> None:
        with override_settings(
            SKERRY={"JOURNAL": "postgresql://db/shop", "NAMESPACE": "shop", "TARS": "shop.urls:it"}
        ):
            assert ours() == set()

    def test_views_and_server_that_do_not_go_together(self) -> None:
        with override_settings(ASGI_APPLICATION="shop.asgi.application", WSGI_APPLICATION=None):
            assert ours() == {"skerry.W001"}
        with override_settings(ROOT_URLCONF="shop.asyncurls"):
            assert ours() == {"skerry.W002"}
            with override_settings(ASGI_APPLICATION="shop.asgi.application"):
                assert ours() == set()

    def test_connections_that_are_kept(self) -> None:
        kept: dict[str, Any] = {"ENGINE": POSTGRES, "CONN_MAX_AGE": 60}
        asgi = {"ASGI_APPLICATION": "shop.asgi.application", "ROOT_URLCONF": "shop.asyncurls"}
        for database, changed, expected in (
            (kept, {}, {"skerry.W004"}),
            (kept | {"CONN_HEALTH_CHECKS": True}, {}, set()),
            (kept | {"ENGINE": SQLITE, "CONN_MAX_AGE": None}, {}, set()),
            (kept, asgi, {"skerry.W003"}),
        ):
            found = mock.patch.dict(settings.DATABASES["default"], database, clear=True)
            with self.subTest(database), found, self.settings(**changed):
                assert ours() == expected

    def test_settings_that_are_wrong(self) -> None:
        for wrong, expected in (
            ({"SKERRY": ["journal"]}, "skerry.E001"),
            ({"SKERRY": {"JOURNEY": ""}}, "skerry.E001"),
            ({"SKERRY": {"APP": "shop.live"}}, "skerry.E002"),
            ({"SKERRY": {"APP": "nowhere:app"}}, "skerry.E002"),
            ({"SKERRY": {"JOURNAL": "mysql://db", "NAMESPACE": "shop"}}, "skerry.E003"),
            ({"SKERRY": {"JOURNAL": "sqlite:///shop.db"}}, "skerry.E004"),
            ({"SKERRY_TARS": {"django.json": "setings"}}, "skerry.E005"),
        ):
            with self.subTest(wrong), self.settings(**wrong):
                assert ours() == {expected}

    def test_debug_in_front_of_everybody(self) -> None:
        for arguments, is_told in (
            (["host", "x:y"], False),
            (["host", "x:y", "--bind", "127.0.0.1:80"], False),
            (["host", "x:y", "--bind", "0.0.0.0:80"], True),
            (["host", "x:y", "--bind=0.0.0.0:80"], True),
        ):
            with self.subTest(arguments), self.settings(DEBUG=True):
                assert (exposed(arguments, {}) is not None) == is_told
        with self.settings(DEBUG=False):
            assert exposed(["--bind", "0.0.0.0:80"], {}) is None
        with self.settings(DEBUG=True):
            assert exposed([], {"SKERRY_BIND": "0.0.0.0:80"}) is not None


class Arguments(SimpleTestCase):  # type: ignore[misc]
    def test_in_production(self) -> None:
        assert host_arguments([], {}) == ["host", "shop.wsgi:application"]
        assert host_arguments(["8000", "--threads", "4"], {}) == [
            "host",
            "shop.wsgi:application",
            "--bind",
            "127.0.0.1:8000",
            "--threads",
            "4",
        ]
        assert tars_arguments(["--config=f", "stop"]) == [
            "tars",
            "run",
            "shop.wsgi:application",
            "--config=f",
            "stop",
        ]

    def test_while_debug_is_on(self) -> None:
        with self.settings(DEBUG=True):
            files = "skerry.hosting.django.development:application()"
            assert host_arguments([], {}) == ["host", files, "--reload", "--hosts", "1"]
            assert host_arguments(["--no-reload", "--hosts=2"], {}) == [
                "host",
                files,
                "--no-reload",
                "--hosts=2",
            ]
            given = {
                "SKERRY_RELOAD": "0",
                "SKERRY_HOST_PROCESSES": "3",
                "SKERRY_HOST_STATIC": "/static=there",
            }
            assert host_arguments([], given) == ["host", "shop.wsgi:application"]

    def test_commands_about_the_app(self) -> None:
        with self.settings(SKERRY={"APP": "shop.live:app"}):
            assert kept_arguments(["infra", "create", "--dry-run"]) == [
                "infra",
                "create",
                "shop.live:app",
                "--dry-run",
            ]
            assert kept_arguments(["dead", "retry", "7"]) == ["dead", "retry", "7"]
        with self.assertRaisesMessage(SettingsError, "SKERRY['APP']"):
            kept_arguments(["infra", "create"])

    def test_what_else_may_be_served(self) -> None:
        with self.settings(SKERRY={"APP": "shop.live:app", "TARS": "shop.service:service"}):
            assert host_arguments(["--servers", "2"], {}) == ["up", "shop.live:app", "--servers", "2"]
            assert tars_arguments([]) == ["tars", "run", "shop.service:service"]
        with self.settings(WSGI_APPLICATION=None):
            assert host_arguments([], {}) == ["host", "django.core.wsgi:get_wsgi_application()"]
        with self.settings(ASGI_APPLICATION="shop.asgi.application"):
            assert host_arguments([], {}) == ["host", "shop.wsgi:application"]
            with self.settings(ROOT_URLCONF="shop.asyncurls"):
                assert host_arguments([], {}) == ["host", "shop.asgi:application"]


class Tags(SimpleTestCase):  # type: ignore[misc]
    def shown(self, tag: str, **context: Any) -> str:
        return str(Template("{% load skerry %}" + tag).render(Context(context)))

    def test_addresses_lie_under_the_root_of_the_site(self) -> None:
        try:
            set_script_prefix("/kv/")
            assert self.shown("{% skerry_js %}") == "/kv/_skerry/skerry.js"
            assert self.shown("{% skerry_events '/events' %}") == "/kv/events"
        finally:
            set_script_prefix("/")
        assert self.shown("{% skerry_events path %}", path="//evil.example/x") == "/evil.example/x"
        assert self.shown("{% skerry_events prefix=p %}", p='a&"<') == "/events?prefix=a%26%22%3C"

    def test_nothing_leaves_the_script(self) -> None:
        shown = self.shown(
            "{% skerry_live path prefix=p since=s %}", path='/"</script>', p="</script><b>", s="\u2028'&"
        )
        assert shown.count("<") == 2, shown
        assert "nonce" not in shown
        assert r'"prefix": "\u003C/script\u003E\u003Cb\u003E"' in shown
        assert "\u2028" not in shown

    def test_rows_begin_where_the_request_began(self) -> None:
        class Asked:
            META: ClassVar[dict[str, str]] = {"skerry.position": "e:7"}
            csp_nonce = "n"

        shown = self.shown(
            "{% skerry_rows 'shop_order' order='-id' limit=9 note=n %}", request=Asked(), n='"<&'
        )
        assert shown == (
            'table="shop_order" events="/events" since="e:7" order="-id" limit="9" '
            'where="{&quot;note&quot;: &quot;\\&quot;&lt;&amp;&quot;}"'
        )
        assert 'since="e:8"' in self.shown("{% skerry_rows 'shop_order' since='e:8' %}", request=Asked())
        assert "since" not in self.shown("{% skerry_rows 'shop_order' %}")
        assert '"since": "e:7"' in self.shown("{% skerry_live %}", request=Asked())
        assert "since" not in self.shown("{% skerry_live snapshot=True %}", request=Asked())
        script = self.shown("{% skerry_rows_script %}", request=Asked())
        assert script == '<script type="module" src="/_skerry/rows.js" nonce="n"></script>'

    def test_a_request_notes_the_position_before_anything_is_read(self) -> None:
        for at, expected in ((Position("e", 3), {"skerry.position": "e:3"}), (None, {})):
            with mock.patch("skerry.hosting.django.apps.position", return_value=at):
                environ: dict[str, Any] = {}
                request_started.send(self.__class__, environ=environ)
            assert environ == expected

    def test_the_nonce_of_the_page(self) -> None:
        class Asked:
            csp_nonce = "of the request"

        assert 'nonce="of the context"' in self.shown("{% skerry_live %}", csp_nonce="of the context")
        assert 'nonce="of the request"' in self.shown("{% skerry_live %}", request=Asked())
        assert 'nonce="&quot;&gt;"' in self.shown("{% skerry_live %}", csp_nonce='">')


class Live(LiveServerTestCase):
    def test_the_server_sees_what_the_test_has_written(self) -> None:
        Group.objects.create(name="tea")
        for _ in range(3):
            with urlopen(f"{self.live_server_url}/groups", timeout=60) as answer:
                found = json.load(answer)
            assert (found["groups"], found["thread"]) == (["tea"], "skerry.hosting.pool")

    def test_sessions_and_uploads(self) -> None:
        with urlopen(f"{self.live_server_url}/visits", timeout=60) as answer:
            cookie = answer.headers["Set-Cookie"].partition(";")[0]
        with urlopen(
            Request(f"{self.live_server_url}/visits", headers={"Cookie": cookie}), timeout=60
        ) as answer:
            assert answer.read() == b"2"


class Static(StaticLiveServerTestCase):  # type: ignore[misc]
    server_thread_class = LiveServer

    def test_files_of_applications(self) -> None:
        with urlopen(f"{self.live_server_url}/static/shop/shop.css", timeout=60) as answer:
            assert b"teal" in answer.read()
