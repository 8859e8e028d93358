"""Topology -> what the agents shall make true. All pure, but `uploads`, which reads folders.

    placement   modules -> hosts            routes    shortest paths -> static routes
    addresses   hosts, modules -> IPv4      resolve   all of it -> Plan
    uploads     folders, files -> blobs     diff      (current, desired) -> changes

Must not know: sockets, agents' state beyond the current MeshSpec, the CLI.
"""
