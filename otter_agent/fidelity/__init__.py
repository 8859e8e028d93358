"""Whether a run that goes on is still what was asked for: a machine that is too slow is no link.

    processor  what kept this machine, or a process on it, from computing
    judge      two samples -> what was wrong between them                 pure
    watch      samples one mesh, tells, keeps the verdict over the agent's lives

Must not know: HTTP, how a driver works.
"""
