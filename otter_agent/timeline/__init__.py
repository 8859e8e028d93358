"""What changes by itself while a mesh runs: events and traces, played from one epoch on.

    kept       when the epoch was, whether it plays; what is kept of that     pure
    compile    a spec's traces and events -> net.links.timeline
    record     what was requested when, and when it was in force
    player     plays it: one task per mesh

Must not know: HTTP, how links are made scarce.
"""
