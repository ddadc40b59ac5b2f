"""How many processes: the runner of `skerry up`, and its children's end of the line to it."""
