"""What hosts and modules of a mesh may use: asked by topology, timeline and by hand; in force.

    subjects   a host or a module, and what can be asked of it     pure
    asking     `api.BudgetChange` -> what is changed of which      pure
    book       the layers, their ends, and bringing them into force

Must not know: HTTP, how control groups are made.
"""
