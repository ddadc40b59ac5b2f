"""The Tars wire format: values, structs, packets, bodies. Bytes in, values out; nothing here waits."""
