"""XMP in media files: the mark of machines' work that libraries and search engines read.

Each container has its own place for a packet (XMP Specification Part 3, "Storage in Files"; PNG and
WebP say it in their own specifications). Only the packet is added, no pixel changes.
"""

import re
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from xml.sax.saxutils import escape

from tempprop.provenance.claim import DIGITAL_SOURCE_TYPE, SOFTWARE, Claim, software_version

MP4_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
JPEG_NAME = b"http://ns.adobe.com/xap/1.0/\0"
PNG_KEYWORD = b"XML:com.adobe.xmp"
GIF_NAME = b"XMP DataXMP"
# A GIF reader that takes the packet for sub-blocks ends at the second zero from any byte of it.
GIF_TRAILER = bytes([1, *range(255, -1, -1), 0])
VP8X_HAS_XMP = 0x04
VP8X_HAS_ALPHA = 0x10

PACKET = """\
<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">
   <Iptc4xmpExt:DigitalSourceType>{source_type}</Iptc4xmpExt:DigitalSourceType>
   <Iptc4xmpExt:AISystemUsed>{model}</Iptc4xmpExt:AISystemUsed>
   <Iptc4xmpExt:AISystemVersionUsed>sha256:{digest}</Iptc4xmpExt:AISystemVersionUsed>
{prompt}   <xmp:CreatorTool>{software}</xmp:CreatorTool>
   <dc:identifier>{key}</dc:identifier>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>"""

PROMPT = "   <Iptc4xmpExt:AIPromptInformation>{}</Iptc4xmpExt:AIPromptInformation>\n"


NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that no XML document may hold, not even escaped (XML 1.0, production 2)."""

LONGEST_PROMPT = 10_000
"""Characters of a prompt that fit into the 65,502 bytes of a JPEG's packet, all of them escaped."""


def xmp_packet(claim: Claim) -> bytes:
    """Write the claim as XMP, in the terms of IPTC's Photo Metadata Standard 2025.1.

    A longer prompt than `LONGEST_PROMPT` is cut off there.
    """
    prompt = claim.prompt
    text = PACKET.format(
        source_type=DIGITAL_SOURCE_TYPE,
        model=_in_xml(claim.model),
        digest=claim.model_digest,
        prompt=PROMPT.format(_in_xml(prompt[:LONGEST_PROMPT])) if prompt is not None else "",
        software=f"{SOFTWARE} {software_version()}",
        key=claim.key,
    )
    return text.encode()


def _in_xml(text: str) -> str:
    return escape(NOT_IN_XML.sub("\ufffd", text))


def can_hold_xmp(path: Path) -> bool:
    """Tell whether a packet can be put into a file of such a name."""
    return path.suffix in WRITERS


def add_xmp(path: Path, packet: bytes) -> None:
    """Put a packet into a media file that has none.

    Args:
        path: An MP4, MOV, JPEG, PNG, WebP or GIF.
        packet: See `xmp_packet`.

    Raises:
        ValueError: The file is not what its name says.
    """
    WRITERS[path.suffix](path, packet)


def read_xmp(path: Path) -> bytes | None:
    """Give the packet of a media file; None where there is none, or no place for one.

    Raises:
        ValueError: The file is not what its name says.
    """
    read = READERS.get(path.suffix.lower())
    return read(path) if read is not None else None


def _append_box(path: Path, packet: bytes) -> None:
    with path.open("ab") as file:
        file.write(struct.pack(">I4s16s", 24 + len(packet), b"uuid", MP4_UUID) + packet)


def _read_box(path: Path) -> bytes | None:
    with path.open("rb") as file:
        size = path.stat().st_size
        start = 0
        while start + 8 <= size:
            file.seek(start)
            length, kind = struct.unpack(">I4s", file.read(8))
            header = 8
            if length == 1:
                (length,), header = struct.unpack(">Q", file.read(8).ljust(8, b"\0")), 16
            length = length or size - start
            if length < header or start + length > size:
                raise ValueError(f"{path.name} has a torn box at byte {start}")
            if kind == b"uuid" and file.read(16) == MP4_UUID:
                return file.read(length - header - 16)
            start += length
    return None


