"""In what order: settings, services, what was declared, and how a process lives."""
