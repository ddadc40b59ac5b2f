"""Applications that the crawler visits. `python MODULE.py` makes what each needs in the directory SITE."""
