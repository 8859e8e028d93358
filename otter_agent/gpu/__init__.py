"""The GPUs of this machine: what they do, and whose processes do it.

NVIDIA's library is loaded by a process of its own (`python -m otter_agent.gpu`): a GPU that has
fallen off the bus can hang whoever asks it, and a driver that was upgraded wants its library loaded
anew. The agent starts that process where the library is, asks it, and ends it when it hangs.
"""
