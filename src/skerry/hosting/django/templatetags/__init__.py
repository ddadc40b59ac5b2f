"""Tags for templates: `{% load skerry %}`."""
