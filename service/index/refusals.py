"""What every database index says when it does not answer."""

from service.dicom.errors import IndexUnavailable, TooCostly


def too_long(limit_s: float) -> TooCostly:
    """A search ran past the statement limit."""
    return TooCostly(
        f"The search takes longer than {limit_s:g} seconds (ISTHMUS_STATEMENT_S). Narrow it, for instance by"
        " a date, a patient's ID or a study's UID, or leave out wildcards at the beginning of a key."
    )


def too_many_documents() -> TooCostly:
    """A search that is matched on documents ran past the statement limit."""
    return TooCostly("The search reads too many documents. Narrow it to a series, or use other keys.")


def closed() -> IndexUnavailable:
    """The index was closed by its owner."""
    return IndexUnavailable("The index is closed.")


def unavailable() -> IndexUnavailable:
    """The database failed or is out of reach."""
    return IndexUnavailable("The index does not answer; the server's log has the reason.")


def contradiction() -> IndexUnavailable:
    """A row that must be there is not."""
    return IndexUnavailable("The index contradicts itself; rebuild it with reindex.")
