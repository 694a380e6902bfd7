"""What `tempprop verify` finds, as a table or as JSON."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path

from cryptography import x509
from rich.markup import escape

from flows.cli_output import count_clips, print_json, print_table
from flows.progress_bar import progress_watch
from tempprop.errors import InputError
from tempprop.provenance.verification import ClipCheck, FileCheck, verify_file, verify_library
from tempprop.store import open_output, open_readable


def verify_output(
    out: str, *, trust_anchors: Path | None, decode: bool, show_all: bool, as_json: bool
) -> bool:
    """Check an output, print what was found, and tell whether all is well.

    Raises:
        InputError: The output or the trust anchors cannot be read, or there are no clips.
    """
    store, anchors = open_output(out), _read(trust_anchors)
    shown, signatures, wrong = [], Counter[str](), 0
    with progress_watch() as watch:
        for check in verify_library(store, trust_anchors=anchors, decode=decode, watch=watch):
            signatures[check.signature] += 1
            wrong += bool(check.problems)
            # Of a large library only what is wrong is kept.
            if check.problems or show_all:
                shown.append(check)
    if not signatures:
        raise InputError(f"{store.uri} holds no committed clips. Check the path")
    if as_json:
        clips = [asdict(check) for check in shown]
        print_json({"checked": signatures.total(), "problems": wrong, "clips": clips})
        return not wrong
    if shown:
        print_table(("clip", "key", "signature", "found"), [_row(check) for check in shown])
    print(
        f"{count_clips(signatures.total())} checked, {wrong} with problems; "
        f"{signatures['valid'] + signatures['trusted']} signed, {signatures['trusted']} by a "
        "trusted certificate"
    )
    return not wrong


def verify_single(
    path: Path, *, trust_anchors: Path | None, library: str | None, as_json: bool
) -> bool:
    """Check a media file, print what was found, and tell whether all is well.

    Raises:
        InputError: The file, the library or the trust anchors cannot be read.
    """
    store = open_readable(library) if library is not None else None
    try:
        check = verify_file(path, trust_anchors=_read(trust_anchors), library=store)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    if as_json:
        print_json(asdict(check) | {"path": str(path)})
    else:
        print_table((), [(name, escape(value)) for name, value in _facts(check) if value])
    return not check.problems


def _row(check: ClipCheck) -> tuple[str, str, str, str]:
    found = "; ".join(check.problems) or "as it should be"
    return escape(check.clip_id or "?"), check.key[:16], _signature(check.signature), escape(found)


def _signature(state: str) -> str:
    return {"missing": "none", "": "?"}.get(state, state)


def _facts(check: FileCheck) -> list[tuple[str, str]]:
    signature = check.signature
    return [
        ("file", str(check.path)),
        ("signature", _signature(signature.state)),
        ("signed by", signature.signer),
        ("made by a model", "says so" if check.marked else "does not say so"),
        ("model", signature.clip.get("model", "")),
        ("clip", check.clip_id),
        ("key", check.key),
        ("sha256", check.sha256),
        ("library", check.origin),
        ("problems", "; ".join(check.problems) or "none"),
    ]


def _read(trust_anchors: Path | None) -> str | None:
    if trust_anchors is None:
        return None
    try:
        text = trust_anchors.read_text()
        x509.load_pem_x509_certificates(text.encode())
    except OSError as error:
        raise InputError(f"the trust anchors {trust_anchors} cannot be read: {error}") from error
    except ValueError as error:
        raise InputError(
            f"the trust anchors {trust_anchors} are no certificates in PEM. Give a file of root "
            "certificates"
        ) from error
    return text
