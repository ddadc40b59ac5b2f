"""Flask-Admin's pages of two tables, by SQLAlchemy on SQLite."""

from __future__ import annotations

import os
from pathlib import Path

from flask import Flask
from flask_admin import Admin
from flask_admin.contrib.sqla import ModelView
from flask_sqlalchemy import SQLAlchemy

application = Flask("shelf")
application.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{Path(os.environ['SITE']).absolute() / 'site.db'}"
application.secret_key = "not one"
db = SQLAlchemy(application)


class Author(db.Model):  # type: ignore[name-defined]
    id = db.Column(db.Integer, primary_key=True)
    name = db.Column(db.String(50))
    books = db.relationship("Book", back_populates="author")

    def __str__(self) -> str:
        return str(self.name)


class Book(db.Model):  # type: ignore[name-defined]
    id = db.Column(db.Integer, primary_key=True)
    title = db.Column(db.String(50))
    pages = db.Column(db.Integer)
    author_id = db.Column(db.Integer, db.ForeignKey("author.id"))
    author = db.relationship("Author", back_populates="books")


class BookView(ModelView):  # type: ignore[misc]
    column_filters = ("pages",)
    column_searchable_list = ("title",)


admin = Admin(application, name="Shelf")
admin.add_view(ModelView(Author, db))
admin.add_view(BookView(Book, db))

if __name__ == "__main__":
    with application.app_context():
        db.create_all()
        author = Author(name="Ann")
        db.session.add_all(
            [author, *(Book(title=f"Book {number}", pages=9, author=author) for number in range(3))]
        )
        db.session.commit()
