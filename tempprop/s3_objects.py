"""What only S3 has: uploads in parts, and listings that come in pages.

fsspec's own `put_file` holds up to ten parts of 50 MB in memory, and leaves an upload that runs
into its time-out dangling in the bucket, invisible and billed. Here each part is tried again on its
own, few are in memory, and whatever ends an upload before its end also removes its parts.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tempprop.errors import StoreError, StoreInputError
from tempprop.filesystems import Store, attempt, attempt_write

PART_BYTES = 16 << 20
"""Size of a part; a file of fewer bytes than two of them is uploaded whole."""

MOST_PARTS = 10_000
"""What S3 takes of one object."""

PARTS_AT_ONCE = 4
"""Parts of one file that are in memory and on their way at the same time."""

ABORT_SECONDS = 5.0
"""How long it is tried to remove the parts of an upload that has failed already."""


@dataclass(frozen=True)
class DanglingUpload:
    """An upload in parts that was begun and neither completed nor aborted.

    Attributes:
        name: Name of the object below the root that it would have become.
        upload_id: What the server calls it.
        initiated: When it was begun.
    """

    name: str
    upload_id: str
    initiated: datetime


def upload_in_parts(
    store: Store, source: Path, name: str, content_type: str, *, create: bool, until: float
) -> None:
    """Upload a large file in parts, several at a time; what is half done does not stay.

    Args:
        store: Where to.
        source: The file, of at least one byte.
        name: Name of the object below the root.
        content_type: Its media type.
        create: Only where there is none yet.
        until: Time of the monotonic clock at which it is given up.

    Raises:
        FileExistsError: `create` was asked for, and there is one. After a lost connection it may be
            the caller's own.
        StoreInputError: The location cannot be written.
        StoreError: The store did not answer before the deadline.
    """
    operation, target = f"upload {name}", _target(store, name)
    size = source.stat().st_size
    part_bytes = max(PART_BYTES, -(-size // MOST_PARTS))

    def call(method: str, bytes_sent: int = 0, **parameters: Any) -> Any:
        parameters |= target
        return attempt_write(
            store, operation, store.fs.call_s3, method, size=bytes_sent, until=until, **parameters
        )

    def upload(number: int) -> dict[str, Any]:
        with source.open("rb") as file:
            file.seek((number - 1) * part_bytes)
            body = file.read(part_bytes)
        answer = call("upload_part", len(body), Body=body, PartNumber=number, UploadId=upload_id)
        return {"PartNumber": number, "ETag": answer["ETag"]}

    upload_id = call("create_multipart_upload", ContentType=content_type)["UploadId"]
    pool = ThreadPoolExecutor(PARTS_AT_ONCE)
    try:
        parts = list(pool.map(upload, range(1, -(-size // part_bytes) + 1)))
        _complete(store, operation, upload_id, parts, create=create, until=until, **target)
    except BaseException:
        # Parts that arrive after the end of their upload would stay.
        pool.shutdown(cancel_futures=True)
        with suppress(StoreError, StoreInputError):
            abort_upload(_hasty(store), name, upload_id)
        raise
    finally:
        pool.shutdown()


def _complete(
    store: Store,
    operation: str,
    upload_id: str,
    parts: list[dict[str, Any]],
    *,
    create: bool,
    until: float,
    **target: Any,
) -> None:
    """Make an object of the parts. That there is no such upload any more is a lost answer."""
    condition: dict[str, Any] = {"IfNoneMatch": "*"} if create else {}
    try:
        attempt(
            store,
            operation,
            store.fs.call_s3,
            "complete_multipart_upload",
            until=until,
            UploadId=upload_id,
            MultipartUpload={"Parts": parts},
            **target,
            **condition,
        )
    except FileNotFoundError as error:
        try:
            attempt(store, operation, store.fs.call_s3, "head_object", until=until, **target)
        except FileNotFoundError:
            raise StoreError(
                f"{store.uri}: could not {operation}: the server has lost the parts. Run again"
            ) from error
        if create:
            raise FileExistsError(f"{operation}: the object exists") from error


def abort_upload(store: Store, name: str, upload_id: str) -> None:
    """Remove the parts of an upload; one that is not there any more is fine.

    Raises:
        StoreInputError: No permission.
        StoreError: The store did not answer before the deadline.
    """
    with suppress(FileNotFoundError):
        attempt(
            store,
            f"abort the upload of {name}",
            store.fs.call_s3,
            "abort_multipart_upload",
            UploadId=upload_id,
            **_target(store, name),
        )


def dangling_uploads(store: Store) -> Iterator[DanglingUpload]:
    """List the uploads below the root that are going on, or that nobody will end.

    Raises:
        StoreInputError: No permission.
        StoreError: The store did not answer before the deadline.
    """
    target = _target(store, "")
    below: dict[str, Any] = {"Bucket": target["Bucket"], "Prefix": target["Key"]}
    where: dict[str, Any] = {}
    while True:
        page = attempt(
            store,
            "list the uploads that are not complete",
            store.fs.call_s3,
            "list_multipart_uploads",
            **below,
            **where,
        )
        for upload in page.get("Uploads", []):
            name = upload["Key"].removeprefix(target["Key"])
            yield DanglingUpload(name, upload["UploadId"], upload["Initiated"])
        if not page.get("IsTruncated"):
            return
        where = {
            "KeyMarker": page["NextKeyMarker"],
            "UploadIdMarker": page.get("NextUploadIdMarker", ""),
        }


def uploaded_bytes(store: Store, upload: DanglingUpload) -> int:
    """Sum the parts of an upload that have arrived; those after the first thousand do not count.

    Raises:
        StoreInputError: No permission.
        StoreError: The store did not answer before the deadline.
    """
    try:
        answer = attempt(
            store,
            f"look at the upload of {upload.name}",
            store.fs.call_s3,
            "list_parts",
            UploadId=upload.upload_id,
            **_target(store, upload.name),
        )
    except FileNotFoundError:
        return 0
    return sum(part["Size"] for part in answer.get("Parts", []))


def object_pages(store: Store, folder: str, prefix: str = "") -> Iterator[dict[str, Any]]:
    """List what is directly in a folder, a page of up to a thousand objects at a time.

    Args:
        store: Where.
        folder: Name of the folder below the root, empty for the root itself.
        prefix: How the names in it begin that are wanted.

    Yields:
        S3's answers: `Contents` with `Key`, `Size`, `LastModified`; `CommonPrefixes`; whether the
        page `IsTruncated`.

    Raises:
        FileNotFoundError: The bucket does not exist.
        StoreInputError: No permission, or wrong credentials.
        StoreError: The store did not answer before the deadline, which each page has anew.
    """
    target = _target(store, f"{folder}/" if folder else "")
    where: dict[str, Any] = {}
    while True:
        page: dict[str, Any] = attempt(
            store,
            f"list {folder or 'the root'}",
            store.fs.call_s3,
            "list_objects_v2",
            Bucket=target["Bucket"],
            Prefix=target["Key"] + prefix,
            Delimiter="/",
            **where,
        )
        yield page
        if not page.get("IsTruncated"):
            return
        where = {"ContinuationToken": page["NextContinuationToken"]}


def _target(store: Store, name: str) -> dict[str, Any]:
    bucket, _, key = store.path(name).partition("/")
    return {"Bucket": bucket, "Key": key}


def _hasty(store: Store) -> Store:
    return Store(store.fs, store.root, store.uri, min(store.deadline_seconds, ABORT_SECONDS))
