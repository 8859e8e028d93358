"""Traces: recorded or generated series of what a link was like, to be played on an emulated one.

    trace      what a trace is, and how it is played: looped, scaled, from an offset     pure
    read       a file of any format -> Trace
    lines      files -> lines, bounded; what is wrong with them, by line
    mahimahi, rates, table, rtt   one format each
    generate   series drawn from a seed                                                  pure
    codec      Trace -> bytes and back: what travels to the agents                        pure

Must not know: topologies, agents, drivers.
"""
