"""In this process's memory: nothing survives it. For tests, trials and one-process services."""
