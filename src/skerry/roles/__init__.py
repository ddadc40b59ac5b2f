"""What a process does: server, consumer, gateway, balancer. A laptop runs them together, production apart."""
