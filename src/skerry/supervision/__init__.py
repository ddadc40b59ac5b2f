"""What happens when something fails: failures as values, rules that choose solvers, supervisors that act."""
