"""What probes of a link say of it, and whether that is what was asked for. Pure.

    schedule   LinkSpec -> when to send how many bytes      what is polite, and enough to tell
    records    what was sent and came -> delays, losses, bursts, overtakers, rates
    intervals  how sure that is: confidence intervals
    expected   LinkSpec -> what a link that does as asked shows
    tolerances how far off is still right
    judge      (asked, records) -> findings with verdicts

Must not know: sockets, the clock, how links are shaped.
"""
