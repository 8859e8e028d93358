"""pcapng files, read by a reader that isn't ours."""

from __future__ import annotations

import io

import dpkt
import pytest

from net import pcapng

HEAD = pcapng.section("test") + pcapng.interface(pcapng.ETHERNET, 65535, "a>b", "far end")
SECOND = 1_795_872_067_401_075_123


def test_packets_come_back_with_their_times():
    data = [bytes(range(n)) for n in (60, 61, 62, 63, 0)]
    blocks = [pcapng.packet(0, SECOND + i, one, len(one)) for i, one in enumerate(data)]
    reader = dpkt.pcapng.Reader(io.BytesIO(HEAD + b"".join(blocks)))
    assert reader.datalink() == dpkt.pcap.DLT_EN10MB
    read = list(reader)
    assert [one for _, one in read] == data
    assert read[0][0] == pytest.approx(SECOND / 1e9, abs=1e-6)


def test_names_and_lengths_are_in_the_file():
    second = pcapng.interface(pcapng.RAW_IP, 96, "b>a", "far end")
    cut = pcapng.packet(1, SECOND, b"x" * 96, 1500)
    file = io.BytesIO(HEAD + second + cut)
    reader = dpkt.pcapng.Reader(file)
    options = {option.code: option.data for option in reader.idb.opts}
    assert options[dpkt.pcapng.PCAPNG_OPT_IF_NAME] == b"a>b"
    block = dpkt.pcapng.EnhancedPacketBlockLE(cut)
    assert (block.iface_id, block.caplen, block.pkt_len) == (1, 96, 1500)
    assert (block.ts_high << 32 | block.ts_low) == SECOND


def test_a_file_cut_anywhere_is_cut_back_to_whole_blocks():
    packet = pcapng.packet(0, SECOND, b"12345", 5)
    lost = pcapng.statistics(0, SECOND, 7)
    file = HEAD + packet + packet + lost
    ends = [len(HEAD), len(HEAD + packet), len(HEAD + packet + packet), len(file)]
    for cut in range(len(HEAD), len(file) + 1):
        length, packets, dropped = pcapng.whole_blocks(file[:cut])
        assert length == max(end for end in ends if end <= cut)
        assert packets == ends.index(length) if length < len(file) else packets == 2
        assert dropped == ({0: 7} if length == len(file) else {})


@pytest.mark.parametrize("junk", [b"HTTP/1.1 200 OK\r\n", bytes(12), b"\xff" * 40])
def test_what_is_no_pcapng_is_refused(junk):
    with pytest.raises(ValueError, match="a block of"):
        pcapng.whole_blocks(junk)
