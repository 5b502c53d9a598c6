"""Room for as many connections as the bridge's limits allow."""

from dataclasses import replace

from bridge.descriptors import needed
from bridge.settings import BridgeSettings


def test_requests_by_http_have_room_beside_the_associations():
    settings = BridgeSettings()
    more = replace(settings, control=replace(settings.control, connections=settings.control.connections + 10))

    assert needed(more) == needed(settings) + 20


def test_an_association_has_room_for_its_connection_to_the_archive():
    settings = BridgeSettings()
    more = replace(settings, limits=replace(settings.limits, associations=settings.limits.associations + 10))

    assert needed(more) == needed(settings) + 20


def test_an_association_has_room_for_a_file_where_instances_are_kept():
    settings = BridgeSettings()
    more = replace(settings, spool=replace(settings.spool, size_bytes=1 << 30))

    assert needed(more) == needed(settings) + settings.limits.associations
