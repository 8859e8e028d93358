"""What NVIDIA's drivers mean by the numbers of their errors.

Source: NVIDIA, XID Errors, "XID Error Listing". Only those which say something to who runs modules.
"""

from __future__ import annotations

MEANINGS = {
    13: "a kernel of a program made an exception",
    31: "a kernel of a program used memory that isn't its own",
    43: "a program's fault ended its work on the GPU",
    45: "work of a program was ended, after another error",
    48: "memory error that can't be corrected",
    61: "the GPU's own controller stopped",
    62: "the GPU's own controller halted",
    63: "a page or row of memory was taken out of use",
    64: "a page or row of memory couldn't be taken out of use",
    74: "NVLink error",
    79: "the GPU has fallen off the bus",
    92: "many memory errors were corrected",
    94: "memory error, contained: one program lost its work",
    95: "memory error, not contained: all programs lost their work",
    119: "the GPU's system processor doesn't answer",
    120: "the GPU's system processor made an error",
    154: "the GPU has to be reset or the machine restarted",
}


def text(number: int) -> str:
    """As an event says it."""
    meaning = MEANINGS.get(number)
    return f"XID {number}: {meaning}" if meaning else f"XID {number}"
