"""The process launcher: starts and reaps the modules of the process runtime, outliving the agent.

    agent ──JSON requests (Unix SOCK_SEQPACKET, fds by SCM_RIGHTS)──► launcher ──fork──► modules
      └──── reads ◄─── launcher/instances/MESH/MODULE/{work,life}.json ◄──writes──┘

One small process per agent root, standard library only; a running module costs it one dict entry
and no descriptor. It writes each start and each exit to disk before anyone is told, so an agent
that was away learns them all. If the launcher itself is killed, held modules end (their pipe
breaks), running ones go on; the next launcher adopts those by pid and start time, but no one can
know their exit status then. It ends by itself when it has neither modules nor an agent.

Files: `records` what is on disk, `server` requests, `lives` one module's life, `child` between
fork and exec, `linux` system calls; `client` is the agent's side and the only one with asyncio.
"""
