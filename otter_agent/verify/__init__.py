"""Measures links and hosts of a mesh that runs, for `otterctl verify`.

    certifier  what to measure; runs the prober, hands on what it says     in the agent
    telling    what the mesh's own status adds: changed meanwhile, too slow      pure
    jobs       what the prober is told, a line of JSON                     pure
    __main__   the prober's process: it ends with whoever started it
    engine     sends trains of packets over several directions at once
    paths      sockets that reach exactly one direction of one link
    computing  bursts of work inside a host's budget

The statistics are in net/links/verify.
"""
