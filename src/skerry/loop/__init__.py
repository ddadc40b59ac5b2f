"""When things happen: interests, timers, loop models, the loop over asyncio, and sockets to listen on."""
