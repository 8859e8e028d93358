"""Images from machine to machine, without a registry: only layers that the receiver lacks.

    sender   overlay2.py  layers read where Docker's classic store has them on the disk
             saved.py     … or out of what `docker save` writes, for all other engines
    between  api/parcels.py  pieces of a layer, compressed if that is quicker than sending them
    receiver staging.py   layers as far as they have come, each checked by its digest
             archive.py   what `docker load` gets: the new layers alone
    both     transfers.py

A registry on the receiver's loopback, from which its engine would pull, was weighed and rejected:
in a pull the classic store names a layer by the digest of its *compressed* blob, and knows none for
what was built or loaded, so it would fetch again what it has; and a sender would have to compress
whole layers to learn their names. `docker load` goes by the digest of the plain tar, which both
ends know.
"""
