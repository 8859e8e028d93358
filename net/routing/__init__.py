"""The way through a graph of hosts: blocks of addresses, shortest paths, routes. All pure.

Used by whoever plans a mesh, and by the agent that routes anew when a link goes down.
"""
