"""The paths of django_admin.py."""

from __future__ import annotations

from django.contrib import admin
from django.urls import path
from shelf.models import Author, Book


@admin.register(Book)
class BookAdmin(admin.ModelAdmin):
    list_display = ("title", "author", "pages", "lent")
    list_filter = ("lent",)
    search_fields = ("title",)


admin.site.register(Author)
urlpatterns = [path("admin/", admin.site.urls)]
