"""Weights from the Hugging Face hub: its cache, a quick look whether it can be reached, and the download."""

from __future__ import annotations

import os
from pathlib import Path

from chowder.files import UserError

FILES = ("model.safetensors", "pytorch_model.bin")
OFFLINE = ("1", "on", "true", "yes")
SECONDS = 3.0  # for the hub to answer when a run is planned


def cached(repository: str) -> Path | None:
    """Return the weight file of a repository in the hub's local cache; None where it was not fetched."""
    from huggingface_hub import try_to_load_from_cache

    for file in FILES:
        found = try_to_load_from_cache(repository, file)
        if isinstance(found, str):
            return Path(found)
    return None


def check(name: str, repository: str) -> None:
    """Raise UserError, within seconds, when the weights of ``name`` are neither in the cache nor to be had.

    The error says which it is: offline on purpose, no network, not permitted (gated), no such repository.
    """
    if cached(repository) is not None:
        return
    advice = f"or give the file as embedding.weights.{name}"
    if offline():
        raise UserError(
            f"encoder {name}: HF_HUB_OFFLINE is set and {repository} is not in the hub's cache: fetch it on a machine "
            f"with a network, {advice}"
        )
    import requests
    from huggingface_hub import constants, get_token

    token = get_token()
    address = f"{constants.ENDPOINT}/{repository}/resolve/main/{{file}}"
    codes = []
    for file in FILES:
        try:
            answer = requests.head(
                address.format(file=file),
                headers={"Authorization": f"Bearer {token}"} if token else {},
                timeout=SECONDS / len(FILES),
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise UserError(
                f"encoder {name}: the hub cannot be reached ({type(error).__name__}) and {repository} is not in its "
                f"cache: connect, {advice}"
            ) from None
        codes.append(answer.status_code)
        if answer.ok:
            return
    if codes[0] in (401, 403):
        login = "accept its terms with the account of your token" if token else "accept its terms and set HF_TOKEN"
        raise UserError(
            f"encoder {name}: {repository} is gated or does not exist (HTTP {codes[0]}): open {constants.ENDPOINT}/"
            f"{repository}, {login}, {advice}"
        )
    if codes[-1] == 404:
        raise UserError(
            f"encoder {name}: {repository} holds none of {', '.join(FILES)} (HTTP 404): look there, {advice}"
        )
    raise UserError(f"encoder {name}: the hub answers HTTP {codes[-1]} for {repository}: try later, {advice}")


def fetch(name: str, repository: str) -> Path:
    """Return the weight file of a repository, from the cache or downloaded. Errors: see :func:`check`."""
    found = cached(repository)
    if found is not None:
        return found
    check(name, repository)
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    for file in FILES:
        try:
            return Path(hf_hub_download(repository, file))
        except EntryNotFoundError:
            continue
        except Exception as error:  # whatever the client raises
            reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
            raise UserError(
                f"encoder {name}: {repository} cannot be fetched ({reason}): give the file as embedding.weights.{name}"
            ) from None
    raise UserError(
        f"encoder {name}: {repository} holds none of {', '.join(FILES)}: give the file as embedding.weights"
    )


def offline() -> bool:
    """True when the user wants the hub left alone."""
    return any(os.environ.get(key, "").lower() in OFFLINE for key in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))
