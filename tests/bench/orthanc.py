"""Debian's Orthanc with its DICOMweb plugin, as a baseline: HTTP and DIMSE, on an empty folder."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.bench.baselines import DCMTK_ENVIRON
from tests.bench.rig import Rig, answers, free_port, program, running, until

NAME = "Orthanc (Debian)"
_PLUGIN = "libOrthancDicomWeb.so"
_FOLDERS = ("/usr/share/orthanc/plugins", "/usr/lib/orthanc")


@dataclass(frozen=True, slots=True)
class Orthanc:
    """A running Orthanc: the ports of its HTTP and of its DIMSE server, and its process."""

    port: int
    dicom_port: int
    pid: int


def installed() -> bool:
    """Whether Orthanc and its plugin are there."""
    return program("Orthanc") is not None and _plugin() is not None


def _plugin() -> str | None:
    paths = (Path(folder) / _PLUGIN for folder in _FOLDERS)
    return next((str(path) for path in paths if path.exists()), None)


@contextlib.contextmanager
def orthanc(
    rig: Rig,
    modalities: Mapping[str, tuple[str, int]] | None = None,
    environ: Mapping[str, str] = DCMTK_ENVIRON,
) -> Iterator[Orthanc]:
    """Orthanc without Nagle's delays; `modalities` are AE titles and ports of this machine, by name."""
    folder, port, dicom_port = rig.new_folder("orthanc"), free_port(), free_port()
    configuration = folder / "orthanc.json"
    configuration.write_text(
        json.dumps(
            {
                "StorageDirectory": str(folder),
                "IndexDirectory": str(folder),
                "Plugins": [_plugin()],
                "HttpPort": port,
                "RemoteAccessAllowed": False,
                "AuthenticationEnabled": False,
                "DicomAet": "ORTHANC",
                "DicomPort": dicom_port,
                "DicomAlwaysAllowFind": True,
                "DicomAlwaysAllowGet": True,
                "DicomAlwaysAllowMove": True,
                "DicomThreadsCount": 8,
                "DicomModalities": {
                    name: [title, "127.0.0.1", its] for name, (title, its) in (modalities or {}).items()
                },
                "SynchronousCMove": True,
                "LimitFindResults": 0,
                "KeepAlive": True,
                "TcpNoDelay": True,
                "HttpThreadsCount": 50,
                "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
            }
        )
    )
    binary = program("Orthanc") or "Orthanc"
    command = [binary, str(configuration)]
    with running(command, folder / "orthanc.log", environ) as process:
        until(lambda: answers(port, "/system"), process, "Orthanc")
        yield Orthanc(port, dicom_port, process.pid)
