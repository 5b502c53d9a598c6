"""What each route of the bridge's HTTP takes: the scope that whoever asks has to have."""

from collections.abc import Mapping

from service.access.identity import DELETE, READ, STORE

# What holds nothing of patients is for everybody.
_OPEN = frozenset(("/openapi.json", "/healthz", "/readyz", "/metrics"))
_BY_METHOD: Mapping[str, str] = {"GET": READ, "POST": STORE, "PUT": STORE, "DELETE": DELETE}
_OTHERWISE: Mapping[tuple[str, str], str] = {
    ("POST", "/peers/{name}/echo"): READ,
    ("POST", "/peers/{name}/store"): READ,  # it reads the archive
    ("DELETE", "/worklist/{id}"): STORE,  # who sends items may take them back
    ("DELETE", "/jobs/{id}"): READ,  # and STORE for a job that stores, see jobs.py
}


def needed(method: str, path: str) -> str | None:
    """The scope that a route takes, `None` for what is open to everybody.

    What changes something takes what its method says, unless it is named otherwise here.
    """
    if method == "GET" and path in _OPEN:
        return None
    return _OTHERWISE.get((method, path)) or _BY_METHOD[method]
