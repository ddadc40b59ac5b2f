"""The models of `shelf`."""

from __future__ import annotations

from django.db import models


class Author(models.Model):
    name = models.CharField(max_length=50)
    born = models.DateField(null=True, blank=True)

    def __str__(self) -> str:
        return self.name


class Book(models.Model):
    title = models.CharField(max_length=50)
    author = models.ForeignKey(Author, on_delete=models.CASCADE)
    pages = models.IntegerField(default=100)
    lent = models.BooleanField(default=False)

    def __str__(self) -> str:
        return self.title