def _add_to_jpeg(path: Path, packet: bytes) -> None:
    content = _checked(path, b"\xff\xd8")
    # JFIF wants its own segment to be the first.
    at = 2
    if content[2:4] == b"\xff\xe0":
        at = 4 + int.from_bytes(content[4:6], "big")
    segment = JPEG_NAME + packet
    path.write_bytes(
        content[:at] + struct.pack(">2sH", b"\xff\xe1", 2 + len(segment)) + segment + content[at:]
    )


def _read_jpeg(path: Path) -> bytes | None:
    content, at = _checked(path, b"\xff\xd8"), 2
    while content[at : at + 1] == b"\xff" and content[at + 1 : at + 2] != b"\xda":
        end = at + 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        if content[at + 1 : at + 2] == b"\xe1" and content[at + 4 : end].startswith(JPEG_NAME):
            return content[at + 4 + len(JPEG_NAME) : end]
        at = end
    return None


def _add_to_png(path: Path, packet: bytes) -> None:
    content = _checked(path, b"\x89PNG\r\n\x1a\n")
    at = 8 + 12 + int.from_bytes(content[8:12], "big")
    body = b"iTXt" + PNG_KEYWORD + b"\0\0\0\0\0" + packet
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    path.write_bytes(content[:at] + chunk + content[at:])


def _read_png(path: Path) -> bytes | None:
    content, at = _checked(path, b"\x89PNG\r\n\x1a\n"), 8
    start = b"iTXt" + PNG_KEYWORD + b"\0\0\0\0\0"
    while at < len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        if content[at + 4 : at + 8 + length].startswith(start):
            return content[at + 4 + len(start) : at + 8 + length]
        at += 12 + length
    return None


def _add_to_webp(path: Path, packet: bytes) -> None:
    content = bytearray(_checked(path, b"RIFF"))
    if content[12:16] != b"VP8X":
        # A still in the simple layout: the extended one begins with a chunk of flags and the size.
        width, height = _webp_size(bytes(content))
        flags = VP8X_HAS_ALPHA if content[12:16] == b"VP8L" else 0
        extended = struct.pack("<4sII", b"VP8X", 10, flags)
        extended += (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        content[12:12] = extended
    content[20] |= VP8X_HAS_XMP
    content += struct.pack("<4sI", b"XMP ", len(packet)) + packet + b"\0" * (len(packet) % 2)
    content[4:8] = struct.pack("<I", len(content) - 8)
    path.write_bytes(content)


def _webp_size(content: bytes) -> tuple[int, int]:
    if content[12:16] == b"VP8L":
        bits = int.from_bytes(content[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack("<HH", content[26:30])
    return width & 0x3FFF, height & 0x3FFF


def _read_webp(path: Path) -> bytes | None:
    content, at = _checked(path, b"RIFF"), 12
    while at + 8 <= len(content):
        kind, length = struct.unpack("<4sI", content[at : at + 8])
        if kind == b"XMP ":
            return content[at + 8 : at + 8 + length]
        at += 8 + length + length % 2
    return None


def _add_to_gif(path: Path, packet: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(-1, 2)
        if file.read(1) != b";":
            raise ValueError(f"{path.name} does not end as a GIF")
        file.seek(-1, 2)
        file.write(b"\x21\xff\x0b" + GIF_NAME + packet + GIF_TRAILER + b";")


def _read_gif(path: Path) -> bytes | None:
    content = _checked(path, b"GIF8")
    start = content.find(b"\x21\xff\x0b" + GIF_NAME)
    end = content.find(GIF_TRAILER, start)
    return content[start + 14 : end] if start >= 0 <= end else None


def _checked(path: Path, start: bytes) -> bytes:
    content = path.read_bytes()
    if not content.startswith(start):
        raise ValueError(f"{path.name} is not what its name says")
    return content


WRITERS: Mapping[str, Callable[[Path, bytes], None]] = {
    ".mp4": _append_box,
    ".mov": _append_box,
    ".jpg": _add_to_jpeg,
    ".png": _add_to_png,
    ".webp": _add_to_webp,
    ".gif": _add_to_gif,
}
READERS: Mapping[str, Callable[[Path], bytes | None]] = {
    ".mp4": _read_box,
    ".mov": _read_box,
    ".jpg": _read_jpeg,
    ".png": _read_png,
    ".webp": _read_webp,
    ".gif": _read_gif,
}
