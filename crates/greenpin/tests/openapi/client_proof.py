"""The client that was generated from the document does what a firm's program would: make, read, change, list, delete."""

import base64
import os

from greenpin_client import AuthenticatedClient
from greenpin_client.api.allocations import (
    create_allocation,
    delete_allocation,
    list_allocations,
    read_allocation,
    resolve,
    rotate_pin,
    unlock_allocation,
    update_allocation,
    update_allocations,
)
from greenpin_client.api.calls import list_allocation_calls, list_calls, read_call, read_recording
from greenpin_client.api.events import list_events
from greenpin_client.api.numbers import list_numbers
from greenpin_client.api.settings import read_settings, update_settings
from greenpin_client.models import (
    AllocationUpdatedEvent,
    CallCompletedEvent,
    CreateAllocation,
    DialStrategy,
    Problem,
    ResolveRequest,
    UpdateAllocation,
    UpdateItem,
    UpdateSettings,
    WebhookRequest,
)

TENANT = os.environ["TENANT"]
NUMBER = os.environ["CLIENT_NUMBER"]


def client(token):
    pair = f"{os.environ['ACCOUNT_SID']}:{token}".encode()
    return AuthenticatedClient(os.environ["URL"], base64.b64encode(pair).decode(), prefix="Basic")


def allocations(greenpin):
    wanted = CreateAllocation(
        caller_id_number=NUMBER, from_=["+919900000001"], to=["+918800000001"], duration=3600, custom_field="order_id=12345"
    )
    made = create_allocation.sync(TENANT, client=greenpin, body=wanted).response
    assert made.virtual_number == NUMBER and len(made.pin) == 4 and made.dial_uri == f"tel:{NUMBER},,{made.pin}"
    assert (made.expires_at - made.created_at).total_seconds() == 3600

    again = create_allocation.sync(TENANT, client=greenpin, body=wanted)
    assert isinstance(again, Problem) and (again.status, again.code) == (409, "virtual_number_busy"), again

    read = read_allocation.sync(TENANT, made.greenpin_id, client=greenpin).response
    assert (read.pin, read.from_, read.to, read.call_count) == (made.pin, ["+919900000001"], ["+918800000001"], 0)

    page = list_allocations.sync(TENANT, client=greenpin, virtual_number=NUMBER, limit=1)
    assert [one.greenpin_id for one in page.response] == [made.greenpin_id] and page.next_cursor is None

    changes(greenpin, made)

    deleted = delete_allocation.sync(TENANT, made.greenpin_id, client=greenpin).response
    assert (deleted.greenpin_id, deleted.status.value) == (made.greenpin_id, "deleted")
    again = delete_allocation.sync(TENANT, made.greenpin_id, client=greenpin)
    assert isinstance(again, Problem) and again.code == "already_deleted"
    return made.greenpin_id


def changes(greenpin, made):
    change = UpdateAllocation(to=["+918800000001", "+918800000002"], custom_field=None, max_pin_attempts=5)
    changed = update_allocation.sync(TENANT, made.greenpin_id, client=greenpin, body=change).response
    assert (changed.to, changed.custom_field, changed.max_pin_attempts) == (change.to, None, 5), changed
    assert changed.from_ == made.from_ and changed.pin == made.pin

    items = [UpdateItem(made.greenpin_id, record=True), UpdateItem("gp_" + "0" * 26, record=True)]
    done = update_allocations.sync(TENANT, client=greenpin, body=items).response
    assert [item.status.value for item in done] == ["updated", "error"] and done[1].error["code"] == "not_found"

    rotated = rotate_pin.sync(TENANT, made.greenpin_id, client=greenpin).response
    assert rotated.pin != made.pin and rotated.record
    assert unlock_allocation.sync(TENANT, made.greenpin_id, client=greenpin).response.failed_pin_attempts == 0

    question = ResolveRequest(virtual_number=NUMBER, caller="+918800000002", digits=rotated.pin)
    met = resolve.sync(TENANT, client=greenpin, body=question).response
    assert (met.outcome.value, met.dial) == ("connect", ["+919900000001"]), met

    pool = list_numbers.sync(TENANT, client=greenpin).response
    number = next(number for number in pool if number.virtual_number == NUMBER)
    assert (number.mode.value, number.active_allocations, number.max_active) == ("exclusive", 1, 1)


def refusals(greenpin):
    wrong = CreateAllocation(caller_id_number=NUMBER, from_=[], to=["0"], max_pin_attempts=11)
    refused = create_allocation.sync(TENANT, client=greenpin, body=wrong)
    faults = {fault.field: fault.code for fault in refused.errors}
    assert faults == {"from": "required", "to[0]": "not_e164", "max_pin_attempts": "out_of_range"}, faults
    stranger = list_allocations.sync(TENANT, client=client("wrong"))
    assert isinstance(stranger, Problem) and stranger.status == 401


def calls(greenpin):
    call_sid = os.environ["CALLS"].split(",")[0]
    record = read_call.sync(TENANT, call_sid, client=greenpin).response
    assert record.call_type.value == "completed" and record.caller_media.packets_received > 0
    of_allocation = list_allocation_calls.sync(TENANT, record.greenpin_id, client=greenpin)
    assert call_sid in [one.call_sid for one in of_allocation.response]
    ended = list_calls.sync(TENANT, client=greenpin, party="+918800000001", limit=200)
    assert call_sid in [one.call_sid for one in ended.response]
    whole = read_recording.sync_detailed(TENANT, call_sid, client=greenpin)
    assert whole.content.startswith(b"RIFF")
    part = read_recording.sync_detailed(TENANT, call_sid, client=greenpin, range_="bytes=0-3")
    assert (part.status_code, part.content) == (206, b"RIFF")


def settings(greenpin):
    webhook = WebhookRequest(url="http://127.0.0.1:9/hook", paused=True)
    change = UpdateSettings(ring_timeout=45, dial_strategy=DialStrategy.PARALLEL, webhooks=[webhook])
    changed = update_settings.sync(TENANT, client=greenpin, body=change).response
    assert changed.ring_timeout == 45 and changed.webhooks[0].secret.startswith("whsec_")
    read = read_settings.sync(TENANT, client=greenpin).response
    assert read.dial_strategy == DialStrategy.PARALLEL and read.webhooks[0].id == changed.webhooks[0].id
    back = UpdateSettings(ring_timeout=30, dial_strategy=DialStrategy.SEQUENTIAL, webhooks=[])
    assert update_settings.sync(TENANT, client=greenpin, body=back).response.webhooks == []


def events(greenpin, greenpin_id):
    seen, changed, reasons, after = [], [], [], None
    while True:
        page = list_events.sync(TENANT, client=greenpin, **({"after": after} if after else {}))
        seen += [event.type_ for event in page.response if event.greenpin_id == greenpin_id]
        changed += [event.data.changed for event in page.response if isinstance(event, AllocationUpdatedEvent)]
        reasons += [event.data.why for event in page.response if isinstance(event, CallCompletedEvent)]
        after = page.next_cursor
        if after is None:
            break
    kinds = ["created", "updated", "updated", "pin_rotated", "deleted"]
    assert seen == [f"allocation.{kind}" for kind in kinds], seen
    assert changed[0] == ["to", "max_pin_attempts", "custom_field"], changed
    assert len(reasons) == len(os.environ["CALLS"].split(",")) and all("talked" in why for why in reasons), reasons


greenpin = client(os.environ["TOKEN"])
greenpin_id = allocations(greenpin)
refusals(greenpin)
calls(greenpin)
settings(greenpin)
events(greenpin, greenpin_id)
print("the generated client creates, reads, changes, lists and deletes")
