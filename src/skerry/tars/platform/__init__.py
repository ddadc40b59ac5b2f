"""The Tars platform: its configuration files and its services, as a server meets them."""
