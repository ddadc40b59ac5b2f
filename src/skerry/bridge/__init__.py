"""Between the application's own code and the journal: `emit`, `send`, `ask`, in threads and in coroutines alike."""
