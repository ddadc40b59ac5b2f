"""sqladmin's pages of a table, on Starlette, by SQLAlchemy on SQLite."""

from __future__ import annotations

import os
from pathlib import Path

from sqladmin import Admin, ModelView
from sqlalchemy import String, create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from starlette.applications import Starlette

engine = create_engine(f"sqlite:///{Path(os.environ['SITE']).absolute() / 'site.db'}")


class Base(DeclarativeBase):
    pass


class Book(Base):
    __tablename__ = "book"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(String(50))
    pages: Mapped[int]


class BookView(ModelView, model=Book):  # type: ignore[call-arg, misc]
    column_list = (Book.id, Book.title)
    column_searchable_list = (Book.title,)


application = Starlette()
Admin(application, engine).add_view(BookView)

if __name__ == "__main__":
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all([Book(title=f"Book {number}", pages=number) for number in range(30)])
        session.commit()
