"""A client of ``solfa serve``."""

from pathlib import Path
from typing import Any

import httpx

from solfa.core.errors import SolfaError


class Client(httpx.Client):
    """A server at an address such as ``http://127.0.0.1:4333``, asked with its ``secret`` where it has one.

    Answers are the documents of docs/serve.md as Python has JSON. It is an ``httpx.Client`` of the interface, so that
    ``with`` closes it and ``post``, ``stream`` and others work with paths such as ``tracks/3/audio``. What is not
    answered raises SolfaError with what the server says, or why it cannot be reached.
    """

    def __init__(self, url: str = "http://127.0.0.1:4333", secret: str = "", **options: Any) -> None:
        headers = {"authorization": f"Bearer {secret}"} if secret else {}
        super().__init__(base_url=f"{url.rstrip('/')}/api/v1/", headers=headers, **{"timeout": 30.0, **options})

    def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        """As httpx does, but for errors."""
        try:
            answer = super().send(request, **options)
        except httpx.TransportError as error:
            raise SolfaError(f"{self.base_url} cannot be reached: {error}. Is 'solfa serve' running?") from error
        if answer.is_error:
            answer.read()
            is_ours = "problem+json" in answer.headers.get("content-type", "")
            raise SolfaError(answer.json()["detail"] if is_ours else f"{request.url} answered {answer.status_code}.")
        return answer

    def ask(self, path: str, **parameters: Any) -> dict[str, Any]:
        """A document: ``ask("tracks/3/similar", k=5)``, ``ask("status")``; ``from_`` stands for ``from``."""
        given = {name.rstrip("_"): value for name, value in parameters.items()}
        document: dict[str, Any] = self.get(path, params=given).json()
        return document

    def search(self, q: str = "", **parameters: Any) -> dict[str, Any]:
        """A page of hits: ``search("slow waltz", not_=["vocals"], like=["3@0:10-0:20"], k=20)``."""
        return self.ask("search", q=q, **parameters)

    def upload(self, file: Path | str) -> str:
        """An example sound, as ``like`` takes it for a while."""
        return str(self.post("examples", content=Path(file).read_bytes()).json()["id"])
