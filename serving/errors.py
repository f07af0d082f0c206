"""Why the server cannot be installed, started or kept running.

ServingError
├── InstallError                 the server environment or the server tree cannot be built
│   └── PythonLibraryError       no shared Python library for Triton's Python stub
├── RepositoryError              a config.pbtxt cannot be read, or nothing is ready to be served
├── AlreadyRunningError          another supervisor holds this SENSORIUM_HOME
└── ServerError                  the server process
    ├── StartError               it ended, or was not ready, within its time
    ├── ControlError             it refused or did not answer a model control request
    └── RestartLimitError        it failed too often to be started again
"""

from __future__ import annotations

__all__ = [
    "AlreadyRunningError",
    "ControlError",
    "InstallError",
    "PythonLibraryError",
    "RepositoryError",
    "RestartLimitError",
    "ServerError",
    "ServingError",
    "StartError",
]


class ServingError(Exception):
    """Base of all errors of this package; the text is fit for a terminal."""


class InstallError(ServingError):
    pass


class PythonLibraryError(InstallError):
    pass


class RepositoryError(ServingError):
    pass


class AlreadyRunningError(ServingError):
    pass


class ServerError(ServingError):
    pass


class StartError(ServerError):
    pass


class ControlError(ServerError):
    pass


class RestartLimitError(ServerError):
    pass
