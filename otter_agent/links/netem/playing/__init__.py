"""A helper process that makes changes of kernel links at their time, and sees how late timers are.

    planner     the agent's end: lends directions, tells what is to come
    protocol    what is said                                            pure
    __main__    the helper: its loop, control (the agent)
    letters     a change of a direction -> the kernel's messages        pure
    agenda      … what is to come, written beforehand, sent in time
    post        … sockets in the directions' namespaces
    canary      … packets over a netem of its own: is it late?

An agent has others to serve while a change is due, and one that asks the kernel what came of each
of a thousand changes a second has no time left. The helper has nothing else to do: it writes the
messages when it has time, sends all of a change at once, and hears of what failed. What it is told
is read back by the agent when it looks (`LinkBook.look_again`).
"""
