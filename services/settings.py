"""Every setting and limit of the service, read from the environment once, checked, and frozen.

An unknown `POSTTRADE_*` or `KAFKA_*` variable is an error: a misspelt setting that is silently ignored is found at the
worst moment. Secrets are read from files named by `*_FILE`, never from the environment or the command line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import msgspec


class SettingsError(ValueError):
    """A setting is unknown, missing or out of range; the text says what to do."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator may choose. Field names are the environment variables in lower case (see `VARIABLES`)."""

    bootstrap_servers: str = ""
    """KAFKA_BOOTSTRAP_SERVERS: host:port, comma-separated."""
    security_protocol: str = "PLAINTEXT"
    """KAFKA_SECURITY_PROTOCOL: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL."""
    sasl_mechanism: str = "SCRAM-SHA-512"
    """KAFKA_SASL_MECHANISM, when the protocol is SASL."""
    sasl_username: str = ""
    """KAFKA_SASL_USERNAME."""
    sasl_password_file: str = ""
    """KAFKA_SASL_PASSWORD_FILE: file that holds the password and nothing else."""
    ssl_ca_location: str = ""
    """KAFKA_SSL_CA_LOCATION: PEM file of the authorities to trust; empty: the system's."""
    topic_prefix: str = ""
    """POSTTRADE_TOPIC_PREFIX: sets one installation apart from others on the same cluster, for example "uat."."""
    worker_slot: int = 0
    """POSTTRADE_WORKER_SLOT: stable number of this worker; a second worker with the same number stops the first."""
    web_host: str = "127.0.0.1"
    """POSTTRADE_WEB_HOST: address of /metrics, /livez and /readyz."""
    web_port: int = 6066
    """POSTTRADE_WEB_PORT: port of the same; the slot is added to it."""
    data_dir: str = ".local/worker"
    """POSTTRADE_DATA_DIR: folder of the worker for snapshots and crash marks, kept over restarts and its own. Without
    it a start takes longer, and a record that kills the process is never recognised: the worker ends on it for ever."""
    unallocated_after_seconds: int = 900
    """POSTTRADE_UNALLOCATED_AFTER_SECONDS: age at which an unfinished block becomes an exception."""
    unconfirmed_after_seconds: int = 900
    """POSTTRADE_UNCONFIRMED_AFTER_SECONDS: age at which a missing confirmation becomes an exception."""
    dead_letter_share_max: Decimal = Decimal("0.2")
    """POSTTRADE_DEAD_LETTER_SHARE_MAX: share of a service's last 1,000 records that may fail; beyond it the service
    stops in place until it is restarted. 1 switches the limit off."""
    sese023_schema: str = ""
    """POSTTRADE_SESE023_SCHEMA: official XSD to validate instructions with; empty: the derived one that is shipped."""
    sese020_schema: str = ""
    """POSTTRADE_SESE020_SCHEMA: the same for the cancellation of an instruction."""
    log_level: str = "info"
    """POSTTRADE_LOG_LEVEL: debug, info, warning or error."""
    replication_factor: int = -1
    """POSTTRADE_REPLICATION_FACTOR: of topics made by `topics apply`; -1: the cluster's default."""

    def kafka_client(self) -> dict[str, str]:
        """Settings of every Kafka client besides the address. Reads the password file, and gives it to nobody else."""
        client: dict[str, str] = {"security.protocol": self.security_protocol}
        if self.security_protocol.startswith("SASL"):
            client |= {"sasl.mechanism": self.sasl_mechanism, "sasl.username": self.sasl_username}
            client["sasl.password"] = _secret(self.sasl_password_file)
        if self.ssl_ca_location:
            client["ssl.ca.location"] = self.ssl_ca_location
        return client


_KAFKA = (
    "bootstrap_servers",
    "security_protocol",
    "sasl_mechanism",
    "sasl_username",
    "sasl_password_file",
    "ssl_ca_location",
)
VARIABLES: dict[str, str] = {
    ("KAFKA_" if name in _KAFKA else "POSTTRADE_") + name.upper(): name for name in Settings.__struct_fields__
}
"""Environment variable → field."""

_OTHERS_VARIABLES = frozenset(
    {"KAFKA_HOME", "KAFKA_OPTS", "KAFKA_HEAP_OPTS", "KAFKA_LOG4J_OPTS", "KAFKA_JVM_PERFORMANCE_OPTS"}
)
"""Belong to Kafka's own scripts and mean nothing here."""

_DEFAULTS = Settings()

_RANGES = {
    "worker_slot": (0, 999),
    "web_port": (1, 65_000),
    "unallocated_after_seconds": (1, 7 * 86_400),
    "unconfirmed_after_seconds": (1, 7 * 86_400),
    "dead_letter_share_max": (0, 1),
}
_CHOICES = {
    "security_protocol": ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"),
    "log_level": ("debug", "info", "warning", "error"),
}


def load_settings(environment: Mapping[str, str]) -> Settings:
    """Read and check. Raises SettingsError with one sentence."""
    values: dict[str, str] = {}
    for variable, text in environment.items():
        if not variable.startswith(("POSTTRADE_", "KAFKA_")):
            continue
        field = VARIABLES.get(variable)
        if field is None and variable in _OTHERS_VARIABLES:
            continue
        if field is None:
            raise SettingsError(f"{variable} is not a setting; known are: {', '.join(sorted(VARIABLES))}")
        values[field] = text
    for field, text in values.items():
        if isinstance(getattr(_DEFAULTS, field), int) and not re.fullmatch(r"-?\d{1,9}", text):
            raise SettingsError(f"{_variable(field)} was {text!r}; it must be a whole number")
        if isinstance(getattr(_DEFAULTS, field), Decimal) and not re.fullmatch(r"\d{1,3}(\.\d{1,6})?", text):
            raise SettingsError(f"{_variable(field)} was {text!r}; it must be a number such as 0.2")
    settings = msgspec.convert(values, Settings, strict=False)
    _check(settings)
    return settings


def _check(settings: Settings) -> None:
    for field, (low, high) in _RANGES.items():
        value = getattr(settings, field)
        if not low <= value <= high:
            raise SettingsError(f"{_variable(field)} was {value}; it must lie between {low} and {high}")
    for field, choices in _CHOICES.items():
        value = getattr(settings, field)
        if value not in choices:
            raise SettingsError(f"{_variable(field)} was {value!r}; choose one of {', '.join(choices)}")
    if not re.fullmatch(r"[A-Za-z0-9._-]{0,100}", settings.topic_prefix):
        raise SettingsError("POSTTRADE_TOPIC_PREFIX may hold letters, digits, '.', '_' and '-' only, at most 100")
    if settings.security_protocol.startswith("SASL") and not (settings.sasl_username and settings.sasl_password_file):
        raise SettingsError("with SASL, KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD_FILE must be set")


def _variable(field: str) -> str:
    return next(variable for variable, name in VARIABLES.items() if name == field)


def _secret(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SettingsError(f"KAFKA_SASL_PASSWORD_FILE could not be read: {error.strerror}") from error
