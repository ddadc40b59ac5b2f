"""Web frameworks on the Tars platform: remote configuration in their settings, their routes in call statistics."""
