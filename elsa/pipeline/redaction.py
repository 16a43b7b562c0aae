"""What is kept out of command lines, as configured: the same for what jobd stores and for the bill of `elsa run`."""

from __future__ import annotations

from elsa.config import Config
from elsa.decode.redact import Redactor
from elsa.errors import ConfigError


def configured(config: Config) -> Redactor:
    """Raises ConfigError where a setting makes no sense."""
    try:
        return Redactor(config.redact, config.redact_options)
    except ValueError as error:
        raise ConfigError(f"redact, redact_options: {error}") from None
