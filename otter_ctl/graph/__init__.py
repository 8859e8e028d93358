"""Pictures of a topology, a plan or a running mesh. Pure: what is there is passed in.

    model     what a picture shows           build     topology, plan, status -> Picture
    fold      many alike hosts -> one        words     quantities as few words; widths of texts
    columns   links -> columns of hosts      spread    many hosts -> a grid
    layout    sizes and places of boxes      routes    curves of links and streams, their labels
    svg       Picture -> SVG                 mermaid   Picture -> Mermaid

Must not know: files, agents, the command line.
"""
