"""The Tars interface language: reading `.tars` files, loading them at run time, writing Python modules from them."""
