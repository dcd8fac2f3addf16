"""Steers well-formed requests to what exists, so that they get further than the first look-up."""

import os
import re
import zlib

import schemathesis

NUMBERS = os.environ["NUMBERS"].split(",")
CALLS = os.environ["CALLS"].split(",")
ZONES = ["Asia/Kolkata", "UTC", "America/New_York", "Pacific/Chatham"]
COUNTRIES = ["IN", "US", "DE", "JP"]
COUNTRY = re.compile(r"[A-Z]{2}")
E164 = re.compile(r"\+[1-9][0-9]{6,14}")


def one_of(known, text):
    """Half of the time one that exists, the same for the same text."""
    digest = zlib.crc32(text.encode("utf-8", "surrogatepass"))
    return known[digest // 2 % len(known)] if digest % 2 else text


@schemathesis.hook
def map_body(context, body):
    if not isinstance(body, dict):
        return body
    for field in ("caller_id_number", "virtual_number"):
        number = body.get(field)
        if isinstance(number, str) and E164.fullmatch(number):
            body[field] = one_of(NUMBERS, number)
    # Of these the schema cannot say which there are.
    if isinstance(body.get("timezone"), str):
        body["timezone"] = ZONES[len(body["timezone"]) % len(ZONES)]
    country = body.get("country")
    if isinstance(country, str) and COUNTRY.fullmatch(country):
        body["country"] = COUNTRIES[ord(country[0]) % len(COUNTRIES)]
    # A narrow range would have nearly every create refused from here on.
    for limit in ("min_duration", "max_duration"):
        if isinstance(body.get(limit), int) and 300 <= body[limit] <= 14_688_000:
            del body[limit]
    return body


@schemathesis.hook
def map_path_parameters(context, parameters):
    if parameters and isinstance(parameters.get("call_sid"), str):
        parameters["call_sid"] = one_of(CALLS, parameters["call_sid"])
    return parameters


@schemathesis.serializer("audio/wav")
def audio(context, value):
    return value if isinstance(value, bytes) else str(value).encode()
