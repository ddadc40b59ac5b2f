"""A Django project with sessions, uploads and static files."""
