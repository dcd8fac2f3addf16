// Reads events by their type. The compiler knows the fields of each.
import type { components, webhooks } from "./api";

type Event = components["schemas"]["Event"];

export function describe(event: Event): string {
  switch (event.type) {
    case "call.completed":
      return event.data.why ?? event.data.call_sid;
    case "call.pin_failed":
      return event.data.reason;
    case "allocation.updated":
      return event.data.changed.join();
    case "number.capacity_low":
      return (event.data.active_allocations / event.data.max_active).toFixed(2);
    case "endpoint.disabled":
      return event.data.url;
    default:
      return `${event.sequence} ${event.greenpin_id ?? ""}`;
  }
}

type Body<Name extends keyof webhooks> = webhooks[Name]["post"]["requestBody"]["content"]["application/json"];

/** A webhook is the event of its name. */
export const received = (body: Body<"call.completed">): Event => body;

// @ts-expect-error No other type of event has a reason.
export const reason = (body: Body<"call.ringing">): string => body.data.reason;
