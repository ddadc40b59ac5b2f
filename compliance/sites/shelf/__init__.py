"""Books and their authors, for the admin pages of Django."""
