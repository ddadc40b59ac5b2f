"""Django, as far as a host has to know it. Only what lies here imports Django."""
