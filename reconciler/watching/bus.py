"""What systemd tells of units as it happens, over D-Bus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ..errors import HostError

SERVICE = "org.freedesktop.systemd1"
PATH = "/org/freedesktop/systemd1"
PATIENCE = 5.0


def label(unit: str) -> str:
    """A unit's name as systemd writes it into object paths.

    >>> label("ndtask.service")
    'ndtask_2eservice'
    """
    return "".join(
        char if char.isascii() and char.isalnum() and not (place == 0 and char.isdigit()) else f"_{ord(char):02x}"
        for place, char in enumerate(unit)
    )


class Bus:
    """The signals of some units; raises `HostError` where there is no bus."""

    def __init__(self, units: Iterable[str]) -> None:
        from jeepney.bus_messages import MatchRule, message_bus  # noqa: PLC0415 - only where systemd is
        from jeepney.io.blocking import Proxy, open_dbus_connection  # noqa: PLC0415
        from jeepney.wrappers import DBusAddress, new_method_call  # noqa: PLC0415

        self._units = {f"{PATH}/unit/{label(unit)}": unit for unit in units}
        try:
            self._connection: Any = open_dbus_connection(bus="SYSTEM")
            bus = Proxy(message_bus, self._connection, timeout=PATIENCE)
            for path in self._units:
                rule = MatchRule(
                    type="signal", sender=SERVICE, path=path,
                    interface="org.freedesktop.DBus.Properties", member="PropertiesChanged",
                )  # fmt: skip
                bus.AddMatch(rule)
            manager = DBusAddress(PATH, bus_name=SERVICE, interface=f"{SERVICE}.Manager")
            self._connection.send_and_get_reply(new_method_call(manager, "Subscribe"), timeout=PATIENCE)
        except Exception as error:  # noqa: BLE001 - whatever the library raises, there is no bus for us
            raise HostError(f"systemd cannot be listened to over D-Bus ({type(error).__name__})") from None

    def fileno(self) -> int:
        """What to wait for."""
        return int(self._connection.sock.fileno())

    def units(self) -> Iterator[str]:
        """Units that something happened to; raises `HostError` when the bus is gone."""
        while True:
            try:
                message = self._connection.receive(timeout=0)
            except TimeoutError:
                return
            except Exception as error:  # noqa: BLE001 - as above
                raise HostError(f"D-Bus ended the connection ({type(error).__name__})") from None
            from jeepney.low_level import HeaderFields  # noqa: PLC0415

            unit = self._units.get(message.header.fields.get(HeaderFields.path, ""))
            if unit is not None:
                yield unit

    def close(self) -> None:
        """Listen no more."""
        self._connection.close()
