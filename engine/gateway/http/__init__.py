"""The gateway's HTTP/1 server: bytes of a connection to ASGI calls, with every wait bounded.

`listener` accepts, `admission` decides who may stay, `connection` is one connection with its state
(`states`) and timer, `parser` makes requests of bytes, `turns` decides when one begins, `exchange`
is one request and its answer. `limits` holds the numbers and `refusals` counts what they cost.
Knows nothing of paths, keys and jobs. Imported by `engine.gateway`.

Why not a server from the shelf: a connection of this gateway must have a timer and a cap in every
state, and room must be made at the cost of connections that only wait. Uvicorn bounds neither heads
nor bodies nor slow readers, and its protocol can only be changed through private parts. Hypercorn
has fewer of these bounds and costs more for each event. Granian keeps its connections outside of
Python, where the gateway can neither count nor choose among them. What is needed is small, because
httptools parses and Starlette routes.
"""
